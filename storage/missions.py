"""Reading missions: rows with their streams, lists, and the consistent reading behind a snapshot."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from storage.log import read_head, read_newest
from storage.pool import Database
from storage.queries import queries
from storage.rules import Kinds
from streams.errors import NotFound
from streams.event import Event
from streams.reader import Head


class MissionRow(NamedTuple):
    """A mission's projection, its decoded state, and its stream's head, counters and last activity."""

    workspace_id: UUID
    id: UUID
    kind: str
    status: str
    phase: str
    title: str | None
    crew_id: UUID | None
    parent_id: UUID | None
    run_id: UUID | None
    queued: int
    state_version: int
    state: Any
    created_at: datetime
    updated_at: datetime
    head: int
    counts: dict[str, int]
    at: datetime | None
    space_name: str | None


class Snapshot(NamedTuple):
    """A mission as of one moment; `head` is the workspace's at that moment."""

    mission: MissionRow
    events: list[Event]
    children: list[MissionRow]
    head: Head


class Family(NamedTuple):
    """A mission and those below it, level by level; `is_cut` says that there are more or deeper ones."""

    root: MissionRow
    descendants: list[MissionRow]
    is_cut: bool


class Missions:
    """Missions of all kinds, as last committed. Deleted ones are nowhere to be seen."""

    def __init__(self, database: Database, kinds: Kinds) -> None:
        self._database = database
        self._kinds = kinds

    async def get(self, workspace_id: UUID, mission_id: UUID) -> MissionRow:
        """The mission; NotFound for an unknown, deleted or foreign one."""
        async with self._database.reading() as connection:
            return await self._one(connection, workspace_id, mission_id)

    async def listed(
        self, workspace_id: UUID, *, phase: str | None = None, limit: int = 50, offset: int = 0
    ) -> list[MissionRow]:
        """Missions, last changed first."""
        return await self._rows(queries.missions.listed, workspace_id, phase, limit, offset)

    async def busy(self, workspace_id: UUID) -> list[MissionRow]:
        """Missions with a turn going on or messages waiting."""
        return await self._rows(queries.missions.busy, workspace_id)

    async def unused(self, workspace_id: UUID) -> Sequence[UUID]:
        """Missions without a title that never got a message."""
        async with self._database.reading() as connection:
            return [row["id"] for row in await connection.fetch(queries.missions.untitled, workspace_id)]

    async def children_of(self, workspace_id: UUID, parents: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
        """How many child missions each has, and how many of them completed; those without any are left out."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(queries.missions.children_counted, workspace_id, list(parents))
        return {row["parent_id"]: (row["total"], row["done"]) for row in rows}

    async def family(self, workspace_id: UUID, mission_id: UUID, *, levels: int, limit: int) -> Family:
        """One consistent reading of a mission and of at most `limit` others, down to `levels` below it."""
        async with self._database.snapshot() as connection:
            root = await self._one(connection, workspace_id, mission_id)
            found: list[MissionRow] = []
            parents = [root.id]
            for _ in range(levels):
                rows = await connection.fetch(queries.missions.level, workspace_id, parents, limit + 1 - len(found))
                found += [self._row(row) for row in rows]
                if not rows or len(found) > limit:
                    return Family(root, found[:limit], len(found) > limit)
                parents = [row["id"] for row in rows]
            deeper = await connection.fetch(queries.missions.level, workspace_id, parents, 1)
        return Family(root, found, bool(deeper))

    async def above(self, workspace_id: UUID, mission_id: UUID) -> list[MissionRow]:
        """The mission's parent, its parent's parent, and so on."""
        return await self._rows(queries.missions.above, workspace_id, mission_id)

    async def spent_below(self, workspace_id: UUID, mission_id: UUID) -> list[Any]:
        """What child missions have spent, themselves and below them, as their kinds keep it in JSON."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(queries.missions.spent_below, workspace_id, mission_id)
        return [msgspec.json.decode(part) for row in rows for part in row if part is not None]

    async def with_relatives(self, workspace_id: UUID, mission_ids: Sequence[UUID], *, levels: int) -> list[UUID]:
        """Those of the missions that have tasks, a parent or children, and the missions up to `levels` above them."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(queries.missions.with_relatives, workspace_id, list(mission_ids), levels)
        return [row["id"] for row in rows]

    async def snapshot(
        self, workspace_id: UUID, mission_id: UUID, *, types: Sequence[str], conversation: int, limit: int
    ) -> Snapshot:
        """One consistent reading: the mission, and its newest events of `types`.

        The events reach back to the `conversation`-th newest message, if there are so many and `limit` allows;
        otherwise they are the newest `limit`.
        """
        async with self._database.snapshot() as connection:
            mission = await self._one(connection, workspace_id, mission_id)
            has_enough = sum(mission.counts.get(name, 0) for name in _CONVERSATION) >= conversation
            start = None
            if has_enough:
                start = await connection.fetchval(
                    queries.missions.conversation_start, workspace_id, mission_id, conversation
                )
            events = await read_newest(
                connection, workspace_id, mission_id, types, first=start or 1, limit=limit, max_bytes=_SNAPSHOT_BYTES
            )
            children = await connection.fetch(queries.missions.children, workspace_id, mission_id, 200)
            head = await read_head(connection, workspace_id)
        return Snapshot(mission, events, [self._row(child) for child in children], head)

    async def current(self, workspace_id: UUID, user_id: UUID) -> UUID | None:
        """The mission that a user has open."""
        async with self._database.reading() as connection:
            found: UUID | None = await connection.fetchval(queries.missions.current, workspace_id, user_id)
        return found

    async def set_current(self, workspace_id: UUID, user_id: UUID, mission_id: UUID) -> None:
        """Open a mission for a user."""
        async with self._database.reading() as connection:
            await connection.execute(queries.missions.set_current, workspace_id, user_id, mission_id)

    async def question(self, workspace_id: UUID, tool_call_id: str) -> UUID | None:
        """The mission whose agent asked, by an interactive tool call."""
        async with self._database.reading() as connection:
            found: UUID | None = await connection.fetchval(queries.events.question, workspace_id, tool_call_id)
        return found

    async def open_questions(self, workspace_id: UUID, mission_id: UUID, *, after: int) -> list[str]:
        """The tool call ids of the agent's questions since a sequence that nobody has answered."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(queries.events.open_questions, workspace_id, mission_id, after)
        return [row["tool_call_id"] for row in rows]

    async def _one(self, connection: asyncpg.Connection, workspace_id: UUID, mission_id: UUID) -> MissionRow:
        row = await connection.fetchrow(queries.missions.one, workspace_id, mission_id)
        if row is None:
            raise NotFound(f"Mission {mission_id} not found")
        return self._row(row)

    async def _rows(self, query: str, *arguments: Any) -> list[MissionRow]:
        async with self._database.reading() as connection:
            return [self._row(row) for row in await connection.fetch(query, *arguments)]

    def _row(self, row: asyncpg.Record) -> MissionRow:
        values = {name: row[name] for name in MissionRow._fields}
        values["counts"] = msgspec.json.decode(row["counts"])
        values["state"] = msgspec.json.decode(row["state"], type=self._kinds[row["kind"]].state_type)
        return MissionRow(**values)


_SNAPSHOT_BYTES = 16 << 20
_CONVERSATION = ("user_message", "assistant_message", "assistant_message_canonical")
