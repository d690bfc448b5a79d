"""kill -9 of PostgreSQL under a busy server, and what its open streams say while it is away."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiohttp import ClientSession

from missionstream_client import Client, Mission
from server.spaces import Spaces
from storage.embedded import EmbeddedPostgres
from streams.errors import Unavailable
from tests.conftest import TOKEN, Serving, url_of
from tests.storage.embedded_support import copy_of, folder_removed_afterwards
from tests.system.flood import TIMING, missions_of, survive
from tests.system.node import HEADERS, Node
from tests.system.wiretap import SocketTap, Tap, until


async def test_killing_the_postmaster_or_a_backend_acknowledges_nothing_falsely(node: Node) -> None:
    async def postmaster() -> None:
        os.kill(node.postmaster_pid(), signal.SIGKILL)

    async def backend() -> None:
        os.kill(await _busiest_backend(node), signal.SIGKILL)

    async def backends_gently() -> None:  # as an operator's pg_terminate_backend does
        for pid in await _backends(node):
            os.kill(pid, signal.SIGTERM)

    # who asks meanwhile waits for the batch that was cut, or is refused; neither may be acknowledged falsely
    await survive(node, 6_000, [postmaster, backend, backends_gently, postmaster])
    assert node.child is not None
    assert node.child.poll() is None


async def _backends(node: Node) -> list[int]:
    async def ask() -> list[int]:
        try:
            connection = await asyncpg.connect(**await node.connect_arguments())
        except (asyncpg.PostgresError, OSError):
            return []
        try:
            rows = await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'missionstream writer'"
                " ORDER BY state = 'idle', pid"
            )
        finally:
            await connection.close()
        return [row["pid"] for row in rows]

    found: list[int] = await until(ask)
    return found


async def _busiest_backend(node: Node) -> int:
    return (await _backends(node))[0]


class Outside:
    """A server whose PostgreSQL is ours: it stays dead for as long as the test wants."""

    def __init__(self, node: Node, database: EmbeddedPostgres) -> None:
        self.node = node
        self.database = database

    async def kill_database(self) -> None:
        pid = self.database.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while self.database.pid:
            await asyncio.sleep(0.01)

    async def start_database(self) -> float:
        """Start it again; the moment when it took connections."""
        await self.database.stop()
        await self.database.start()
        return time.monotonic()


@pytest.fixture
def database_folder(prepared: Path) -> Iterator[Path]:
    with folder_removed_afterwards() as folder:
        yield copy_of(prepared, folder)


@pytest.fixture
async def outside(database_folder: Path, new_node: Callable[..., Node]) -> AsyncIterator[Outside]:
    database = EmbeddedPostgres(database_folder)
    await database.start()
    try:
        settings = {
            "MISSIONSTREAM_DATABASE_URL": url_of(database.connect_kwargs),
            "MISSIONSTREAM_HEARTBEAT_SECONDS": "0.3",
        }
        yield Outside(await asyncio.to_thread(new_node, settings), database)
    finally:
        await database.stop()


async def _append(http: ClientSession, mission_id: str, name: str) -> tuple[int, dict[str, str], Any]:
    draft = {"event_id": name, "event_type": "x_tick", "content": name}
    async with http.post(f"/api/control/missions/{mission_id}/events", json={"events": [draft]}) as answer:
        is_json = answer.content_type == "application/json"
        return answer.status, dict(answer.headers), await (answer.json() if is_json else answer.text())


async def test_without_its_database_the_server_refuses_writes_and_keeps_its_streams(outside: Outside) -> None:
    node = outside.node
    [mission_id] = await missions_of(node, 1)
    workspace_id, epoch = await node.workspace()
    async with ClientSession(node.url, headers=HEADERS) as http:
        tap = await Tap.open(node.port, f"?since={epoch}:0")
        socket = await SocketTap.open(http, f"timeline:{workspace_id}", {"since": f"{epoch}:0"})
        assert (await _append(http, mission_id, "before"))[0] == 200
        await tap.until(lambda block: block.event == "x_tick")
        await socket.until(_says("before"))

        await outside.kill_database()
        status, headers, text = await _append(http, mission_id, "meanwhile")
        assert status == 503, text
        assert int(headers["Retry-After"]) >= 1
        assert (await tap.event("stale")).data == {"stale": True}
        assert (await socket.frame("stale"))["payload"] == {"stale": True}
        async with http.get("/readyz") as ready, http.get("/healthz") as health:
            assert (ready.status, health.status) == (503, 200)
        heard = len(tap.blocks)
        await until(_later(lambda: len(tap.blocks) > heard + 2))  # heartbeats go on

        back_at = await outside.start_database()
        numbers = await until(lambda: _appended(http, mission_id, "after"))
        await tap.until(lambda block: block.event == "x_tick" and block.data["content"] == "after")
        await socket.until(_says("after"))
        await tap.until(lambda block: block.event == "stale" and block.data == {"stale": False})
        await socket.until(lambda frame: frame["type"] == "stale" and frame["payload"] == {"stale": False})
        assert time.monotonic() - back_at < 5
        # the same TCP connections all along
        assert tap.positions == socket.positions == list(range(1, numbers["position"] + 1))
        await socket.close()
        await tap.close()


async def test_a_server_without_its_database_still_ends_when_told_to(outside: Outside) -> None:
    node = outside.node
    [mission_id] = await missions_of(node, 1)
    async with ClientSession(node.url, headers=HEADERS) as http:
        tap = await Tap.open(node.port)
        body = {"content": "slow\nsay " + "still talking " * 100, "mission_id": mission_id}
        async with http.post("/api/control/message", json=body) as answer:
            assert answer.status == 200
        await tap.event("text_delta")
        await outside.kill_database()
        await tap.event("stale")
        try:
            assert await node.stopped(within_seconds=10) == 0
        finally:
            await tap.close()
    await outside.start_database()
    await asyncio.to_thread(node.start)
    async with ClientSession(node.url, headers=HEADERS) as http:
        await until(lambda: _is_interrupted(http, mission_id))


async def test_a_turn_that_begins_while_the_database_is_away_waits_for_it(
    serving: Serving, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, failures = Spaces.directory, [Unavailable(), Unavailable()]

    async def flickering(self: Spaces, workspace_id: UUID, space_id: UUID) -> Path:
        if failures:
            raise failures.pop()
        return await directory(self, workspace_id, space_id)

    async with Client(serving.url, TOKEN, timing=TIMING) as client:
        mission = await client.create_mission("patient")
        monkeypatch.setattr(Spaces, "directory", flickering)
        await client.send(mission.id, "say hello")
        ended = await until(lambda: _ended(client, mission.id))
    assert (ended.status, failures) == ("completed", [])


async def _ended(client: Client, mission_id: str) -> Mission | None:
    mission = await client.mission(mission_id)
    return mission if mission.status in ("completed", "failed", "interrupted") else None


async def _is_interrupted(http: ClientSession, mission_id: str) -> bool:
    async with http.get(f"/api/control/missions/{mission_id}") as answer:
        return bool((await answer.json())["status"] == "interrupted")


def _says(content: str) -> Callable[[Any], bool]:
    return lambda frame: frame["type"] == "timeline.event" and frame["payload"]["content"] == content


def _later(condition: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    async def ask() -> object:
        return condition()

    return ask


async def _appended(http: ClientSession, mission_id: str, name: str) -> dict[str, int] | None:
    status, _, body = await _append(http, mission_id, name)
    return body["events"][0] if status == 200 else None
