"""Lists whose reading fails when half of them is sent: the connection is cut, and nobody waits or reads nonsense."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientPayloadError, ClientSession

from server.dialects.crew import missions
from storage.crewmissions import CrewMissions
from storage.log import Log
from streams.errors import Unavailable
from tests.conftest import Serving
from tests.dialects.control.driving import append, create
from tests.dialects.crew.people import Person
from tests.dialects.crew.world import a_crew

pytestmark = pytest.mark.asyncio(loop_scope="module")
FAILURES = [Unavailable("the database cannot be reached"), RuntimeError("a fault of ours")]


async def is_cut(http: ClientSession, path: str) -> bool:
    """Whether the answer, a good one at first, breaks off."""
    async with asyncio.timeout(10), http.get(path) as answer:
        assert answer.status == 200
        try:
            await answer.read()
        except ClientPayloadError:
            return True
    return False


@pytest.mark.parametrize("failure", FAILURES, ids=["of the database", "of ours"])
async def test_a_page_of_events_that_fails_midway_is_cut(
    owner: ClientSession, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    mission = (await create(owner, title="long", backend="demo"))["id"]
    await append(owner, mission, *({"event_type": "x_note", "content": str(number)} for number in range(3)))
    path, pieces = f"/api/control/missions/{mission}/events", Log.pieces
    assert not await is_cut(owner, path)

    async def failing(self: Log, *asked: Any) -> AsyncIterator[Any]:
        async for piece in pieces(self, *asked):
            for event in piece:
                yield [event]
        raise failure

    monkeypatch.setattr(Log, "pieces", failing)
    assert await is_cut(owner, path)
    monkeypatch.undo()
    assert not await is_cut(owner, path)


@pytest.mark.parametrize("failure", FAILURES, ids=["of the database", "of ours"])
@pytest.mark.parametrize("readings", [0, 1, 2])
async def test_a_list_of_missions_that_fails_midway_is_cut(
    shared: Serving, owner: ClientSession, monkeypatch: pytest.MonkeyPatch, failure: Exception, readings: int
) -> None:
    """It can be answered as ever until the second part is there."""
    crew = await a_crew(shared, Person(owner, shared.workspace_id))
    for _ in range(3):
        await crew.task(await crew.mission())
    monkeypatch.setattr(missions, "_PIECE_BYTES", 1)
    left, tasks = readings, CrewMissions.tasks

    async def failing(self: CrewMissions, *asked: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise failure
        return await tasks(self, *asked)

    monkeypatch.setattr(CrewMissions, "tasks", failing)
    path = "/api/v1/missions?include_tasks=true"
    if readings == 2:
        assert await is_cut(owner, path)
    else:
        async with owner.get(path) as answer:
            assert answer.status == (503 if isinstance(failure, Unavailable) else 500)
            assert "error" in await answer.json()
