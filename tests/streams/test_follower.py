"""The read law: whatever happens to the hints, a subscriber gets every event once and in order."""

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.channels import Channel
from streams.cursor import MAX_POSITION, Cursor
from streams.errors import CursorGone
from streams.event import Event
from streams.hub import Hub
from streams.reader import Head, Page
from streams.subscriber import Connection
from tests.streams.memory import ALL, MISSIONS, WORKSPACE, Lines, MemoryLog, Wire, attach, received, settle

hints = st.lists(
    st.tuples(
        st.sampled_from(["live", "lost", "twice", "late", "hint", "ahead"]),
        st.integers(1, 4),
        st.sampled_from(MISSIONS),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(steps=hints, after=st.integers(0, 5), joins=st.integers(0, 25))
def test_lost_doubled_and_late_hints_are_repaired(steps: list[Any], after: int, joins: int) -> None:
    asyncio.run(_repaired(steps, after, joins))


async def _repaired(steps: list[Any], after: int, joins: int) -> None:
    log = MemoryLog()
    for number in range(5):
        log.append(MISSIONS[number % 2])
    hub = Hub(log, gap_seconds=0)
    everything = await attach(hub, ALL, after)
    readers = [(ALL, after, everything)]
    late: list[list[Event]] = []
    for number, (kind, count, mission, pauses) in enumerate(steps):
        batch = [log.append(mission) for _ in range(count)]
        if kind in ("live", "twice"):
            hub.publish(WORKSPACE, batch)
        if kind == "twice":
            hub.publish(WORKSPACE, batch)
        if kind == "late":
            late.append(batch)
        if kind in ("hint", "ahead"):
            hub.hint(WORKSPACE, len(log.events) + (3 if kind == "ahead" else 0))
        if number == joins:
            channel = Channel(WORKSPACE, "mission", mission)
            readers.append((channel, after, await attach(hub, channel, after)))
        if pauses:
            await asyncio.sleep(0)
    for batch in late:
        hub.publish(WORKSPACE, batch)
    hub.hint(WORKSPACE, len(log.events))
    for channel, start, (wire, connection, task) in readers:
        expected = [event.position for event in log._of(channel) if event.position > start]
        await settle(lambda wire=wire, start=start, expected=expected: len(received(wire, start)) >= len(expected))
        assert received(wire, start) == expected
        hub.forget(connection)
        await task
    await hub.close()


async def test_heartbeats_move_the_cursor_of_a_quiet_mission() -> None:
    log = MemoryLog()
    hub = Hub(log, gap_seconds=0, heartbeat_seconds=0.02)
    await hub.start()
    wire, connection, task = await attach(hub, Channel(WORKSPACE, "mission", MISSIONS[0]), 0)
    hub.publish(WORKSPACE, [log.append(MISSIONS[1]) for _ in range(7)])
    await settle(lambda: b"through 7\n" in wire.data)
    hub.publish(WORKSPACE, [log.append(MISSIONS[0])])
    await settle(lambda: b"event 8 0\n" in wire.data)
    hub.forget(connection)
    await task
    await hub.close()


class Counted:
    """What looks after a connection, and counts how often it was to prove that it lives."""

    def __init__(self) -> None:
        self.pings = 0

    async def recheck(self, workspace_id: UUID) -> None: ...

    def ping(self) -> None:
        self.pings += 1


async def test_only_connections_without_channels_are_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.hub.PING_SECONDS", 0.01)
    hub = Hub(MemoryLog(), gap_seconds=0)
    await hub.start()
    _, busy, task = await attach(hub, ALL, 0)
    silent = Connection(Wire(), "ws", is_chunked=False)
    hub.connections[busy] = with_channel = Counted()
    hub.connections[silent] = without = Counted()
    await settle(lambda: without.pings > 1)
    assert with_channel.pings == 0
    hub.forget(silent)
    hub.forget(busy)
    await task
    await hub.close()


async def test_a_tick_finds_the_last_lost_hint() -> None:
    log = MemoryLog()
    hub = Hub(log, gap_seconds=0, heartbeat_seconds=0.02)
    await hub.start()
    wire, connection, task = await attach(hub, ALL, 0)
    log.append()
    await settle(lambda: received(wire, 0) == [1])
    hub.forget(connection)
    await task
    await hub.close()


class HangingLog(MemoryLog):
    """A log whose look at the heads never comes back, as a database that accepts and does not answer."""

    async def heads(self, workspace_ids: Iterable[UUID]) -> dict[UUID, Head]:
        await asyncio.Event().wait()
        return {}


async def test_heartbeats_do_not_wait_for_the_database() -> None:
    log = HangingLog()
    hub = Hub(log, gap_seconds=0, heartbeat_seconds=0.02)
    await hub.start()
    wire, connection, task = await attach(hub, ALL, 0)
    await settle(lambda: wire.data.count(b"through 0\n") >= 5)
    hub.forget(connection)
    await task
    await hub.close()


class FailingLog(MemoryLog):
    """A log whose first look behind a channel fails in a way that nobody planned."""

    failures = 1

    async def before(self, channel: Channel, position: int) -> int:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("out of memory")
        return await super().before(channel, position)


async def test_a_feed_that_could_not_be_made_is_made_by_the_next_subscriber() -> None:
    log = FailingLog()
    log.append()
    hub = Hub(log, gap_seconds=0)
    channel = Channel(WORKSPACE, "mission", MISSIONS[0])
    with pytest.raises(RuntimeError, match="out of memory"):
        await attach(hub, channel, 0)
    wire, connection, task = await attach(hub, channel, 0)
    await settle(lambda: received(wire, 0) == [1])
    hub.forget(connection)
    await task


class ShrinkingLog(MemoryLog):
    """A log that retention has cut; whoever reads below the floor is told."""

    floor = 0

    async def after(
        self, channel: Channel, position: int, *, until: int = MAX_POSITION, max_bytes: int = 1 << 18
    ) -> Page:
        page = await super().after(channel, position, until=until, max_bytes=max_bytes)
        if position < self.floor:
            raise CursorGone
        return page


async def test_a_reader_that_retention_overtakes_is_sent_away_with_the_reason() -> None:
    log = ShrinkingLog()
    for _ in range(10):
        log.append()
    hub = Hub(log, gap_seconds=0)
    await hub.follower(WORKSPACE)
    log.floor = 5
    wire, connection = Wire(), None
    connection = Connection(wire, "sse", is_chunked=False)
    connection.farewell_frame = lambda body: f"closed {body['reason']}\n".encode()
    await hub.subscribe(connection, ALL, Lines, Cursor("e", 2))
    async with asyncio.timeout(2):
        await connection.serve()
    assert wire.data == b"closed cursor_gone\n"
    hub.forget(connection)


async def test_a_history_that_went_back_ends_its_streams() -> None:
    log = MemoryLog()
    for _ in range(5):
        log.append()
    hub = Hub(log, gap_seconds=0, heartbeat_seconds=0.02)
    await hub.start()
    _, connection, task = await attach(hub, ALL, 5)
    del log.events[2:]
    async with asyncio.timeout(2):
        await task
    assert connection.close_code == 4409
    hub.forget(connection)
    await hub.close()


async def test_what_a_waiter_waits_for_is_not_missed_between_reading_and_waiting() -> None:
    log = MemoryLog()
    hub = Hub(log, gap_seconds=0)
    follower = await hub.follower(WORKSPACE)
    channel = Channel(WORKSPACE, "mission", MISSIONS[0])
    with follower.waiting(channel) as arrival:
        assert await log.before(channel, 0) == 0
        hub.publish(WORKSPACE, [log.append(MISSIONS[1]), log.append(MISSIONS[0])])
        async with asyncio.timeout(1):
            await arrival
