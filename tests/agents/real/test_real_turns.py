"""Turns of the real coding agents, with a scripted model, through the server's own adapter and profiles."""

import asyncio
import contextlib
import json

import msgspec
import pytest

from server.agents.backends import PROFILES
from server.agents.greeting import greet
from server.agents.turn import TurnOutcome
from tests.agents.model.script import Script
from tests.agents.model.server import MODEL, Model, serving_model
from tests.agents.real.conftest import KEY, REACH, at_work
from tests.agents.recording import neutral
from tests.agents.scenarios import BACKENDS, NAMES, PLAYED, SCENARIOS, Scenario, story, told, wire_of

_LIMITS = {"cancel_seconds": 8, "exit_seconds": 5, "term_seconds": 2, "first_update_seconds": 60, "turn_seconds": 90}


async def _played(scenario: Scenario, model: Model, launch, turn, sink, space) -> TurnOutcome:
    cancel = asyncio.Event()
    if scenario.answer:
        sink.answers.put_nowait(scenario.answer)

    async def call_off() -> None:
        if scenario.cancel == "asked":
            await sink.until(lambda sink: bool(sink.asked), seconds=60)
        else:
            while "sleep" not in at_work(space):
                await asyncio.sleep(0.02)
        cancel.set()

    calling = asyncio.create_task(call_off()) if scenario.cancel else None
    try:
        return await turn(launch(model), "Please run the demo", cancel=cancel, seconds=120, **_LIMITS)
    finally:
        if calling:
            calling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await calling


@pytest.mark.parametrize(("backend", "scenario"), PLAYED, ids=NAMES, indirect=["backend"])
async def test_a_real_agent_tells_the_story(
    backend, scenario, launch, turn, sink, space, recorder, places, keep, living
):
    path = scenario.script.path and scenario.script.path.replace("{space}", str(space))
    async with serving_model(msgspec.structs.replace(scenario.script, path=path)) as model:
        outcome = await _played(scenario, model, launch, turn, sink, space)
    assert living() == []
    async with asyncio.timeout(2):  # A dead process lets go of its directory only when its memory has been freed.
        while at_work(space):
            await asyncio.sleep(0.02)
    recording = recorder.text(places(model))
    assert KEY not in recording
    keep(wire_of(backend, scenario), recording)
    assert model.keys == {KEY}
    assert outcome.session_id
    assert (outcome.model or "").endswith(MODEL)
    assert (space / "greeting.txt").exists() is (scenario.name in {"allowed", "failing"})
    if scenario.name == "allowed":
        assert any("hello" in result for result in model.results())
    if scenario.name == "writing":
        assert (space / "notes.txt").read_text() == scenario.script.text
    assert neutral(story(sink.drafts, outcome), places(model)) == told(backend, scenario)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
async def test_a_refused_key_is_explained_by_its_variable_and_never_shown(
    backend, launch, turn, sink, recorder, living
):
    scenario = next(each for each in SCENARIOS if each.script.refusal == 401)
    async with serving_model(scenario.script) as model:
        outcome = await turn(launch(model), seconds=120, **_LIMITS)
    assert outcome.reason == "failed"
    assert REACH[backend].key in outcome.error
    shown = [outcome.error, outcome.text, *(f"{draft.content}{draft.metadata}" for draft in sink.drafts)]
    assert KEY not in "".join(shown)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
async def test_a_flood_of_output_is_stored_in_bounds(backend, launch, turn, sink, recorder, living):
    sink.answers.put_nowait("allow_once")
    async with serving_model(Script(command="seq 1 200000 | tee flood.txt")) as model:
        outcome = await turn(launch(model), seconds=120, **_LIMITS)
    assert (outcome.reason, outcome.text) == ("end_turn", "All done.")
    [result] = sink.of("tool_result")
    output = json.loads(result.content)
    assert (len(output) > 1000, len(output) <= 32 << 10) == (True, True)
    assert max(len(draft.content) for draft in sink.drafts) <= 40 << 10


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
async def test_a_key_alone_opens_a_session_with_the_vendors_own_endpoint(backend, launch, turn, recorder, living):
    cancel = asyncio.Event()
    running = asyncio.create_task(turn(launch(None), cancel=cancel, seconds=120, **_LIMITS))
    while not running.done() and not any(
        "sessionId" in (entry["message"].get("result") or ()) for entry in recorder.entries
    ):
        await asyncio.sleep(0.02)
    cancel.set()
    outcome = await running
    assert (outcome.reason, bool(outcome.session_id)) == ("cancelled", True)


# The program refuses this one to root.
_MODES = [(each, mode.id) for each in BACKENDS for mode in PROFILES[each].modes if mode.id != "bypassPermissions"]


@pytest.mark.parametrize(("backend", "mode"), _MODES, indirect=["backend"])
async def test_a_real_agent_takes_every_mode_of_the_table(backend, mode, launch, turn, recorder, living):
    async with serving_model(Script()) as model:
        outcome = await turn(msgspec.structs.replace(launch(model), mode=mode), seconds=120, **_LIMITS)
    assert (outcome.reason, outcome.error) == ("end_turn", None)
    told = [entry["message"] for entry in recorder.entries if mode in str(entry["message"].get("params"))]
    methods = {message.get("method") for message in told} & {"session/set_mode", "session/set_config_option"}
    assert bool(methods) is (mode != PROFILES[backend].modes[0].id)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
async def test_a_real_agent_answers_a_greeting_without_a_model(backend, launch, living):
    assert (await greet(launch(None))).seconds > 0
