"""The scenarios that each real agent plays, live or from its recorded wire, and the story that each must give."""

import json
from pathlib import Path
from typing import Any

import msgspec

from server.agents.turn import TurnOutcome
from streams.event import Draft
from tests.agents.model.script import Script

WIRE = Path(__file__).parent / "wire"
BACKENDS = ("claudecode", "codex", "gemini", "grok", "opencode")


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What the model does, what people answer, and when they call the turn off: while asked, or while it runs.

    `backends` are those that can play it in reasonable time.
    """

    name: str
    script: Script
    answer: str | None = None
    cancel: str | None = None
    backends: tuple[str, ...] = BACKENDS


_WRITE = "echo hello > greeting.txt; cat greeting.txt"
_SLEEP = "echo started > started.txt; cat started.txt; sleep 300"

SCENARIOS = (
    Scenario(name="allowed", script=Script(command=_WRITE), answer="allow_once"),
    Scenario(name="failing", script=Script(command=f"{_WRITE}; exit 3"), answer="allow_once"),
    Scenario(name="rejected", script=Script(command=_WRITE), answer="reject_once"),
    Scenario(name="asking", script=Script(command=_WRITE), cancel="asked"),
    Scenario(name="running", script=Script(command=_SLEEP), answer="allow_once", cancel="running"),
    Scenario(name="key-refused", script=Script(command=_WRITE, refusal=401)),
    # The others go on trying for minutes.
    Scenario(name="model-down", script=Script(command=_WRITE, refusal=500), backends=("claudecode", "codex")),
    # Codex writes files by its shell when it does not know the model.
    Scenario(
        name="writing",
        script=Script(path="{space}/notes.txt"),
        answer="allow_once",
        backends=("claudecode", "gemini", "grok", "opencode"),
    ),
)
"""`asking` and `running` are called off: with the question open, and with the command under way."""

PLAYED = [(backend, scenario) for backend in BACKENDS for scenario in SCENARIOS if backend in scenario.backends]
NAMES = [f"{backend}-{scenario.name}" for backend, scenario in PLAYED]


def wire_of(backend: str, scenario: Scenario) -> Path:
    """Where the scenario's recording lies."""
    return WIRE / f"{backend}-{scenario.name}.jsonl"


def told(backend: str, scenario: Scenario) -> str:
    """The story that a person wrote down for the scenario."""
    return (WIRE / f"{backend}-{scenario.name}.story").read_text()


def story(drafts: list[Draft], outcome: TurnOutcome) -> str:
    """A turn in lines that a person can read: each event with what matters of it, then the end.

    Of a turn that was called off it tells what came before: an agent's last words depend on how quick it is.
    """
    if outcome.reason == "cancelled":
        end = next((number for number, draft in enumerate(drafts) if draft.type == "tool_result"), len(drafts))
        lines = [_line(draft) for draft in drafts[:end] if draft.type != "agent_event"]
        return "\n".join([*lines, "end          cancelled"]) + "\n"
    lines = [_line(draft) for draft in drafts if draft.type != "agent_event"]
    lines += [f"answer       {json.dumps(outcome.text)}"] if outcome.text else []
    lines += [f"error        {outcome.error}"] if outcome.error else []
    usage = {name: outcome.usage[name] for name in ("input_tokens", "output_tokens") if name in outcome.usage}
    lines.append(" ".join(["end         ", outcome.reason, *(f"{name}={count}" for name, count in usage.items())]))
    return "\n".join(lines) + "\n"


def _line(draft: Draft) -> str:
    if draft.type == "tool_call":
        return _call(draft)
    if draft.type == "tool_result":
        code = draft.metadata["exit_code"]
        how = draft.metadata["status"] + ("" if code is None else f", exit code {code}")
        return f"tool_result  {draft.tool_name} {how}: {draft.content}"
    return f"{draft.type.removeprefix('assistant_'):<12} {json.dumps(draft.content)}"


def _call(draft: Draft) -> str:
    arguments: dict[str, Any] = json.loads(draft.content)
    if draft.tool_name == "AskUserQuestion":
        asked = arguments["questions"][0]
        return f"question     {asked['question']} [{' | '.join(option['label'] for option in asked['options'])}]"
    return f"tool_call    {draft.tool_name} {arguments.get('command') or json.dumps(arguments)}"
