"""The read law: whatever happens to the hints, a subscriber gets every event once and in order."""

import asyncio
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.channels import Channel
from streams.cursor import MAX_POSITION, Cursor
from streams.errors import CursorGone
from streams.event import Event, Signal
from streams.feed import GAP_PER_LONE_FLUSH, KEPT_PIECES
from streams.hub import Hub
from streams.reader import Head, Page
from streams.subscriber import Connection, Subscriber

WORKSPACE = UUID(int=1)
MISSIONS = (UUID(int=11), UUID(int=12))
ALL = Channel(WORKSPACE, "workspace", WORKSPACE)


class MemoryLog:
    """The log's port in memory, with pages as small as the database's could be."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.reads = 0
        self.page_size = 3

    def append(self, mission: UUID = MISSIONS[0], content: str = "") -> Event:
        sequence = 1 + sum(event.stream_id == mission for event in self.events)
        event = Event(
            workspace_id=WORKSPACE,
            position=len(self.events) + 1,
            stream_id=mission,
            sequence=sequence,
            type="x_test",
            at=datetime(2026, 1, 1, tzinfo=UTC),
            content=content,
        )
        self.events.append(event)
        return event

    def _of(self, channel: Channel) -> list[Event]:
        return [event for event in self.events if channel.kind == "workspace" or event.stream_id == channel.id]

    async def head(self, workspace_id: UUID) -> Head:
        await asyncio.sleep(0)
        return Head("e", 0, len(self.events))

    async def heads(self, workspace_ids: Iterable[UUID]) -> dict[UUID, Head]:
        return {WORKSPACE: await self.head(WORKSPACE)}

    async def after(
        self, channel: Channel, position: int, *, until: int = MAX_POSITION, max_bytes: int = 1 << 18
    ) -> Page:
        self.reads += 1
        await asyncio.sleep(0)
        events = [event for event in self._of(channel) if position < event.position <= until][: self.page_size]
        return Page(events, await self.before(channel, position))

    async def before(self, channel: Channel, position: int) -> int:
        await asyncio.sleep(0)
        return max((event.position for event in self._of(channel) if event.position <= position), default=0)


class Lines:
    """An encoding that tells everything: kind, position, prev."""

    def __init__(self, channel: Channel, epoch: str) -> None:
        self.channel = channel

    def event(self, event: Event, prev: int) -> bytes:
        return f"event {event.position} {prev}\n".encode()

    def signal(self, signal: Signal) -> bytes:
        return f"signal {signal.type}\n".encode()

    def heartbeat(self, through: int, head: int) -> bytes:
        return f"through {through}\n".encode()

    def notice(self, name: str, body: dict[str, Any]) -> bytes:
        return f"notice {name}\n".encode()


class Wire(asyncio.Transport):
    """A transport that keeps what is written; `room` bytes are taken at once, the rest stays in its buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self.buffered = 0
        self.takes = True
        self.is_gone = False

    def write(self, data: Any) -> None:
        if self.is_gone:
            raise RuntimeError("the transport is closed")
        self.data += bytes(data)
        if not self.takes:
            self.buffered += len(data)

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        self.is_gone = True

    def read_all(self) -> None:
        self.takes, self.buffered = True, 0


def received(wire: Wire, after: int) -> list[int]:
    """The positions received; fails on a repeat, a reorder or a gap by `prev`."""
    cursor, positions = after, []
    for line in wire.data.decode().splitlines():
        word, *numbers = line.split()
        if word == "event":
            position, prev = map(int, numbers)
            assert position > cursor, f"{position} came after {cursor}"
            assert prev <= cursor, f"{position} names {prev} before it, but the reader is at {cursor}"
            positions.append(position)
            cursor = position
        elif word == "through":
            cursor = max(cursor, int(numbers[0]))
    return positions


async def attach(hub: Hub, channel: Channel, after: int) -> tuple[Wire, Connection, asyncio.Task[None]]:
    wire = Wire()
    connection = Connection(wire, "sse", is_chunked=False)
    await hub.subscribe(connection, channel, Lines, Cursor("e", after))
    return wire, connection, asyncio.create_task(connection.serve())


