"""Reading the log as crew's journal: the events that are entries of it, filtered, newest first."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from storage.log import event
from storage.pool import Database
from storage.queries import queries
from streams.cursor import MAX_POSITION
from streams.event import Event

MOST_LOOKED_AT = 20_000
"""Entries that one page looks at, whether they are wanted or not."""
MOST_COUNTED = 50_000
"""Entries that are looked at to be counted."""
PAGE_BYTES = 1 << 20


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries: by patterns of facets (`type/why/what`, of LIKE's form) and what else is not None."""

    facets: tuple[str, ...]
    but: tuple[str, ...] = ()
    """Not these, though a pattern of `facets` fits them too."""
    mission: UUID | None = None
    crews: tuple[UUID, ...] | None = None
    agents: tuple[str, ...] | None = None
    run: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    """A pattern of LIKE's form."""
    authors: tuple[str, ...] | None = None
    """`agent` or `user` that wrote it; or it has no author, and its facet is like one of `unsigned`."""
    unsigned: tuple[str, ...] = ()

    def arguments(self) -> tuple[object, ...]:
        """In the order of the queries, the mission last, if there is one."""
        common = (
            self.since, self.facets, self.but, self.crews, self.agents, self.run, self.until, self.text, self.authors,
            self.unsigned,
        )  # fmt: skip
        return common if self.mission is None else (*common, self.mission)


class Page(NamedTuple):
    """Entries, newest first, and the position below which the next page begins; None when there is no more.

    A page may be short, or empty, and yet not the last: so many entries were looked at, or so many bytes were found.
    """

    events: Sequence[Event]
    below: int | None


class Count(NamedTuple):
    """How many entries there are; only of the newest MOST_COUNTED, unless `is_whole`."""

    total: int
    is_whole: bool


class Journal:
    """The log of a workspace as a journal."""

    def __init__(
        self, database: Database, *, most_looked_at: int = MOST_LOOKED_AT, most_counted: int = MOST_COUNTED
    ) -> None:
        self._database = database
        self._most_looked_at = most_looked_at
        self._most_counted = most_counted

    async def page(self, workspace_id: UUID, wanted: Wanted, *, before: int, limit: int) -> Page:
        """The newest entries below a position."""
        query = queries.journal.page if wanted.mission is None else queries.journal.page_of_mission
        bounds = (before, limit + 1, self._most_looked_at, PAGE_BYTES)
        async with self._database.reading() as connection:
            rows = await connection.fetch(query, workspace_id, *bounds, *wanted.arguments())
            events = [event(row) for row in rows[:limit]]
            if events and rows[0]["found"] > len(events):
                return Page(events, events[-1].position)
            return Page(events, await _reach(connection, workspace_id, wanted, before, self._most_looked_at))

    async def counted(self, workspace_id: UUID, wanted: Wanted) -> Count:
        """How many entries there are."""
        query = queries.journal.counted if wanted.mission is None else queries.journal.counted_of_mission
        async with self._database.reading() as connection:
            total = await connection.fetchval(query, workspace_id, self._most_counted, *wanted.arguments())
            more = await _reach(connection, workspace_id, wanted, MAX_POSITION, self._most_counted + 1)
        return Count(total, is_whole=more is None)

    async def one(self, workspace_id: UUID, position: int) -> Event | None:
        """The event at a position, an entry or not; None when there is none, or it was removed."""
        async with self._database.reading() as connection:
            row = await connection.fetchrow(queries.journal.one, workspace_id, position)
        return None if row is None else event(row)

    async def since(
        self, workspace_id: UUID, mission_id: UUID, position: int, facets: Sequence[str]
    ) -> Sequence[int] | None:
        """The positions of a mission's entries after a position, ascending; None when retention has removed that far."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(queries.journal.since, workspace_id, mission_id, list(facets), position)
            # the floor is asked last: it rises before anything is removed
            floor: int = await connection.fetchval(queries.events.floor, workspace_id)
        return None if position <= floor else [row["position"] for row in rows]


async def _reach(
    connection: asyncpg.Connection, workspace_id: UUID, wanted: Wanted, before: int, entries: int
) -> int | None:
    """The position of the last of so many entries, wanted or not; None when there are fewer."""
    query = queries.journal.reach if wanted.mission is None else queries.journal.reach_of_mission
    of_mission = () if wanted.mission is None else (wanted.mission,)
    position: int | None = await connection.fetchval(
        query, workspace_id, before, entries, wanted.since, wanted.until, *of_mission
    )
    return position
