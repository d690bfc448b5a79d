"""A log in memory, an encoding that tells everything, and a transport that keeps it: what the tests of streams share."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from streams.channels import Channel
from streams.cursor import MAX_POSITION, Cursor
from streams.event import Event, Signal
from streams.hub import Hub
from streams.reader import Head, Page
from streams.subscriber import Connection

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

    is_whole = True
    lingers = True

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
