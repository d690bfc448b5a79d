"""What the writer remembers: states of missions and heads of streams. Neither is trusted without the database's word."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast
from uuid import UUID

import msgspec


class Versioned(NamedTuple):
    """A state and the sequence of the last state event folded into it."""

    kind: str
    version: int
    state: Any


class StateCache:
    """The recently used states, so that a command's cost does not grow with its mission. GETs never read it.

    There are at most `size` of them, and of `max_bytes` by what their kinds estimate; one stays, however large.
    """

    def __init__(self, size: int = 2_000, max_bytes: int = 64 << 20) -> None:
        self._size = size
        self._max_bytes = max_bytes
        self._states: OrderedDict[tuple[UUID, UUID], tuple[Versioned, int]] = OrderedDict()
        self.bytes = 0

    def get(self, workspace_id: UUID, mission_id: UUID, version: int) -> Versioned | None:
        """The state at exactly this version, or None."""
        known, _ = self._states.get((workspace_id, mission_id), (None, 0))
        if known is None or known.version != version:
            return None
        self._states.move_to_end((workspace_id, mission_id))
        return known

    def put(self, workspace_id: UUID, mission_id: UUID, state: Versioned, weight: int) -> None:
        """Remember a state of about `weight` bytes, and forget those that were used longest ago."""
        _, before = self._states.pop((workspace_id, mission_id), (None, 0))
        self._states[workspace_id, mission_id] = state, weight
        self.bytes += weight - before
        while len(self._states) > self._size or (self.bytes > self._max_bytes and len(self._states) > 1):
            _, (_, forgotten) = self._states.popitem(last=False)
            self.bytes -= forgotten


class Head(msgspec.Struct):
    """A stream as a batch moves it on."""

    head: int
    version: int
    closed: bool
    counts: dict[str, int]
    crew_id: UUID | None = None
    team_id: UUID | None = None
    is_new: bool = False
    stored: int = 0
    """The head as it was known when the batch took it."""


class HeadCache:
    """The heads of one workspace's recently moved streams, as this process last knew or decided them.

    Whoever takes heads moves them on, and must forget them, with those that were taken after, unless that is stored. The
    oldest go first, used or not: to read one again costs one transaction.
    """

    def __init__(self, size: int = 500) -> None:
        self._size = size
        self._heads: dict[UUID, Head] = {}

    def take(self, streams: Iterable[UUID]) -> dict[UUID, Head] | None:
        """The heads; None unless all are known."""
        known = {stream: self._heads.get(stream) for stream in streams}
        for head in known.values():
            if head is None:
                return None
            head.stored = head.head
        return cast(dict[UUID, Head], known)

    def put(self, heads: Mapping[UUID, Head]) -> None:
        for stream, head in heads.items():
            head.is_new = False
            self._heads[stream] = head
        while len(self._heads) > self._size:
            del self._heads[next(iter(self._heads))]

    def forget(self, streams: Iterable[UUID]) -> None:
        for stream in streams:
            self._heads.pop(stream, None)