async def settle(check: Any) -> None:
    async with asyncio.timeout(2):
        while not check():
            await asyncio.sleep(0.001)


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


async def test_a_slow_reader_costs_its_budget_and_catches_up() -> None:
    log = MemoryLog()
    log.page_size = 500
    hub = Hub(log, gap_seconds=0, ring_bytes=4_000)
    slow, _, slow_task = await attach(hub, ALL, 0)
    quick, _, quick_task = await attach(hub, ALL, 0)
    await asyncio.sleep(0.01)
    slow.takes = False
    slow.buffered = 1 << 20
    for _ in range(50):
        hub.publish(WORKSPACE, [log.append() for _ in range(20)])
        await asyncio.sleep(0)
    await settle(lambda: len(received(quick, 0)) == 1_000)
    assert slow.data == b""
    slow.read_all()
    await settle(lambda: received(slow, 0) == list(range(1, 1_001)))
    hub.publish(WORKSPACE, [log.append()])
    await settle(lambda: received(slow, 0)[-1] == 1_001)
    for task in (slow_task, quick_task):
        task.cancel()
    await asyncio.gather(slow_task, quick_task, return_exceptions=True)


async def test_a_flush_that_took_long_is_followed_by_as_long_a_rest() -> None:
    log = MemoryLog()
    hub = Hub(log, gap_seconds=0)
    wire, _, task = await attach(hub, ALL, 0)
    hub.publish(WORKSPACE, [log.append()])
    await settle(lambda: received(wire, 0) == [1])
    loop = asyncio.get_running_loop()
    written: list[float] = []
    write = wire.write

    def slow(data: Any) -> None:
        if not written:
            time.sleep(0.02)  # as long as a write to a thousand sockets
        written.append(loop.time())
        write(data)

    wire.write = slow  # type: ignore[method-assign]
    hub.publish(WORKSPACE, [log.append()])
    await settle(lambda: len(written) == 1)
    hub.publish(WORKSPACE, [log.append()])
    hub.publish(WORKSPACE, [log.append()])
    await settle(lambda: received(wire, 0) == [1, 2, 3, 4])
    assert len(written) == 2, "what came in the rest is joined"
    assert written[1] - written[0] >= 0.02 * GAP_PER_LONE_FLUSH * 0.9, "one event alone was dear"
    hub.publish(WORKSPACE, [log.append(), log.append()])
    hub.publish(WORKSPACE, [log.append()])
    await settle(lambda: received(wire, 0)[-1] == 7)
    assert len(written) == 3
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_dead_transport_stops_no_flush() -> None:
    log = MemoryLog()
    hub = Hub(log, gap_seconds=0)
    dead, _, dead_task = await attach(hub, ALL, 0)
    alive, _, alive_task = await attach(hub, ALL, 0)
    await asyncio.sleep(0.01)
    dead.is_gone = True
    for _ in range(3):
        hub.publish(WORKSPACE, [log.append()])
        await asyncio.sleep(0.001)
    await settle(lambda: received(alive, 0) == [1, 2, 3])
    async with asyncio.timeout(1):
        await dead_task
    alive_task.cancel()
    await asyncio.gather(alive_task, return_exceptions=True)


async def test_a_herd_reads_the_log_once() -> None:
    log = MemoryLog()
    log.page_size = 500
    for _ in range(200):
        log.append()
    hub = Hub(log, gap_seconds=0)
    herd = [await attach(hub, ALL, 100) for _ in range(100)]
    await settle(lambda: all(len(received(wire, 100)) == 100 for wire, _, _ in herd))
    assert log.reads <= 2
    for _, connection, task in herd:
        hub.forget(connection)
        await task
    assert hub.census().subscribers == {"live": 0, "reading": 0}


