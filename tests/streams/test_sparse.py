"""Encodings that leave events out: nothing is kept, said or claimed of what has no frames."""

import asyncio
from typing import Any

import pytest

from streams.cursor import Cursor
from streams.event import Event
from streams.feed import MOST_PIECES
from streams.hub import Hub
from streams.subscriber import Connection, Subscriber
from tests.streams.memory import ALL, MISSIONS, WORKSPACE, Lines, MemoryLog, Wire, attach, received, settle


class EvenLines(Lines):
    """An encoding that leaves every other event out."""

    is_whole = False

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
        await settle(lambda position=position: subscriber.cursor == position // 2 * 2)
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


async def test_who_comes_from_before_an_event_without_frames_sees_no_gap() -> None:
    log = MemoryLog()
    for _ in range(3):
        log.append()
    hub = Hub(log, gap_seconds=0)
    wire = Wire()
    connection = Connection(wire, "sse", is_chunked=False)
    subscriber = await hub.subscribe(connection, ALL, EvenLines, Cursor("e", 2))
    task = asyncio.create_task(connection.serve())
    await settle(lambda: subscriber.is_live)
    hub.publish(WORKSPACE, [log.append()])
    await settle(lambda: received(wire, 2) == [4])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await hub.close()


@pytest.mark.parametrize(
    ("stored", "looked_back", "named"), [(6, 100, 6), (7, 100, 6), (7, 2, 6), (7, 1, 0), (1, 100, 0)]
)
async def test_a_feed_made_anew_knows_the_last_event_with_frames_if_it_is_near(
    stored: int, looked_back: int, named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.feed.LOOK_BACK", looked_back)
    log = MemoryLog()
    log.page_size = 500
    for _ in range(stored):
        log.append()
    hub = Hub(log, gap_seconds=0)
    wire, subscriber, task = await subscribed(hub, EvenLines, stored)
    await settle(lambda: subscriber.is_live)
    hub.publish(WORKSPACE, [log.append() for _ in range(2)])
    await settle(lambda: b"event" in wire.data)
    assert f"event {stored + 2 - stored % 2} {named}\n".encode() in wire.data
    await ended(task)
    await hub.close()


class RareLines(Lines):
    """An encoding that tells of every hundredth event."""

    is_whole = False
    lingers = False

    def event(self, event: Event, prev: int) -> bytes:
        return super().event(event, prev) if event.position % 100 == 0 else b""


async def subscribed(hub: Hub, face: Any, after: int) -> tuple[Wire, Subscriber, asyncio.Task[None]]:
    wire = Wire()
    connection = Connection(wire, "sse", is_chunked=False)
    subscriber = await hub.subscribe(connection, ALL, face, Cursor("e", after))
    return wire, subscriber, asyncio.create_task(connection.serve())


async def ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_reader_that_comes_over_many_pieces_sees_no_gap() -> None:
    log = MemoryLog()
    log.page_size = 30
    for _ in range(1_000):
        log.append()
    hub = Hub(log, gap_seconds=0)
    expected = [*range(100, 1_001, 100)]
    for _ in range(2):  # the second one shares the pieces of the first
        wire, _, task = await subscribed(hub, RareLines, 4)
        await settle(lambda wire=wire: len(received(wire, 4)) == len(expected))
        assert received(wire, 4) == expected
        await ended(task)
    await hub.close()


async def test_what_has_no_frames_takes_no_room() -> None:
    log = MemoryLog()
    log.page_size = 10
    hub = Hub(log, gap_seconds=0)
    _, subscriber, task = await subscribed(hub, RareLines, 0)
    for _ in range(5_000):
        hub.publish(WORKSPACE, [log.append()])
    feed = subscriber.feed
    assert feed.ring is not None
    assert len(feed.ring._positions) == 50
    _, other, other_task = await subscribed(hub, RareLines, 0)
    await settle(lambda: other.is_live)
    assert len(feed._loaded) <= MOST_PIECES
    await ended(task, other_task)
    await hub.close()


async def test_heartbeats_go_on_beside_events_without_frames() -> None:
    log = MemoryLog()
    hub = Hub(log, gap_seconds=0)
    wire, subscriber, task = await subscribed(hub, RareLines, 0)
    await settle(lambda: subscriber.is_live)
    for _ in range(20):
        hub.publish(WORKSPACE, [log.append()])
        await hub._beat()
    beats = [line for line in wire.data.decode().splitlines() if line.startswith("through")]
    assert beats == [f"through {position}" for position in range(1, 21)]
    assert subscriber.cursor == 20
    await ended(task)
    await hub.close()


async def test_a_feed_that_does_not_linger_goes_with_its_last_reader() -> None:
    log = MemoryLog()
    hub = Hub(log, gap_seconds=0)
    wire, subscriber, task = await subscribed(hub, RareLines, 0)
    whole_wire, whole, whole_task = await attach(hub, ALL, 0)
    follower = await hub.follower(WORKSPACE)
    assert {face for _, face in follower.feeds} == {RareLines, Lines}
    hub.forget(subscriber.connection)
    hub.forget(whole)
    assert {face for _, face in follower.feeds} == {Lines}, "the other one waits for those who come back"
    again, late, late_task = await subscribed(hub, RareLines, 0)
    hub.publish(WORKSPACE, [log.append() for _ in range(100)])
    await settle(lambda: received(again, 0) == [100])
    await ended(task, whole_task, late_task)
    await hub.close()


async def test_who_waits_for_a_feed_that_is_left_meanwhile_gets_another() -> None:
    log = MemoryLog()
    hub = Hub(log, gap_seconds=0)
    joining = [asyncio.create_task(subscribed(hub, RareLines, 0)) for _ in range(2)]
    (_, first, first_task), (wire, second, second_task) = [await join for join in joining]
    hub.forget(first.connection)
    hub.publish(WORKSPACE, [log.append() for _ in range(100)])
    await settle(lambda: received(wire, 0) == [100])
    await ended(first_task, second_task)
    await hub.close()


class Broken(Lines):
    """An encoding with a fault."""

    def event(self, event: Event, prev: int) -> bytes:
        raise ZeroDivisionError


async def test_an_encoding_that_fails_costs_the_others_nothing() -> None:
    log = MemoryLog()
    hub = Hub(log, gap_seconds=0)
    broken, faulty, broken_task = await subscribed(hub, Broken, 0)
    wire, subscriber, task = await subscribed(hub, Lines, 0)
    await settle(lambda: faulty.is_live and subscriber.is_live)
    hub.publish(WORKSPACE, [log.append(MISSIONS[0]), log.append(MISSIONS[1])])
    await settle(lambda: received(wire, 0) == [1, 2])
    assert faulty.connection.is_closed
    assert faulty.connection.close_code == 4500
    await ended(task, broken_task)
    await hub.close()


async def test_what_other_processes_wrote_is_heard_of_too() -> None:
    log = MemoryLog()
    hub = Hub(log, gap_seconds=0)
    heard: list[int] = []
    hub.on_apply = lambda workspace_id, events: heard.extend(event.position for event in events)
    _, _, task = await subscribed(hub, Lines, 0)
    log.append()
    hub.hint(WORKSPACE, 1)
    await settle(lambda: heard == [1])
    await ended(task)
    await hub.close()
