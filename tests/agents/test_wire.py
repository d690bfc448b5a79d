"""Recorded wires of the real agents, replayed through whole turns: each tells the story that a person wrote down."""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from server.agents.process import Launch
from streams.event import Draft
from tests.agents import replay
from tests.agents.scenarios import NAMES, PLAYED, SCENARIOS, Scenario, story, told, wire_of

_VARIABLES = {
    "claudecode": "ANTHROPIC_API_KEY",
    "codex": "OPENAI_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "grok": "XAI_API_KEY",
    "opencode": "OPENAI_API_KEY",
}


@pytest.fixture
def recorded(space: Path, tmp_path: Path, run_id: str):
    """A launch of the replay of one recorded wire."""

    def make(backend: str, scenario: Scenario) -> Launch:
        variable = _VARIABLES[backend]
        return Launch(
            run_id=run_id,
            backend=backend,
            command=(sys.executable, "-P", str(Path(replay.__file__)), str(wire_of(backend, scenario))),
            space=space,
            home=tmp_path / "home",
            environment={variable: "a-key-that-nobody-has"},
            secrets=frozenset({variable}),
        )

    return make


@pytest.mark.parametrize(("backend", "scenario"), PLAYED, ids=NAMES)
async def test_a_recorded_turn_tells_its_story(backend, scenario, recorded, turn, sink, living):
    cancel = asyncio.Event()
    if scenario.answer:
        sink.answers.put_nowait(scenario.answer)
    running = asyncio.create_task(turn(recorded(backend, scenario), "Please run the demo", cancel=cancel))
    if scenario.cancel == "asked":
        await sink.until(lambda sink: bool(sink.asked))
        cancel.set()
    if scenario.cancel == "running":
        await sink.until(lambda sink: {"state": "running"} in sink.bodies("status"))
        cancel.set()
    outcome = await running
    assert story(sink.drafts, outcome) == told(backend, scenario)
    assert _unbalanced(sink.drafts, answered=sink.asked if scenario.answer else ()) == []


def _unbalanced(drafts: list[Draft], answered: list[str] | tuple[()]) -> list[str]:
    """Calls without exactly one result after them; people's own answers are recorded by whoever took them."""
    opened = Counter(draft.tool_call_id for draft in drafts if draft.type == "tool_call")
    closed = Counter(draft.tool_call_id for draft in drafts if draft.type == "tool_result")
    wrong = [each for each in opened | closed if opened[each] != 1 or closed[each] != (each not in answered)]
    order = [(draft.tool_call_id, draft.type) for draft in drafts]
    return wrong + [each for each, kind in order if kind == "tool_result" and (each, "tool_call") not in order]


def _messages(backend: str, name: str, sender: str = "agent") -> list[dict]:
    scenario = next(each for each in SCENARIOS if each.name == name)
    entries = map(json.loads, wire_of(backend, scenario).read_text().splitlines())
    return [entry["message"] for entry in entries if entry["from"] == sender]
