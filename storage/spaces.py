"""Spaces: the directories that agents work in."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from storage.pool import Database
from storage.queries import queries
from storage.rules import Statement
from streams.errors import Conflict, KeyReused, MissionstreamError


class SpaceRow(NamedTuple):
    """A space; without a path of its own it lies below the data directory."""

    id: UUID
    name: str
    path: str | None
    created_at: datetime


async def listed(database: Database, workspace_id: UUID) -> Sequence[SpaceRow]:
    """The spaces of a workspace, oldest first."""
    async with database.reading() as connection:
        return [SpaceRow(*row) for row in await connection.fetch(queries.spaces.listed, workspace_id)]


async def one(database: Database, workspace_id: UUID, space_id: UUID) -> SpaceRow | None:
    """A space, or None for an unknown or foreign one."""
    async with database.reading() as connection:
        row = await connection.fetchrow(queries.spaces.one, workspace_id, space_id)
    return None if row is None else SpaceRow(*row)


def present(workspace_id: UUID, space_id: UUID, missing: MissionstreamError) -> Statement:
    """Changes nothing; `missing` unless the space is there."""
    return Statement(queries.spaces.one, (workspace_id, space_id), missing=missing)


async def create(database: Database, workspace_id: UUID, space_id: UUID, name: str, path: str | None) -> SpaceRow:
    """Make a space, or give the one that has this id already; Conflict for a name, KeyReused for an id, of another."""
    try:
        async with database.reading() as connection:
            row = await connection.fetchrow(queries.spaces.create, workspace_id, space_id, name, path)
    except asyncpg.UniqueViolationError:
        known = await one(database, workspace_id, space_id)
        if known is None:
            raise Conflict(f"there is a space {name} already") from None
        if (known.name, known.path) != (name, path):
            raise KeyReused from None
        return known
    return SpaceRow(*row)


async def ensure(database: Database, workspace_id: UUID, space_id: UUID, name: str) -> None:
    """Make a space unless it exists."""
    async with database.reading() as connection:
        await connection.execute(queries.spaces.ensure, workspace_id, space_id, name, None)