async def test_those_who_fell_behind_together_share_what_is_read_for_them() -> None:
    log = MemoryLog()
    log.page_size = 50
    for _ in range(400):
        log.append()
    hub = Hub(log, gap_seconds=0, ring_bytes=500, heartbeat_seconds=0.02)
    herd = [await attach(hub, ALL, 0) for _ in range(100)]
    await settle(lambda: all(len(received(wire, 0)) == 400 for wire, _, _ in herd))
    assert log.reads <= 400 / log.page_size + 1
    [feed] = (await hub.follower(WORKSPACE)).feeds.values()
    assert 0 < len(feed._loaded) <= KEPT_PIECES
    await hub.start()
    await settle(lambda: not feed._loaded)
    for _, connection, task in herd:
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


async def test_signals_reach_live_readers_only_and_are_conflated() -> None:
    log = MemoryLog()
    log.append()
    hub = Hub(log, gap_seconds=0)
    wire, connection, task = await attach(hub, Channel(WORKSPACE, "mission", MISSIONS[0]), 0)
    await settle(lambda: received(wire, 0) == [1])
    for number in range(50):
        body = {"content": "x" * number}
        hub.signal(
            Signal(
                workspace_id=WORKSPACE,
                stream_id=MISSIONS[0],
                type="text_delta",
                after=1,
                body=body,
                run_id=UUID(int=5),
            )
        )
    await settle(lambda: b"signal text_delta\n" in wire.data)
    await asyncio.sleep(0.15)
    assert wire.data.count(b"signal text_delta\n") <= 2
    [current] = hub.signals.of(MISSIONS[0])
    assert current.body == {"content": "x" * 49}
    hub.signals.drop(MISSIONS[0])
    assert hub.signals.of(MISSIONS[0]) == []
    hub.forget(connection)
    await task


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


async def test_a_large_flush_is_read_in_pieces() -> None:
    log = MemoryLog()
    hub = Hub(log, gap_seconds=0, ring_bytes=8 << 20)
    wire, connection, task = await attach(hub, ALL, 0)
    await asyncio.sleep(0.01)
    largest = 0
    write = wire.write

    def watched(data: Any) -> None:
        nonlocal largest
        largest = max(largest, len(data))
        write(data)

    wire.write = watched  # type: ignore[method-assign]
    first = log.append()
    numbered = (msgspec.structs.replace(first, position=n, sequence=n) for n in range(1, 80_001))
    hub.publish(WORKSPACE, list(numbered))
    await settle(lambda: wire.data.endswith(b"event 80000 79999\n"))
    assert len(received(wire, 0)) == 80_000
    assert largest <= 128 << 10
    hub.forget(connection)
    await task


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


class EvenLines(Lines):
    """An encoding that leaves every other event out."""

    def event(self, event: Event, prev: int) -> bytes:
        return super().event(event, prev) if event.position % 2 == 0 else b""


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_an_event_without_frames_moves_the_cursor_and_is_nobodys_predecessor(is_chunked: bool) -> None:
    log = MemoryLog()
    log.page_size = 500
    hub = Hub(log, gap_seconds=0)

    async def follow(after: int) -> tuple[Wire, Subscriber]:
        wire = Wire()
        connection = Connection(wire, "sse", is_chunked=is_chunked)
        tasks.append(asyncio.create_task(connection.serve()))
        return wire, await hub.subscribe(connection, ALL, EvenLines, Cursor("e", after))

    def events(wire: Wire) -> list[bytes]:
        return [line for line in wire.data.split(b"\n") if line.startswith(b"event")]

    tasks: list[asyncio.Task[None]] = []
    live, subscriber = await follow(0)
    for position in range(1, 7):
        hub.publish(WORKSPACE, [log.append()])
        await settle(lambda position=position: subscriber.cursor == position)
    assert events(live) == [b"event 2 0", b"event 4 2", b"event 6 4"]
    assert b"0\r\n\r\n" not in live.data, "an empty chunk would have ended the response"
    late, _ = await follow(1)
    await settle(lambda: len(events(late)) == 3)
    assert events(late) == events(live)
    other = Hub(log, gap_seconds=0)  # knows nothing of before: it reads the log
    wire = Wire()
    connection = Connection(wire, "sse", is_chunked=False)
    tasks.append(asyncio.create_task(connection.serve()))
    await other.subscribe(connection, ALL, EvenLines, Cursor("e", 3))
    await settle(lambda: received(wire, 3) == [4, 6])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await hub.close()
    await other.close()
