"""The read law's port: what a reader needs of the log, which is the truth that hints only point at."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from streams.channels import Channel
from streams.cursor import MAX_POSITION
from streams.event import Event


class Head(NamedTuple):
    """A workspace's history: its epoch, the position up to which retention removed it, and its last position."""

    epoch: str
    floor: int
    head: int
    rights_version: int = 0


class Page(NamedTuple):
    """Events of a channel in order; `prev` is the position of the channel's event before the first of them."""

    events: Sequence[Event]
    prev: int


class Log(Protocol):
    """The durable store of all streams. Any method may raise Unavailable."""

    async def head(self, workspace_id: UUID) -> Head: ...
    async def heads(self, workspace_ids: Iterable[UUID]) -> dict[UUID, Head]: ...
    async def after(
        self, channel: Channel, position: int, *, until: int = MAX_POSITION, max_bytes: int = 1 << 18
    ) -> Page: ...
    async def before(self, channel: Channel, position: int) -> int: ...
