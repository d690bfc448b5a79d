"""Mission states kept in memory; each is trusted only at the version that the locked row names."""

from collections import OrderedDict
from typing import Any, NamedTuple
from uuid import UUID


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
