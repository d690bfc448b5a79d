"""The first workspace, its owner and the owner's first token, made in one transaction."""

import secrets
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from storage.ids import new_id
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
            queries.identity.create_token,
            new_id(),
            owner_id,
            workspace_id,
            name,
            token_hash,
            [],
            None,
            datetime.now(UTC),
        )
    return True


class Claim(NamedTuple):
    """Who claims a new server: their name, their email, and the SHA-256 of their first token under its name."""

    name: str
    email: str
    token_name: str
    token_hash: bytes


async def may_be_claimed(database: Database, *, within_seconds: float, unused_token: str) -> bool:
    """Whether the first owner, and so the server, is still anybody's: as `claim` says."""
    async with database.reading() as connection, connection.transaction():
        return await _claimable(connection, within_seconds, unused_token) is not None


async def claim(database: Database, claim: Claim, *, within_seconds: float, unused_token: str) -> Foundation | None:
    """Make the first owner somebody's, and give them a token; None when it is too late. Of several at once, one wins.

    It is too late after `within_seconds`, and once the owner has an email, a second user is there, or the owner has a
    token that was used, or that is not the one called `unused_token`.
    """
    async with database.reading() as connection, connection.transaction():
        found = await _claimable(connection, within_seconds, unused_token)
        if found is not None:
            owner_id, now = found.owner_id, datetime.now(UTC)
            await connection.execute(queries.identity.bump_rights_of_user, owner_id)
            await connection.execute(queries.identity.claim, owner_id, claim.name, claim.email)
            await connection.execute(
                queries.identity.create_token,
                new_id(), owner_id, found.workspace_id, claim.token_name, claim.token_hash, [], None, now,
            )  # fmt: skip
    return found


async def _claimable(connection: asyncpg.Connection, within_seconds: float, unused_token: str) -> Foundation | None:
    found = await _found(connection)
    claimable = await connection.fetchval(
        queries.identity.claimable, found.owner_id, within_seconds, DEV_USER, unused_token
    )
    return None if claimable is None else found


async def _found(connection: asyncpg.Connection) -> Foundation:
    await connection.execute(queries.identity.lock_bootstrap)
    workspace_id = await connection.fetchval(queries.identity.home_workspace)
    if workspace_id is None:
        workspace_id = new_id()
        await connection.execute(queries.workspaces.create, workspace_id, SLUG, SLUG, secrets.token_hex(8))
    owner_id = await connection.fetchval(queries.identity.first_owner, workspace_id, DEV_USER)
    if owner_id is None:
        owner_id = new_id()
        await connection.execute(queries.identity.bump_rights, workspace_id)
        await connection.execute(queries.identity.create_user, owner_id, OWNER_NAME, None)
        await connection.execute(queries.identity.add_member, workspace_id, owner_id, "OWNER")
    return Foundation(workspace_id, owner_id, await connection.fetchval(queries.identity.has_tokens, owner_id))
