"""Reading the log: by channel and position for streams, by mission and sequence for pages."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from storage.pool import Database
from storage.queries import queries
from streams.channels import Channel
from streams.cursor import MAX_POSITION
from streams.errors import CursorGone, NotFound
from streams.event import Event
from streams.reader import Head, Page

MAX_ROWS = 500
PIECE_BYTES = 1 << 20

_OF = {
    "workspace": queries.events.of_workspace,
    "mission": queries.events.of_stream,
    "crew": queries.events.of_crew,
    "team": queries.events.of_team,
}
_BEFORE = {
    "mission": queries.events.before_in_stream,
    "crew": queries.events.before_in_crew,
    "team": queries.events.before_in_team,
}
FIELDS = (
    "workspace_id", "position", "stream_id", "sequence", "type", "at", "actor", "crew_id", "team_id", "event_id",
    "tool_call_id", "tool_name", "content", "metadata",
)  # fmt: skip


def event(row: asyncpg.Record) -> Event:
    """A row of `events`, as an Event."""
    return Event(**{name: row[name] for name in FIELDS})


class Slice(NamedTuple):
    """Which events of a mission: `before` wins over `since`; `types` None means all."""

    since: int = 0
    before: int | None = None
    types: Sequence[str] | None = None
    limit: int = 50_000
    offset: int = 0


class Place(NamedTuple):
    """A sequence's place: its stream's head, the first sequence that is kept, and its position if it is kept."""

    head: int
    first: int
    position: int | None


class Log:
    """The durable store of all streams, as the read law sees it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self, workspace_id: UUID) -> Head:
        """Epoch, floor and head, in one reading. NotFound for an unknown workspace."""
        async with self._database.reading() as connection:
            return await read_head(connection, workspace_id)

    async def heads(self, workspace_ids: Iterable[UUID]) -> dict[UUID, Head]:
        """The same for all followed workspaces, in one statement."""
        async with self._database.watching() as connection:
            rows = await connection.fetch(queries.events.heads, list(workspace_ids))
        return {row["id"]: Head(row["epoch"], row["floor"], row["head"], row["rights_version"]) for row in rows}

    async def after(
        self, channel: Channel, position: int, *, until: int = MAX_POSITION, max_bytes: int = 1 << 18
    ) -> Page:
        """The channel's events with positions in (position, until], up to about `max_bytes`, in order.

        `prev` is the position of the channel's event before the first of them. CursorGone when retention has removed
        events after `position`.
        """
        arguments = [channel.workspace_id, position, until, MAX_ROWS, max_bytes]
        if channel.kind != "workspace":
            arguments.append(channel.id)
        async with self._database.reading() as connection:
            rows = await connection.fetch(_OF[channel.kind], *arguments)
            # the floor is asked last: it rises before anything is removed
            if channel.kind == "workspace":
                prev = rows[0]["position"] - 1 if rows else position
                floor = await connection.fetchval(queries.events.floor, channel.workspace_id)
            else:
                prev, floor = await connection.fetchrow(
                    _BEFORE[channel.kind], channel.workspace_id, channel.id, position
                )
        if position < floor:
            raise CursorGone
        return Page([event(row) for row in rows], prev)

    async def before(self, channel: Channel, position: int) -> int:
        """The position of the channel's last event at or below `position`; 0 if there is none."""
        if channel.kind == "workspace":
            return position
        async with self._database.reading() as connection:
            found: int = await connection.fetchval(_BEFORE[channel.kind], channel.workspace_id, channel.id, position)
        return found

    async def place(self, workspace_id: UUID, mission_id: UUID, sequence: int) -> Place:
        """Where a sequence stands in a mission that exists."""
        async with self._database.reading() as connection:
            return Place(*await connection.fetchrow(queries.events.place, workspace_id, mission_id, sequence))

    async def sequence_at(self, workspace_id: UUID, mission_id: UUID, position: int) -> int:
        """The sequence of a mission's last event at or below a position of its workspace; 0 if there is none."""
        async with self._database.reading() as connection:
            found: int | None = await connection.fetchval(
                queries.events.sequence_at, workspace_id, mission_id, position
            )
        return found or 0

    async def pieces(self, workspace_id: UUID, mission_id: UUID, wanted: Slice) -> AsyncIterator[list[Event]]:
        """A page of a mission's events, ascending, in pieces of about a megabyte: memory does not grow with the page."""
        async with self._database.reading() as connection:
            after, until = await _span(connection, workspace_id, mission_id, wanted)
        left = wanted.limit
        while left > 0 and after < until:
            async with self._database.reading() as connection:
                rows = await connection.fetch(
                    queries.events.piece,
                    workspace_id,
                    mission_id,
                    after,
                    until,
                    None if wanted.types is None else list(wanted.types),
                    min(left, MAX_ROWS),
                    PIECE_BYTES,
                )
            if not rows:
                return
            left -= len(rows)
            after = rows[-1]["sequence"]
            yield [event(row) for row in rows]

    async def page(self, workspace_id: UUID, mission_id: UUID, wanted: Slice) -> list[Event]:
        """The same as one list, for pages that are known to be small."""
        return [event async for piece in self.pieces(workspace_id, mission_id, wanted) for event in piece]

    async def newest(
        self, workspace_id: UUID, mission_id: UUID, types: Sequence[str], *, limit: int, max_bytes: int
    ) -> list[Event]:
        """The newest events of these types, ascending, up to `limit` and about `max_bytes` of content."""
        async with self._database.reading() as connection:
            return await read_newest(connection, workspace_id, mission_id, types, limit=limit, max_bytes=max_bytes)


async def _span(connection: asyncpg.Connection, workspace_id: UUID, mission_id: UUID, wanted: Slice) -> tuple[int, int]:
    """The sequences (after, until] that a slice asks for."""
    types = None if wanted.types is None else list(wanted.types)
    if wanted.before is not None:
        arguments = (workspace_id, mission_id, wanted.before, types, wanted.limit, wanted.offset)
        first, last = await connection.fetchrow(queries.events.nearest_below, *arguments)
        return (0, 0) if first is None else (first - 1, last)
    if wanted.offset:
        skipped = await connection.fetchval(
            queries.events.skipped, workspace_id, mission_id, wanted.since, types, wanted.offset
        )
        return (MAX_POSITION if skipped is None else skipped), MAX_POSITION
    return wanted.since, MAX_POSITION


async def read_newest(
    connection: asyncpg.Connection,
    workspace_id: UUID,
    mission_id: UUID,
    types: Sequence[str],
    *,
    first: int = 1,
    limit: int,
    max_bytes: int,
) -> list[Event]:
    """See Log.newest; `first` is the sequence to reach back to."""
    rows = await connection.fetch(queries.events.newest, workspace_id, mission_id, first, list(types), limit, max_bytes)
    return [event(row) for row in reversed(rows)]


async def read_head(connection: asyncpg.Connection, workspace_id: UUID) -> Head:
    row = await connection.fetchrow(queries.events.head, workspace_id)
    if row is None:
        raise NotFound("there is no such workspace")
    return Head(row["epoch"], row["floor"], row["head"])
