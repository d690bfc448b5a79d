"""The flush: one write per reader, rests that join, slow readers that cost a bounded number of bytes."""

import asyncio
import time
from typing import Any
from uuid import UUID

import msgspec
import pytest

from streams.channels import Channel
from streams.event import Signal
from streams.feed import KEPT_PIECES
from streams.hub import Hub
from tests.streams.memory import ALL, MISSIONS, WORKSPACE, MemoryLog, attach, received, settle


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


@pytest.mark.parametrize(("frames", "rests"), [(1, 3.0), (2, 1.5), (3, 1.0), (6, 0.5), (60, 0.5)])
async def test_a_long_flush_is_followed_by_a_rest_the_longer_the_fewer_shared_it(frames: int, rests: float) -> None:
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
            time.sleep(0.006)  # as long as a write to a thousand sockets
        written.append(loop.time())
        write(data)

    wire.write = slow  # type: ignore[method-assign]
    hub.publish(WORKSPACE, [log.append() for _ in range(frames)])
    await settle(lambda: len(written) == 1)
    hub.publish(WORKSPACE, [log.append()])
    hub.publish(WORKSPACE, [log.append()])
    await settle(lambda: received(wire, 0) == list(range(1, frames + 4)))
    assert len(written) == 2, "what came in the rest is joined"
    assert written[1] - written[0] >= 0.006 * rests * 0.9
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
