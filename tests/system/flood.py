"""Thousands of appends while something is being killed, followed on every transport, and the accounts afterwards."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncpg
from aiohttp import ClientError, ClientSession, ClientTimeout

from missionstream_client import Client, Follow, Timing
from tests.conftest import TOKEN
from tests.system.node import Node

TIMING = Timing(base_seconds=0.02, cap_seconds=0.3, silence_seconds=8, poll_wait_seconds=2, poll_pause_seconds=0.02)
_SIZES = (1, 1, 2, 3, 10, 25, 60, 150)
_PATIENCE_SECONDS = 60.0


class Numbers(NamedTuple):
    """Where an event stands."""

    mission_id: str | None
    sequence: int
    position: int


class Flood:
    """Appenders that repeat what was not acknowledged, and the acknowledgements they got."""

    def __init__(self, node: Node, missions: Sequence[str]) -> None:
        self.node = node
        self.missions = missions
        self.acknowledged: dict[str, Numbers] = {}
        self.refusals: list[int] = []
        self.losses = 0
        self._progress = asyncio.Condition()
        self._appenders = 0

    async def append(self, events: int, *, appenders: int = 8) -> None:
        """Append so many events, from several appenders at once."""
        async with self.node.http() as http:
            shares = [events // appenders + (number < events % appenders) for number in range(appenders)]
            first, self._appenders = self._appenders, self._appenders + appenders
            await asyncio.gather(*(self._appender(http, number, share) for number, share in enumerate(shares, first)))

    async def reached(self, count: int) -> None:
        """Wait until so many events were acknowledged."""
        async with asyncio.timeout(_PATIENCE_SECONDS), self._progress:
            await self._progress.wait_for(lambda: len(self.acknowledged) >= count)

    async def _appender(self, http: ClientSession, number: int, share: int) -> None:
        dice = random.Random(number)
        done = 0
        while done < share:
            size = min(dice.choice(_SIZES), share - done)
            mission_id = dice.choice(self.missions)
            first = len(self.acknowledged)
            drafts = [
                {
                    "event_id": f"{number}-{done + place}",
                    "event_type": "x_tick",
                    "content": f"tick {number}-{done + place}",
                    "metadata": {"appender": number, "after": first},
                }
                for place in range(size)
            ]
            await self._append_one(http, mission_id, drafts)
            done += size

    async def _append_one(self, http: ClientSession, mission_id: str, drafts: list[dict[str, Any]]) -> None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                try:
                    async with http.post(
                        f"/api/control/missions/{mission_id}/events",
                        json={"events": drafts},
                        timeout=ClientTimeout(total=15),
                    ) as answer:
                        body = await answer.read()
                        if answer.status == 200:
                            await self._note(mission_id, drafts, (await answer.json())["events"])
                            return
                        assert answer.status == 503, (answer.status, body)
                        assert int(answer.headers["Retry-After"]) >= 1
                        self.refusals.append(answer.status)
                except (ClientError, OSError, TimeoutError):
                    self.losses += 1
                await asyncio.sleep(0.05)

    async def _note(self, mission_id: str, drafts: list[dict[str, Any]], answer: list[dict[str, Any]]) -> None:
        assert [row["event_id"] for row in answer] == [draft["event_id"] for draft in drafts]
        for row in answer:
            self.acknowledged[row["event_id"]] = Numbers(mission_id, row["sequence"], row["position"])
        async with self._progress:
            self._progress.notify_all()


class Watcher:
    """A follower of the whole workspace, and everything it was handed."""

    def __init__(self, name: str, follow: Follow[Any]) -> None:
        self.name = name
        self.follow = follow
        self.seen: list[tuple[str | None, Numbers]] = []
        self._task = asyncio.create_task(self._read(), name=f"watcher {name}")
        self._arrived = asyncio.Event()

    async def _read(self) -> None:
        async for event in self.follow:
            numbers = Numbers(event.mission_id, event.sequence, event.position)
            self.seen.append((event.event_id, numbers))
            self._arrived.set()

    async def reached(self, position: int) -> None:
        """Wait until the event at `position` was handed out."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not self.seen or self.seen[-1][1].position < position:
                self._arrived.clear()
                arrived = asyncio.create_task(self._arrived.wait())
                await asyncio.wait({arrived, self._task}, return_when=asyncio.FIRST_COMPLETED)
                arrived.cancel()
                if self._task.done():
                    await self._task
                    raise AssertionError(f"{self.name} ended")

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.follow.aclose()


