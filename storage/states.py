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
    """The recently used states, so that a command's cost does not grow with its mission. GETs never read it."""

    def __init__(self, size: int = 2_000) -> None:
        self._size = size
        self._states: OrderedDict[tuple[UUID, UUID], Versioned] = OrderedDict()

    def get(self, workspace_id: UUID, mission_id: UUID, version: int) -> Versioned | None:
        """The state at exactly this version, or None."""
        known = self._states.get((workspace_id, mission_id))
        if known is None or known.version != version:
            return None
        self._states.move_to_end((workspace_id, mission_id))
        return known

    def put(self, workspace_id: UUID, mission_id: UUID, state: Versioned) -> None:
        self._states[workspace_id, mission_id] = state
        self._states.move_to_end((workspace_id, mission_id))
        if len(self._states) > self._size:
            self._states.popitem(last=False)


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
    """The heads of one workspace's recently moved streams, as this process last knew them.

    Whoever takes heads moves them on, and must forget them unless that is stored. The oldest go first, used or not: to
    read one again costs one transaction.
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
