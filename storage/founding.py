"""The first workspace, its owner and the owner's first token, made in one transaction."""

import secrets
from typing import NamedTuple
from uuid import UUID

import asyncpg
import uuid_utils.compat as uuids

from storage.pool import Database
from storage.queries import queries

DEV_USER = UUID("0de7de70-0000-8000-8000-000000000001")
"""Who acts when authentication is off. Never taken for the owner, so that no login and no token comes to it."""
SLUG = "default"
OWNER_NAME = "owner"


class Foundation(NamedTuple):
    """What a server stands on; `owner_has_tokens` counts revoked ones too."""

    workspace_id: UUID
    owner_id: UUID
    owner_has_tokens: bool


class Home(NamedTuple):
    """Where a login acts, and as whom; no owner when all were removed."""

    workspace_id: UUID
    owner_id: UUID | None
    owner_name: str | None


async def found(database: Database) -> Foundation:
    """The home workspace and its first owner, made where missing. Any number of processes may do this at once."""
    async with database.reading() as connection, connection.transaction():
        return await _found(connection)


async def home(database: Database) -> Home | None:
    """The home workspace and its first owner, as they are; None for a database without a workspace."""
    async with database.reading() as connection:
        workspace_id = await connection.fetchval(queries.identity.home_workspace)
        owner = await connection.fetchrow(queries.identity.first_owner, workspace_id, DEV_USER)
    if workspace_id is None:
        return None
    return Home(workspace_id, owner["id"] if owner else None, owner["name"] if owner else None)


async def ensure_developer(database: Database, name: str) -> UUID:
    """Make DEV_USER an OWNER of the home workspace, and give its id. Processes may race to do so."""
    async with database.reading() as connection, connection.transaction():
        workspace_id = (await _found(connection)).workspace_id
        if await connection.fetchval(queries.identity.role_of, workspace_id, DEV_USER) != "OWNER":
            await connection.execute(queries.identity.bump_rights, workspace_id)
            await connection.execute(queries.identity.ensure_user, DEV_USER, name)
            await connection.execute(queries.identity.ensure_member, workspace_id, DEV_USER, "OWNER")
    return workspace_id


async def adopt_token(database: Database, name: str, token_hash: bytes, *, as_first: bool) -> bool:
    """Make a secret the owner's token; tell whether it works from now on.

    A known secret changes nothing, above all not its revocation. An unknown one is refused when `as_first` and the owner
    has a token already; else it takes the place of the owner's earlier tokens of this name.
    """
    async with database.reading() as connection, connection.transaction():
        workspace_id, owner_id, has_tokens = await _found(connection)
        known = await connection.fetchrow(queries.identity.find_by_hash, token_hash)
        if known is not None:
            return known["revoked_at"] is None
        if as_first and has_tokens:
            return False
        await connection.execute(queries.identity.bump_rights_of_user, owner_id)
        await connection.execute(queries.identity.revoke_tokens_named, owner_id, name)
        await connection.execute(
            queries.identity.create_token, uuids.uuid7(), owner_id, workspace_id, name, token_hash, [], None
        )
    return True


async def _found(connection: asyncpg.Connection) -> Foundation:
    await connection.execute(queries.identity.lock_bootstrap)
    workspace_id = await connection.fetchval(queries.identity.home_workspace)
    if workspace_id is None:
        workspace_id = uuids.uuid7()
        await connection.execute(queries.workspaces.create, workspace_id, SLUG, SLUG, secrets.token_hex(8))
    owner_id = await connection.fetchval(queries.identity.first_owner, workspace_id, DEV_USER)
    if owner_id is None:
        owner_id = uuids.uuid7()
        await connection.execute(queries.identity.bump_rights, workspace_id)
        await connection.execute(queries.identity.create_user, owner_id, OWNER_NAME, None)
        await connection.execute(queries.identity.add_member, workspace_id, owner_id, "OWNER")
    return Foundation(workspace_id, owner_id, await connection.fetchval(queries.identity.has_tokens, owner_id))
