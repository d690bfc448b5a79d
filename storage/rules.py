"""What the writer must know of a mission kind: the pure pair decide and evolve, and the row that a state projects to."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Protocol
from uuid import UUID

import msgspec

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
    agent_id: UUID | None
    run_id: UUID | None
    number: int
    """Its place among the mission's parts, from 1."""
    token_count: int | None
    estimated_cost: float | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None


class Rules(Protocol):
    """One mission kind. `decide` and `evolve` are pure; `evolve` sees state events only."""

    @property
    def kind(self) -> str: ...
    @property
    def state_type(self) -> type[Any]: ...
    @property
    def state_events(self) -> frozenset[str]: ...
    def decide(self, state: Any, command: Any) -> Decision: ...
    def evolve(self, state: Any, event: Event) -> Any: ...
    def row(self, state: Any) -> Row: ...


Kinds = Mapping[str, Rules]
"""The rules of each kind, by its name."""


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
