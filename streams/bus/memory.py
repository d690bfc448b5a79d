"""The bus within one process: alone it hears nothing; several hubs of one process, as in tests, hear each other."""

import asyncio
from uuid import UUID

from streams.bus import OnHint, OnSignal
from streams.event import Signal


class Room:
    """The members that hear each other."""

    def __init__(self) -> None:
        self.members: list[MemoryBus] = []


class MemoryBus:
    """A member of a room; of one of its own when none is given."""

    def __init__(self, room: Room | None = None) -> None:
        self._room = room or Room()
        self._on_hint: OnHint = lambda workspace_id, position: None
        self._on_signal: OnSignal = lambda signal: None

    async def start(self, on_hint: OnHint, on_signal: OnSignal) -> None:
        self._on_hint, self._on_signal = on_hint, on_signal
        self._room.members.append(self)

    def hint(self, workspace_id: UUID, position: int) -> None:
        for member in self._others():
            asyncio.get_running_loop().call_soon(member._on_hint, workspace_id, position)

    def signal(self, signal: Signal) -> None:
        for member in self._others():
            asyncio.get_running_loop().call_soon(member._on_signal, signal)

    def _others(self) -> "list[MemoryBus]":
        return [member for member in self._room.members if member is not self]

    async def close(self) -> None:
        if self in self._room.members:
            self._room.members.remove(self)
