"""Reading the log as crew's journal: the events that are entries of it, filtered, newest first."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from storage.log import event
from storage.pool import Database
from storage.queries import queries
from streams.event import Event


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


class Journal:
    """The log of a workspace as a journal."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, workspace_id: UUID, wanted: Wanted, *, before: int, limit: int) -> Sequence[Event]:
        """The newest entries below a position, newest first."""
        async with self._database.reading() as connection:
            query = queries.journal.page if wanted.mission is None else queries.journal.page_of_mission
            rows = await connection.fetch(query, workspace_id, before, limit, *wanted.arguments())
        return [event(row) for row in rows]

    async def counted(self, workspace_id: UUID, wanted: Wanted) -> int:
        """How many entries there are."""
        async with self._database.reading() as connection:
            query = queries.journal.counted if wanted.mission is None else queries.journal.counted_of_mission
            return int(await connection.fetchval(query, workspace_id, *wanted.arguments()))

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
