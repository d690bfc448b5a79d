"""Many missions at once: what is done for one of them does not grow with the number of the others."""

import asyncio
from uuid import UUID

import pytest

from server.missions.crew import Mission
from server.runs.crew import engine as engines
from server.runs.crew.engine import CrewEngine
from streams.errors import MissionstreamError
from tests.crew.world import World, a_task


async def _nothing() -> None:
    """No sweep: what wakes the engine at once is tried alone."""


def engine_of(world: World) -> CrewEngine:
    """The engine, which hears of free slots."""
    engine: CrewEngine = world.serving.core.runs.on_free.__self__  # type: ignore[attr-defined]
    return engine


async def starving(world: World, count: int) -> list[UUID]:
    """Missions that wait for a slot, the longest waiting first."""
    keeper = world.serving.core.runs
    keeper.on_sweep = _nothing
    keeper.max_parallel = 0
    missions = [await world.mission(None, a_task("only")) for _ in range(count)]
    for mission in missions:
        await world.start(mission)
        await world.rested(mission)
    return missions


async def test_a_free_slot_wakes_those_that_may_get_it_and_each_gets_one_in_the_end(world: World) -> None:
    missions = await starving(world, 30)
    keeper, engine = world.serving.core.runs, engine_of(world)
    stir, stirred = engine._stir, list[UUID]()
    engine._stir = lambda key: stirred.append(key[1])  # type: ignore[method-assign]
    keeper.on_free()
    assert stirred == []
    keeper.max_parallel = 1
    keeper.on_free()
    assert stirred == missions[: len(stirred)]
    assert 1 <= len(stirred) < 15
    engine._stir = stir  # type: ignore[method-assign]
    keeper.on_free()
    for mission in missions:
        await world.until_status(mission, "REVIEW", "COMPLETED", seconds=30)


async def test_who_waited_longest_is_served_first_however_slow_its_look_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, *quick = missions = await starving(world, 4)
    keeper, engine = world.serving.core.runs, engine_of(world)
    look = engine._work.state

    async def slowly(workspace_id: UUID, mission_id: UUID) -> Mission:
        if mission_id == slow:
            await asyncio.sleep(0.2)
        return await look(workspace_id, mission_id)

    monkeypatch.setattr(engine._work, "state", slowly)
    keeper.max_parallel = 1
    keeper.on_free()
    for mission in missions:
        await world.until_status(mission, "REVIEW", "COMPLETED", seconds=30)
    async with world.serving.core.database.reading() as connection:
        rows = await connection.fetch("SELECT mission_id FROM runs WHERE task_id IS NOT NULL ORDER BY started_at")
    assert [row["mission_id"] for row in rows] == [slow, *quick]


async def test_missions_in_trouble_keep_no_slot_from_those_behind(world: World) -> None:
    missions = await starving(world, 30)
    keeper, engine = world.serving.core.runs, engine_of(world)
    look = engine._work.state

    async def troubled(workspace_id: UUID, mission_id: UUID) -> Mission:
        if mission_id != missions[-1]:
            raise MissionstreamError("refused")
        return await look(workspace_id, mission_id)

    engine._work.state = troubled  # type: ignore[method-assign]
    keeper.max_parallel = 1
    keeper.on_free()
    await world.until_event(missions[-1], "run_started")
    engine._work.state = look  # type: ignore[method-assign]
    await world.until_status(missions[-1], "REVIEW", "COMPLETED", seconds=10)


async def test_a_sweep_looks_at_all_missions_and_at_few_of_them_together(world: World) -> None:
    by_hand = await world.agent("Hand", adapter="NONE")
    keeper, engine = world.serving.core.runs, engine_of(world)
    keeper.on_sweep = _nothing
    missions = [await world.started(None, a_task("only", agent_id=by_hand)) for _ in range(120)]
    for mission in missions:
        await world.rested(mission)
    look, seen, together, most = engine._work.state, set[UUID](), 0, 0

    async def counted(workspace_id: UUID, mission_id: UUID) -> Mission:
        nonlocal together, most
        together += 1
        most = max(most, together)
        try:
            return await look(workspace_id, mission_id)
        finally:
            together -= 1
            seen.add(mission_id)

    engine._work.state = counted  # type: ignore[method-assign]
    await engine.sweep()
    async with asyncio.timeout(20):
        while seen != set(missions):
            await asyncio.sleep(0.02)
    assert 1 < most <= engines._SWEPT_AT_ONCE
