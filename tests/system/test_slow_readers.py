"""Readers that do not read: they cost a bounded number of bytes, slow nobody, and miss nothing when they come back."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession

from missionstream_client import Client
from streams import subscriber
from streams.ring import RING_BYTES
from streams.subscriber import BUDGET_BYTES, PIECE_BYTES
from tests.conftest import TOKEN, Serving
from tests.system.crowd import Member, crowd
from tests.system.flood import TIMING, missions_of
from tests.system.node import Node
from tests.system.wiretap import until

_CONTENT = "x" * (16 << 10)
_EVENTS_PER_BATCH = 50
_SLACK_BYTES = 24 << 20  # the allocator's, and the appends' own


def _resident_bytes(pid: int, what: str = "VmRSS") -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{what}:")]
    return int(line.split()[1]) << 10


async def _fill(http: ClientSession, mission_id: str, batches: int, name: str = "fill") -> int:
    """Append batches of 800 KiB; the last position."""
    position = 0
    for batch in range(batches):
        drafts = [
            {"event_id": f"{name}-{batch}-{place}", "event_type": "x_tick", "content": _CONTENT}
            for place in range(_EVENTS_PER_BATCH)
        ]
        async with http.post(f"/api/control/missions/{mission_id}/events", json={"events": drafts}) as answer:
            assert answer.status == 200, await answer.text()
            position = (await answer.json())["events"][-1]["position"]
    return position


async def test_fifty_stalled_readers_among_five_hundred_cost_little_and_slow_nobody(node: Node) -> None:
    [mission_id] = await missions_of(node, 1)
    _, epoch = await node.workspace()
    query = f"?since={epoch}:0"
    readers = [Member(node.port, query) for _ in range(450)]
    stalled = [Member(node.port, query, receive_bytes=4_096) for _ in range(50)]
    async with node.http() as http, crowd([*readers, *stalled]):
        for reader in readers:
            reader.listen()
        await _fill(http, mission_id, 2, "warm")
        await until(_all_at(readers, 1 + 2 * _EVENTS_PER_BATCH))
        before = _resident_bytes(node.pid)
        head = await _fill(http, mission_id, 23)
        assert head * len(_CONTENT) > 20_000_000
        await until(_all_at(readers, head), within_seconds=60)
        grown = _resident_bytes(node.pid, "VmHWM") - before
        assert grown < RING_BYTES + 50 * (BUDGET_BYTES + PIECE_BYTES) + _SLACK_BYTES
        assert {(reader.is_in_order, reader.count, reader.last) for reader in readers} == {(True, head, head)}
        for member in stalled:  # now they read, from their own cursors on
            member.listen()
        await until(_all_at(stalled, head), within_seconds=60)
        assert {(member.is_in_order, member.count, member.last) for member in stalled} == {(True, head, head)}


def _all_at(members: list[Member], position: int) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return all(member.last >= position for member in members)

    return ask


async def test_only_a_reader_that_takes_no_byte_is_closed(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    assert subscriber.STALL_SECONDS == 30.0
    monkeypatch.setattr(subscriber, "STALL_SECONDS", 1.0)
    port = int(serving.url.rpartition(":")[2])
    async with Client(serving.url, TOKEN, timing=TIMING) as client:
        mission = await client.create_mission("stall")
    stalled, slow = (Member(port, receive_bytes=4_096) for _ in range(2))

    async def sip() -> None:
        while True:
            await asyncio.get_running_loop().sock_recv(slow.socket, 16 << 10)
            await asyncio.sleep(0.05)

    async with ClientSession(serving.url, headers=serving.headers) as http, crowd([stalled, slow]):
        sipping = asyncio.create_task(sip())
        await _fill(http, mission.id, 4)
        await until(_has_connections(serving, 1))
        assert not sipping.done()
        await asyncio.sleep(1.5)  # longer than the limit: the slow one takes bytes, and stays
        assert len(serving.core.hub.connections) == 1
        sipping.cancel()
        await asyncio.gather(sipping, return_exceptions=True)
        stalled.listen()
        await until(_ended(stalled))


def _has_connections(serving: Serving, count: int) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return len(serving.core.hub.connections) == count

    return ask


def _ended(member: Member) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return member.is_ended

    return ask
