"""Checkpoints, bookmarks of missions, and how they are kept: reading them, and the statements that change them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from storage.pool import Database
from storage.queries import queries
from storage.rules import Statement
from streams.errors import MissionstreamError


class Open(msgspec.Struct, frozen=True):
    """What is open in a mission at one moment, and the position of its newest journal entry; None without one."""

    position: int | None
    pending_tasks: Sequence[UUID]
    """All that are not COMPLETED, in order of id."""
    open_assignments: Sequence[UUID]
    """The runs that work on tasks."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A bookmark of a mission: the position of the log entry that was its newest, and what was open then."""

    workspace_id: UUID
    id: UUID
    mission_id: UUID
    label: str | None = None
    position: int
    pending_tasks: Sequence[UUID] = ()
    open_assignments: Sequence[UUID] = ()
    fork_of: UUID | None = None
    created_by: str | None = None
    created_at: datetime
    crew_id: UUID | None = None


_COLUMNS = Checkpoint.__struct_fields__[:-1]


async def capture(database: Database, workspace_id: UUID, mission_id: UUID, facets: Sequence[str]) -> Open:
    """One consistent reading of what is open in a mission; `facets` are the patterns of journal entries."""
    async with database.snapshot() as connection:
        position = await connection.fetchval(queries.journal.newest_of_mission, workspace_id, mission_id, list(facets))
        row = await connection.fetchrow(queries.checkpoints.capture, workspace_id, mission_id)
    return Open(position, row["pending_tasks"], row["open_assignments"])


async def one(database: Database, workspace_id: UUID, checkpoint_id: UUID) -> Checkpoint | None:
    """A checkpoint; None for an unknown or foreign one, and when its mission is deleted."""
    async with database.reading() as connection:
        row = await connection.fetchrow(queries.checkpoints.one, workspace_id, checkpoint_id)
    return None if row is None else _checkpoint(row)


async def listed(database: Database, workspace_id: UUID, mission_id: UUID, limit: int) -> Sequence[Checkpoint]:
    """A mission's newest checkpoints, newest first."""
    async with database.reading() as connection:
        rows = await connection.fetch(queries.checkpoints.listed, workspace_id, mission_id, limit)
    return [_checkpoint(row) for row in rows]


def created(checkpoint: Checkpoint, missing: MissionstreamError) -> Statement:
    """Makes the checkpoint; `missing` when the one that it is forked from is gone."""
    values = tuple(getattr(checkpoint, name) for name in _COLUMNS)
    return Statement(queries.checkpoints.create, values, broken={"checkpoints_fork_of": missing})


def present(workspace_id: UUID, checkpoint_id: UUID, missing: MissionstreamError) -> Statement:
    """Changes nothing; `missing` unless the checkpoint is there."""
    return Statement(queries.checkpoints.present, (workspace_id, checkpoint_id), missing)


def removed(workspace_id: UUID, checkpoint_id: UUID, missing: MissionstreamError) -> Statement:
    """Removes the checkpoint; `missing` when it is gone already."""
    return Statement(queries.checkpoints.remove, (workspace_id, checkpoint_id), missing)


def removed_of_mission(workspace_id: UUID, mission_id: UUID) -> Statement:
    """Removes all checkpoints of a mission, if it has any."""
    return Statement(queries.checkpoints.remove_of_mission, (workspace_id, mission_id))


def _checkpoint(row: asyncpg.Record) -> Checkpoint:
    return Checkpoint(**row)
