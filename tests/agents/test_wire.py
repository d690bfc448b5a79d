"""Recorded wires of the real agents, replayed through whole turns: each tells the story that a person wrote down."""

import asyncio
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from server.agents.process import Launch
from streams.event import Draft
from tests.agents import replay
from tests.agents.conftest import RecordingSink
from tests.agents.scenarios import BACKENDS, NAMES, PLAYED, SCENARIOS, WIRE, Scenario, story, told, wire_of

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
    if scenario.cancel:
        assert sink.of("tool_result")[-1].metadata["status"] in {"cancelled", "failed", "completed"}


def _unbalanced(drafts: list[Draft], answered: list[str] | tuple[()]) -> list[str]:
    """Calls without exactly one result after them; people's own answers are recorded by whoever took them."""
    opened = Counter(draft.tool_call_id for draft in drafts if draft.type == "tool_call")
    closed = Counter(draft.tool_call_id for draft in drafts if draft.type == "tool_result")
    wrong = [each for each in opened | closed if opened[each] != 1 or closed[each] != (each not in answered)]
    order = [(draft.tool_call_id, draft.type) for draft in drafts]
    return wrong + [each for each, kind in order if kind == "tool_result" and (each, "tool_call") not in order]


# What the wires are kept for: each shows something that only a real agent does.


def _messages(backend: str, name: str, sender: str = "agent") -> list[dict[str, Any]]:
    scenario = next(each for each in SCENARIOS if each.name == name)
    entries = map(json.loads, wire_of(backend, scenario).read_text().splitlines())
    return [entry["message"] for entry in entries if entry["from"] == sender]


def _updates(backend: str, name: str) -> list[dict[str, Any]]:
    found = [each["params"]["update"] for each in _messages(backend, name) if each.get("method") == "session/update"]
    assert found
    return found


def _of_tools(backend: str, name: str) -> list[dict[str, Any]]:
    return [update for update in _updates(backend, name) if "toolCallId" in update]


@pytest.fixture
def replayed(recorded, turn, sink):
    """Replay a scenario in which people answer, and nobody calls it off."""

    async def play(backend: str, name: str) -> RecordingSink:
        scenario = next(each for each in SCENARIOS if each.name == name)
        if scenario.answer:
            sink.answers.put_nowait(scenario.answer)
        await turn(recorded(backend, scenario), "Please run the demo")
        return sink

    return play


async def test_gemini_shows_a_call_first_in_its_question_and_never_again_after_a_no(replayed):
    assert _of_tools("gemini", "rejected") == []
    sink = await replayed("gemini", "rejected")
    assert sink.types.index("tool_call") < sink.types.index("tool_result")
    assert sink.of("tool_result")[-1].metadata["status"] == "rejected"


async def test_opencode_and_claudecode_open_a_call_without_its_command_and_ours_has_it(replayed):
    for backend in ("opencode", "claudecode"):
        first = _of_tools(backend, "allowed")[0]
        assert (first["status"], "command" in first["rawInput"]) == ("pending", False)
    sink = await replayed("opencode", "allowed")
    assert "echo hello" in json.loads(sink.of("tool_call")[0].content)["command"]


@pytest.mark.parametrize("backend", ["claudecode", "codex", "grok"])
def test_these_agents_leave_a_call_open_when_they_are_called_off(backend):
    assert {"completed", "failed"}.isdisjoint(update.get("status") for update in _of_tools(backend, "running"))


async def test_codex_puts_output_and_exit_code_beside_the_content(replayed):
    updates = _of_tools("codex", "failing")
    texts = [block for update in updates for block in update.get("content") or () if block["type"] == "content"]
    assert texts == []
    assert any("terminal_exit" in update.get("_meta", {}) for update in updates)
    result = (await replayed("codex", "failing")).of("tool_result")[-1]
    assert (json.loads(result.content), result.metadata["exit_code"]) == ("hello\n", 3)


async def test_grok_sends_output_as_numbers_and_none_of_them_is_kept(replayed):
    assert any(update.get("rawOutput", {}).get("output") == [*b"hello\n"] for update in _of_tools("grok", "allowed"))
    sink = await replayed("grok", "allowed")
    assert "104" not in "".join(f"{draft.content}{draft.metadata}" for draft in sink.drafts)


@pytest.mark.parametrize(("backend", "method"), [("grok", "_x.ai/queue/changed"), ("codex", "_auth/status_update")])
async def test_notifications_of_an_agents_own_are_ignored(backend, method, replayed):
    assert method in [message.get("method") for message in _messages(backend, "allowed")]
    sink = await replayed(backend, "allowed")
    assert method not in str(sink.drafts)


async def test_codex_ends_a_broken_turn_like_a_good_one(replayed):
    assert {"stopReason": "end_turn"}.items() <= _messages("codex", "model-down")[-1]["result"].items()
    assert (await replayed("codex", "model-down")).of("agent_event")
    assert "end          failed" in told("codex", next(each for each in SCENARIOS if each.name == "model-down"))


@pytest.mark.parametrize("backend", ["codex", "grok"])
def test_a_turn_that_the_agent_calls_cancelled_after_a_no_has_ended(backend):
    assert _prompt_answer(backend, "rejected")["result"]["stopReason"] == "cancelled"
    assert "end          end_turn" in told(backend, next(each for each in SCENARIOS if each.name == "rejected"))


def _prompt_answer(backend: str, name: str) -> dict[str, Any]:
    asked = next(each for each in _messages(backend, name, "client") if each.get("method") == "session/prompt")
    return next(each for each in _messages(backend, name) if each.get("id") == asked["id"] and "method" not in each)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_open_question_is_answered_before_the_turn_is_called_off(backend):
    sent = _messages(backend, "asking", "client")
    answer = next(number for number, message in enumerate(sent) if "result" in message)
    cancel = next(number for number, message in enumerate(sent) if message.get("method") == "session/cancel")
    assert sent[answer]["result"] == {"outcome": {"outcome": "cancelled"}}
    assert answer < cancel


@pytest.mark.parametrize("name", ["allowed", "rejected"])
def test_answers_are_chosen_by_their_kind_because_each_agent_has_its_own_ids(name):
    wanted = {"allowed": "allow_once", "rejected": "reject_once"}[name]
    ids = set()
    for backend in BACKENDS:
        requests = _messages(backend, name)
        asked = next(each for each in requests if each.get("method") == "session/request_permission")
        given = next(
            each for each in _messages(backend, name, "client") if each.get("id") == asked["id"] and "result" in each
        )
        chosen = given["result"]["outcome"]["optionId"]
        assert [option["kind"] for option in asked["params"]["options"] if option["optionId"] == chosen] == [wanted]
        ids.add(chosen)
    assert len(ids) > 2


def test_the_recordings_are_small_and_hold_nothing_of_the_machine_they_were_made_on():
    files = sorted(WIRE.glob("*.jsonl"))
    assert [file.stem for file in files] == sorted(NAMES)
    assert sorted(file.stem for file in WIRE.glob("*.story")) == sorted(NAMES)
    assert max(file.stat().st_size for file in files) < 200_000
    assert sum(file.stat().st_size for file in files) < 1_000_000
    for file in files:
        found = re.findall(
            r"sk-[\w-]{8,}|/tmp/pytest[\w-]*|/home/(?!agent\b)\w+|/work/\w+-\w+|127\.0\.0\.1:\d\d+", file.read_text()
        )
        assert (file.name, found) == (file.name, [])
