"""Which missions wait for a slot of the server, and how free slots are shared among them. Pure."""

from itertools import islice, takewhile
from uuid import UUID

Key = tuple[UUID, UUID]
"""A workspace and a mission of it."""
_BESIDE = 8
"""How many more look again than slots are free: some may want none any more."""


class Waiting:
    """Missions that wait for a slot, the longest waiting first."""

    def __init__(self) -> None:
        self._keys: dict[Key, None] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: Key) -> None:
        """Let a mission wait, from now on or as long as it does already."""
        self._keys.setdefault(key)

    def remove(self, key: Key) -> bool:
        """Let it wait no more; whether it did."""
        waited = key in self._keys
        self._keys.pop(key, None)
        return waited

    def next(self, free: int) -> list[Key]:
        """Who looks again when so many slots are free: no more than may get one, however many wait."""
        return list(islice(self._keys, free + _BESIDE)) if free > 0 else []

    def share(self, key: Key, free: int) -> int:
        """How many of the free slots a mission may take: one is left for each that has waited longer, however slow."""
        before = takewhile(lambda waiting: waiting != key, islice(self._keys, max(0, free)))
        return free - sum(1 for _ in before)
