"""Workspaces and their epochs: which history a cursor belongs to."""

import secrets
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg
import structlog

from storage.ids import new_id
from storage.pool import Database
from storage.queries import queries
from storage.rules import Statement
from streams.errors import Conflict, Unprocessable

log = structlog.get_logger()


class Workspace(NamedTuple):
    """A tenant: `head` is its last position, `floor` the position up to which retention removed events."""

    id: UUID
    slug: str
    name: str
    epoch: str
    floor: int
    head: int
    created_at: datetime


async def create(database: Database, slug: str, name: str | None = None) -> UUID:
    """Make a workspace. Conflict for a slug that exists, Unprocessable for one of another form."""
    workspace_id = new_id()
    try:
        async with database.reading() as connection:
            await connection.execute(queries.workspaces.create, workspace_id, slug, name or slug, secrets.token_hex(8))
    except asyncpg.UniqueViolationError:
        raise Conflict(f"there is a workspace {slug} already") from None
    except asyncpg.CheckViolationError:
        raise Unprocessable("a slug has lower-case letters, digits and hyphens, for example field-ops") from None
    return workspace_id


def created(workspace_id: UUID, slug: str, name: str) -> Statement:
    """Makes a workspace; Conflict for a slug that exists."""
    taken = {"workspaces_slug_key": Conflict("Workspace slug already taken")}
    arguments = (workspace_id, slug, name, secrets.token_hex(8))
    return Statement(queries.workspaces.create, arguments, broken=taken)


async def every(database: Database) -> list[Workspace]:
    """All workspaces, oldest first."""
    async with database.reading() as connection:
        rows = await connection.fetch(queries.workspaces.all)
    return [Workspace(**{name: row[name] for name in Workspace._fields}) for row in rows]


async def renew_epochs(database: Database) -> None:
    """Give every workspace a new epoch: older cursors are answered with a reset instead of wrong events."""
    async with database.reading() as connection:
        await connection.execute(queries.workspaces.renew_epochs, secrets.token_hex(16))


async def check_history(database: Database) -> bool:
    """Renew the epochs when the database was restored or failed over since they were made; tell whether."""
    async with database.reading() as connection, connection.transaction():
        now = await connection.fetchrow(queries.workspaces.history)
        known = await connection.fetchrow(queries.workspaces.known_history)
        if known is not None and tuple(known) == tuple(now):
            return False
        await connection.execute(queries.workspaces.remember_history, now["system_identifier"], now["timeline_id"])
        if known is not None:
            await connection.execute(queries.workspaces.renew_epochs, secrets.token_hex(16))
            log.warning("epoch.renewed", reason="the database tells another history", known=dict(known), now=dict(now))
    return known is not None


async def unsafe_settings(database: Database) -> list[str]:
    """The settings of this PostgreSQL under which an acknowledged event could be lost in a crash."""
    async with database.reading() as connection:
        rows = await connection.fetch(queries.workspaces.safety)
    return [f"{row['name']}={row['setting']}" for row in rows if row["setting"] == "off"]
