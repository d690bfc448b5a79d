"""Rosters that change while they are read."""

import asyncio
from typing import Any

import pytest

from server.runs.crew import rosters
from tests.crew.world import World


async def test_a_roster_that_changed_while_it_was_read_is_not_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, has_read, may_go_on = rosters.agents.listed, asyncio.Event(), asyncio.Event()

    async def slowly(*what: Any, **how: Any) -> Any:
        rows = await read(*what, **how)
        has_read.set()
        await may_go_on.wait()
        return rows

    ours = rosters.Rosters(world.serving.core.database, {})
    monkeypatch.setattr(rosters.agents, "listed", slowly)
    reading = asyncio.create_task(ours.of(world.workspace_id, world.crew_id))
    await has_read.wait()
    await world.turn("Ann", role_title="mate")
    ours.forget(world.workspace_id)
    may_go_on.set()
    assert "mate" not in {worker.role_title for worker in (await reading).agents.values()}
    assert "mate" in {
        worker.role_title for worker in (await ours.of(world.workspace_id, world.crew_id)).agents.values()
    }
