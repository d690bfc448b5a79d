"""What the engine finds though nothing told it: slots given back, and what other servers did."""

import asyncio
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import pytest

from server.missions.crew import Mission
from server.missions.crew.commands import Cancel, Resume
from server.missions.crew.steps import Claim
from server.runs.crew.roster import Roster
from streams.errors import MissionstreamError, Unavailable
from tests.crew.conftest import NewWorld
from tests.crew.test_many import engine_of
from tests.crew.world import World, a_task


async def _nothing() -> None:
    """No sweep: what wakes the engine at once is tried alone."""


def beside(new: World, old: World) -> World:
    """The same crew, seen from another server."""
    new.crew_id, new.agents = old.crew_id, old.agents
    return new


async def test_a_slot_that_was_held_for_nothing_is_given_to_who_waits(world: World) -> None:
    keeper = world.serving.core.runs
    keeper.on_sweep = _nothing
    with ExitStack() as slots:
        assert all(slots.enter_context(keeper.slot()) for _ in range(keeper.max_parallel))
        mission = await world.started(None, a_task("only"))
        await world.rested(mission)
        assert await world.statuses(mission) == {"only": "PENDING"}
    await world.until_status(mission, "REVIEW", seconds=10)


async def test_a_wake_up_that_is_lost_costs_seconds(world: World) -> None:
    keeper = world.serving.core.runs
    keeper.max_parallel = 0
    mission = await world.started(None, a_task("only"))
    await world.rested(mission)
    keeper.max_parallel = 1  # nobody is told
    await world.until_status(mission, "REVIEW", seconds=20)


async def test_a_mission_that_another_server_started_is_worked(new_world: NewWorld, world: World) -> None:
    async with new_world(crew_engine=False) as other:
        mission = await beside(other, world).started(None, a_task("only"))
        await world.until_status(mission, "REVIEW", seconds=20)


async def test_a_cancel_in_another_server_calls_the_agents_off(new_world: NewWorld, world: World) -> None:
    mission = await world.started(None, a_task("only", description="sleep 60"))
    await world.until_working(1)
    async with new_world(crew_engine=False) as other:
        await beside(other, world).execute(mission, Cancel())
        await world.settled()
    assert world.processes() == []
    assert await world.statuses(mission) == {"only": "PENDING"}


async def test_a_task_that_is_taken_over_in_another_server_calls_its_agent_off(
    new_world: NewWorld, world: World
) -> None:
    mission = await world.started(None, a_task("only", description="sleep 60"))
    await world.until_working(1)
    async with new_world(crew_engine=False) as other:
        await beside(other, world).patch(mission, "only", status="COMPLETED", result_summary="by hand")
        await world.until_status(mission, "REVIEW", seconds=20)
        await world.settled()
    assert (await world.task(mission, "only")).result_summary == "by hand"
    assert world.processes() == []


async def test_a_server_without_the_engine_leaves_every_mission_to_people(new_world: NewWorld) -> None:
    async with new_world(crew_engine=False) as world:
        await world.crew()
        await world.agent("Lead", is_lead=True, lead_mode="passive")
        await world.agent("Ann")
        mission = await world.started(None, a_task("only"))
        await world.serving.core.runs.on_sweep()
        for _ in range(20):  # whatever it leads to, it has begun by then
            await asyncio.sleep(0)
        await world.rested(mission)
        assert await world.statuses(mission) == {"only": "PENDING"}
        assert await world.events(mission, "run_started") == []


async def test_a_mission_that_is_cancelled_while_its_crew_is_read_waits_for_no_slot(world: World) -> None:
    keeper, engine = world.serving.core.runs, engine_of(world)
    keeper.on_sweep = _nothing
    keeper.max_parallel = 0
    mission = await world.mission(None, a_task("only"))
    read = engine._rosters.of

    async def slow(workspace_id: UUID, crew_id: UUID) -> Roster:
        await world.execute(mission, Cancel())
        return await read(workspace_id, crew_id)

    engine._rosters.of = slow  # type: ignore[method-assign]
    await world.start(mission)
    await world.until_status(mission, "CANCELLED")
    await world.rested(mission)
    assert not keeper.is_wanted()


async def test_a_resume_that_overtakes_a_look_at_the_mission_is_heard(world: World) -> None:
    keeper, engine = world.serving.core.runs, engine_of(world)
    keeper.on_sweep = _nothing
    for _ in range(3):
        engine._breaker.failed(world.agents["Ann"].id)
    look, is_late = engine._work.state, False

    async def slow(workspace_id: UUID, mission_id: UUID) -> Mission:
        nonlocal is_late
        state = await look(workspace_id, mission_id)
        if state.status == "FAILED" and not is_late:
            is_late = True
            await world.execute(mission_id, Resume())
        return state

    engine._work.state = slow  # type: ignore[method-assign]
    mission = await world.started(None, a_task("only", agent_id=world.agents["Ann"].id))
    await world.until_status(mission, "REVIEW", seconds=10)


@pytest.mark.parametrize("fault", [MissionstreamError("the database refused"), RuntimeError("a defect"), Unavailable()])
async def test_a_step_that_fails_once_is_taken_again(world: World, fault: Exception) -> None:
    core = world.serving.core
    core.runs.on_sweep = _nothing
    execute, faults = core.writers.execute, [fault]

    async def refuse_once(*where: Any, **how: Any) -> Any:
        if isinstance(where[3], Claim) and faults:
            raise faults.pop()
        return await execute(*where, **how)

    core.writers.execute = refuse_once  # type: ignore[method-assign]
    mission = await world.started(None, a_task("only"))
    await world.until_status(mission, "REVIEW", seconds=10)
    assert faults == []


async def test_slots_are_kept_until_every_step_that_needs_one_is_over(world: World) -> None:
    core = world.serving.core
    keeper = core.runs
    keeper.max_parallel = 2
    execute, free = core.writers.execute, []

    async def refuse_the_first(*where: Any, **how: Any) -> Any:
        if isinstance(where[3], Claim) and len(free) < 2:
            free.append(keeper.free)
            if len(free) == 1:
                raise MissionstreamError("refused")
            for _ in range(20):  # whatever the refusal leads to, it has by then
                await asyncio.sleep(0)
            free.append(keeper.free)
        return await execute(*where, **how)

    core.writers.execute = refuse_the_first  # type: ignore[method-assign]
    mission = await world.started(None, a_task("one"), a_task("two"))
    await world.until_status(mission, "REVIEW", seconds=20)
    assert free == [0, 0, 0]
