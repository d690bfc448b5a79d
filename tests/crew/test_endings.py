"""How turns end: once, with what their agents did, whatever is in the way of storing it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from server.agents.turn import TurnOutcome
from server.missions.crew import KIND
from server.missions.crew.steps import EndTask
from server.runs import keeper, turn
from server.runs.crew.turn import MAX_MESSAGES
from streams.errors import MissionstreamError, Unavailable
from streams.event import Draft
from tests.crew.conftest import NewWorld
from tests.crew.world import World, a_task


def before_ends(world: World, do: Callable[[EndTask], Awaitable[None]]) -> None:
    """Do something before the end of each task's run is stored."""
    core = world.serving.core
    execute = core.writers.execute

    async def delayed(*where: Any, **how: Any) -> Any:
        if isinstance(where[3], EndTask):
            await do(where[3])
        return await execute(*where, **how)

    core.writers.execute = delayed  # type: ignore[method-assign]


@pytest.mark.parametrize("fault", [MissionstreamError("the database refused"), RuntimeError("a defect")])
async def test_an_end_that_is_refused_once_is_no_failure_of_the_agent(world: World, fault: Exception) -> None:
    faults = [fault]

    async def refuse_once(step: EndTask) -> None:
        if faults:
            raise faults.pop()

    before_ends(world, refuse_once)
    task = a_task("only", description="handoff: well done [high]")
    mission = await world.started(None, task)
    state = await world.until_status(mission, "REVIEW", "FAILED")
    assert (state.tasks[task.id].status, state.tasks[task.id].handoff_context) == ("COMPLETED", "well done")
    ends = [event.data() for event in await world.events(mission, "run_ended")]
    assert [end["reason"] for end in ends if end["purpose"] == "task"] == ["end_turn"]


async def test_an_end_that_can_never_be_stored_fails_the_task_and_says_why(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_END_TRIES", 2)

    async def refuse(step: EndTask) -> None:
        if step.outcome == "completed":
            raise RuntimeError("too odd")

    before_ends(world, refuse)
    task = a_task("only")
    mission = await world.started(None, task)
    state = await world.until_status(mission, "FAILED")
    assert state.tasks[task.id].error_message == "what the agent did could not be stored: too odd"
    await world.settled()


async def test_a_server_that_is_stopped_while_an_end_is_stored_waits_for_it(new_world: NewWorld) -> None:
    async with new_world() as world:
        await world.crew()
        await world.agent("Lead", is_lead=True, lead_mode="passive")
        await world.agent("Ann")
        keeper = world.serving.core.runs

        async def until_closing(step: EndTask) -> None:
            while keeper.has_slot:
                await asyncio.sleep(0.02)

        before_ends(world, until_closing)
        task = a_task("only", description="handoff: well done [high]")
        mission = await world.started(None, task)
        await world.until_event(mission, "assistant_message")
        assert (await world.task(mission, "only")).status == "IN_PROGRESS"
        old = world
    async with new_world() as world:
        world.crew_id, world.agents = old.crew_id, old.agents
        state = await world.until_status(mission, "REVIEW")
        assert (state.tasks[task.id].status, state.tasks[task.id].handoff_context) == ("COMPLETED", "well done")
        assert [event.data()["reason"] for event in await world.events(mission, "run_ended")] == ["end_turn"]


async def test_a_failure_whose_end_was_tried_four_times_counts_once(world: World) -> None:
    faults = [Unavailable(), Unavailable(), Unavailable()]

    async def refuse(step: EndTask) -> None:
        if faults:
            raise faults.pop()

    before_ends(world, refuse)
    task = a_task("only", agent_id=world.agents["Ann"].id, description="fail 1 times", max_iterations=2)
    mission = await world.started(None, task)
    state = await world.until_status(mission, "REVIEW", "FAILED")
    assert (state.tasks[task.id].status, state.tasks[task.id].error_message) == ("COMPLETED", None)


async def test_an_end_that_is_tried_again_hears_the_last_words_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "_RETRY_SECONDS", (0.01, 0.02))
    faults = [Unavailable() for _ in range(MAX_MESSAGES)]

    async def refuse(step: EndTask) -> None:
        if faults:
            raise faults.pop()

    before_ends(world, refuse)
    work = world.serving.core.runs.works[KIND]
    end = work.end

    async def with_words(run: turn.Turn, outcome: TurnOutcome, *rest: Any) -> bool:
        if len(faults) == MAX_MESSAGES:
            said = "Painted.\n---HANDOFF---\nsummary: red\nconfidence: high\n---END HANDOFF---"
            await run.record([Draft(type="assistant_message", content=said)])
        return await end(run, replace(outcome, text="The HANDOFF stands above."), *rest)

    work.end = with_words  # type: ignore[method-assign, assignment]
    task = a_task("only", description="handoff: none")
    mission = await world.started(None, task)
    done = (await world.until_status(mission, "REVIEW", "FAILED")).tasks[task.id]
    assert (done.handoff_context, done.result_summary) == ("red", "Painted.\n\nThe HANDOFF stands above.")
