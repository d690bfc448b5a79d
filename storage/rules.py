"""What the writer must know of a mission kind: the pure pair decide and evolve, and the row that a state projects to."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import reduce
from typing import Any, ClassVar, NamedTuple, Protocol
from uuid import UUID

import msgspec

from streams.errors import MissionstreamError
from streams.event import Draft, Event


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A wish addressed to one mission. Subclasses are declared with the kind that decides them."""

    creates: ClassVar[bool] = False
    """The mission must not exist yet; any other command needs one that does."""
    touches_workspace: ClassVar[bool] = False
    """Its drafts may go to the workspace's own stream too, whose lock is then taken with the mission's."""


class Decision(NamedTuple):
    """What a command leads to; no drafts means that nothing is to be done."""

    drafts: tuple[Draft, ...] = ()
    deletes: bool = False
    """Hides the mission and closes its stream; a job erases the content later."""


class Row(NamedTuple):
    """The columns of `missions` that a state projects to."""

    status: str
    phase: str
    title: str | None
    created_at: datetime
    updated_at: datetime
    crew_id: UUID | None = None
    team_id: UUID | None = None
    parent_id: UUID | None = None
    run_id: UUID | None = None
    queued: int = 0


class PartRow(NamedTuple):
    """The columns of `tasks` that a part of a state projects to."""

    status: str
    number: int
    created_at: datetime
    updated_at: datetime
    agent_id: UUID | None = None
    run_id: UUID | None = None
    token_count: int | None = None
    estimated_cost: float | None = None
    completed_at: datetime | None = None


class Rules(Protocol):
    """One mission kind. `decide` and `evolve` are pure; `evolve` sees state events only.

    A state that grows with the work is divided: its parts (tasks) are stored by row, each when it changes, and what is
    left of it is the mission's own document, of `state_type`. `join` puts them together again.
    """

    @property
    def kind(self) -> str: ...
    @property
    def state_type(self) -> type[Any]: ...
    @property
    def state_events(self) -> frozenset[str]: ...
    def decide(self, state: Any, command: Any) -> Decision: ...
    def evolve(self, state: Any, event: Event) -> Any: ...
    def evolve_all(self, state: Any, events: Sequence[Event]) -> Any:
        """What `evolve` leads to when it is given each of these events in turn."""
        ...

    def row(self, state: Any) -> Row: ...
    @property
    def part_type(self) -> type[Any] | None: ...
    def split(self, state: Any) -> tuple[Any, Mapping[UUID, Any]]: ...
    def join(self, document: Any, parts: Mapping[UUID, Any]) -> Any: ...
    def part_row(self, part: Any) -> PartRow: ...
    def weight(self, state: Any) -> int:
        """About how many bytes of memory a state takes."""
        ...


class Undivided(ABC):
    """A kind whose whole state is one document."""

    part_type: type[Any] | None = None

    @abstractmethod
    def evolve(self, state: Any, event: Event) -> Any: ...

    def evolve_all(self, state: Any, events: Sequence[Event]) -> Any:
        return reduce(self.evolve, events, state)

    def split(self, state: Any) -> tuple[Any, Mapping[UUID, Any]]:
        return state, {}

    def join(self, document: Any, parts: Mapping[UUID, Any]) -> Any:
        return document

    def part_row(self, part: Any) -> PartRow:
        raise NotImplementedError("this kind has no parts")

    def weight(self, state: Any) -> int:
        return 4_096


Kinds = Mapping[str, Rules]
"""The rules of each kind, by its name."""


class Statement(NamedTuple):
    """A named query of `storage/sql` that changes rows, and what it means when it gives none back."""

    query: str
    arguments: tuple[Any, ...]
    missing: MissionstreamError | None = None
    broken: Mapping[str, MissionstreamError] = {}
    """What it means to break a constraint, by the constraint's name."""


class Key(NamedTuple):
    """An idempotency key: `scope` names who and what, `fingerprint` the request's content."""

    scope: str
    key: str
    fingerprint: str


class Outcome(NamedTuple):
    """What became of a command. `answer` is JSON text: of the first time, when `replayed`."""

    answer: str
    events: tuple[Event, ...] = ()
    state: Any = None
    replayed: bool = False


class Appended(NamedTuple):
    """The numbers that a recorded draft has; `fresh` is false when it was known already."""

    sequence: int
    position: int
    fresh: bool