@asynccontextmanager
async def watching(node: Node, mission_id: str) -> AsyncIterator[list[Watcher]]:
    """Followers of the workspace from its beginning on all three transports, and one of a mission from sequence 0."""
    _, epoch = await node.workspace()
    async with Client(node.url, TOKEN, timing=TIMING) as client:
        watchers = [
            Watcher(transport, client.follow("workspace", f"{epoch}:0", transport=transport))
            for transport in ("sse", "ws", "poll")
        ]
        watchers.append(Watcher("mission", client.follow(mission_id, 0)))
        try:
            yield watchers
        finally:
            for watcher in watchers:
                await watcher.close()


async def missions_of(node: Node, count: int) -> list[str]:
    """Make missions."""
    async with Client(node.url, TOKEN, timing=TIMING) as client:
        return [(await client.create_mission(f"mission {number}")).id for number in range(count)]


async def stored(node: Node) -> list[tuple[str | None, Numbers]]:
    """The whole log in order of position, straight from the tables."""
    connection = await asyncpg.connect(**await node.connect_arguments())
    try:
        rows = await connection.fetch(
            "SELECT event_id, nullif(stream_id, workspace_id)::text AS mission_id, sequence, position"
            " FROM events ORDER BY position"
        )
    finally:
        await connection.close()
    return [(row["event_id"], Numbers(row["mission_id"], row["sequence"], row["position"])) for row in rows]


async def survive(node: Node, events: int, strikes: Sequence[Callable[[], Awaitable[None]]]) -> Flood:
    """Append and follow while each strike comes in mid-flow; then every account must agree with the log."""
    missions = await missions_of(node, 3)
    flood = Flood(node, missions)
    async with watching(node, missions[0]) as watchers:
        async with asyncio.TaskGroup() as group:
            group.create_task(flood.append(events))
            for number, strike in enumerate(strikes, 1):
                await flood.reached(events * number // (len(strikes) + 1))
                await strike()
        await settle(node, flood, events, watchers)
    return flood


async def settle(node: Node, flood: Flood, events: int, watchers: Sequence[Watcher]) -> None:
    """Compare the acknowledgements and the followers with the log."""
    log = await stored(node)
    numbers = dict(log)
    assert [place.position for _, place in log] == list(range(1, len(log) + 1))
    for mission_id in flood.missions:
        sequences = [place.sequence for _, place in log if place.mission_id == mission_id]
        assert sequences == list(range(1, len(sequences) + 1))
    assert len(flood.acknowledged) == events
    ticks = [event_id for event_id, _ in log if event_id in flood.acknowledged]
    assert len(ticks) == len(set(ticks)) == events
    assert {event_id: numbers[event_id] for event_id in ticks} == flood.acknowledged
    for watcher in watchers:
        expected = log
        if watcher.name == "mission":
            expected = [row for row in log if row[1].mission_id == flood.missions[0]]
        await watcher.reached(expected[-1][1].position)
        assert watcher.seen == expected, watcher.name
        assert (watcher.name, watcher.follow.gap_count) == (watcher.name, 0)
    assert await node.findings() == []


async def epoch_of(http: ClientSession) -> str:
    """The epoch of the home workspace."""
    async with http.get("/api/control/events") as answer:
        return answer.headers["X-Epoch"]


async def whole_log(http: ClientSession) -> list[dict[str, Any]]:
    """Every event of the home workspace, by pages."""
    events: list[dict[str, Any]] = []
    cursor = f"{await epoch_of(http)}:0"
    while True:
        async with http.get("/api/control/events", params={"since": cursor}) as answer:
            page = await answer.json()
        if not page["events"]:
            return events
        events += page["events"]
        cursor = page["cursor"]
