"""Users, their roles in workspaces, and their tokens: every change of rights moves workspaces.rights_version."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from storage.ids import new_id
from storage.pool import Database
from storage.queries import queries
from storage.rules import Statement
from streams.errors import Conflict, Forbidden, MissionstreamError, NotFound, Unprocessable

_OWNER = "OWNER"


class Membership(NamedTuple):
    """A user's role in a workspace; `created_at` is the workspace's."""

    user_id: UUID
    user_name: str
    email: str | None
    workspace_id: UUID
    slug: str
    workspace_name: str
    role: str
    created_at: datetime


class Token(NamedTuple):
    """What may be told about a token. Its secret is nowhere: only a SHA-256 is stored."""

    id: UUID
    user_id: UUID
    workspace_id: UUID
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class Holder(NamedTuple):
    """Who a token stands for; `role` is None when the user is not a member of the token's workspace any more."""

    token_id: UUID
    user_id: UUID
    user_name: str
    workspace_id: UUID
    role: str | None
    scopes: tuple[str, ...]
    expires_at: datetime | None
    revoked_at: datetime | None
    removed_at: datetime | None


@contextmanager
def _explained() -> Iterator[None]:
    """What the tables refuse, in our words."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"there is one already: {error.constraint_name}") from None
    except asyncpg.CheckViolationError:
        raise Unprocessable("a role is OWNER, ADMIN, MANAGER, MEMBER or VIEWER") from None
    except asyncpg.ForeignKeyViolationError:
        raise NotFound("there is no such user or workspace") from None


def _token(row: asyncpg.Record) -> Token:
    return Token(**{**row, "scopes": tuple(row["scopes"])})


async def create_user(database: Database, name: str, email: str | None = None) -> UUID:
    """Make a user who is no member of anything yet. Others may have the same email."""
    user_id = new_id()
    with _explained():
        async with database.reading() as connection:
            await connection.execute(queries.identity.create_user, user_id, name, email)
    return user_id


async def remove_user(database: Database, user_id: UUID) -> None:
    """End a user and all their tokens. NotFound; Conflict while a workspace has no other owner."""
    async with database.reading() as connection, connection.transaction():
        await connection.execute(queries.identity.bump_rights_of_user, user_id)
        if await connection.fetchval(queries.identity.owned_alone, user_id):
            raise Conflict("this user is the only owner of a workspace; make somebody else its owner first")
        if await connection.fetchval(queries.identity.remove_user, user_id) is None:
            raise NotFound("there is no such user")
        await connection.execute(queries.identity.revoke_tokens_of_user, user_id)


async def add_member(database: Database, workspace_id: UUID, user_id: UUID, role: str) -> None:
    """Let a user into a workspace. Conflict for a member, Unprocessable for an unknown role, NotFound."""
    with _explained():
        async with database.reading() as connection, connection.transaction():
            await connection.execute(queries.identity.bump_rights, workspace_id)
            await connection.execute(queries.identity.add_member, workspace_id, user_id, role)


async def set_role(
    database: Database, workspace_id: UUID, user_id: UUID, role: str, *, only: Collection[str] | None = None
) -> None:
    """Change a member's role. NotFound for others; Conflict rather than leave a workspace without an owner.

    Forbidden when their role is not among `only`.
    """
    with _explained():
        async with database.reading() as connection, connection.transaction():
            await connection.execute(queries.identity.bump_rights, workspace_id)
            await _require_member(connection, workspace_id, user_id, only)
            if role != _OWNER:
                await _keep_an_owner(connection, workspace_id, user_id)
            await connection.execute(queries.identity.set_role, workspace_id, user_id, role)


def member_added(
    workspace_id: UUID,
    user_id: UUID,
    role: str,
    *,
    known_to: UUID | None = None,
    new_user: tuple[str, str] | None = None,
) -> list[Statement]:
    """Let a user into a workspace: one who shares a workspace with `known_to`, or a new one with a name and an email.

    NotFound for an unknown or removed user, and for a stranger. Conflict for a member, and for the email of one.
    """
    known = Conflict("User is already a member")
    unknown = NotFound("User not found")
    if new_user is not None:
        user = [
            Statement(queries.identity.email_unused, (workspace_id, new_user[1]), missing=known),
            Statement(queries.identity.create_user, (user_id, *new_user)),
        ]
    elif known_to is not None:
        user = [Statement(queries.identity.user_known_to, (user_id, known_to), missing=unknown)]
    else:
        user = [Statement(queries.identity.user_present, (user_id,), missing=unknown)]
    return [
        Statement(queries.identity.bump_rights, (workspace_id,)),
        *user,
        Statement(queries.identity.add_member, (workspace_id, user_id, role), broken={"members_pkey": known}),
    ]


async def known_by_email(database: Database, email: str, to: UUID, workspace_id: UUID) -> UUID | None:
    """The user with this email, among those who share a workspace with another one; a member of this workspace first.

    Several users may have one email: nobody has shown that it is theirs.
    """
    async with database.reading() as connection:
        found: UUID | None = await connection.fetchval(queries.identity.known_by_email, email, to, workspace_id)
    return found


async def remove_member(
    database: Database, workspace_id: UUID, user_id: UUID, *, only: Collection[str] | None = None
) -> None:
    """Take a member out and end their tokens of this workspace. NotFound; Conflict for the last owner.

    Forbidden when their role is not among `only`.
    """
    async with database.reading() as connection, connection.transaction():
        await connection.execute(queries.identity.bump_rights, workspace_id)
        await _require_member(connection, workspace_id, user_id, only)
        await _keep_an_owner(connection, workspace_id, user_id)
        await connection.execute(queries.identity.remove_member, workspace_id, user_id)
        await connection.execute(queries.identity.revoke_tokens_in_workspace, workspace_id, user_id)


async def _require_member(
    connection: asyncpg.Connection, workspace_id: UUID, user_id: UUID, only: Collection[str] | None
) -> None:
    role = await connection.fetchval(queries.identity.role_of, workspace_id, user_id)
    if role is None:
        raise NotFound("this user is not a member of the workspace")
    if only is not None and role not in only:
        raise Forbidden(permission="workspace:admin")


async def _keep_an_owner(connection: asyncpg.Connection, workspace_id: UUID, leaving: UUID) -> None:
    if (
        await connection.fetchval(queries.identity.role_of, workspace_id, leaving) == _OWNER
        and await connection.fetchval(queries.identity.first_owner, workspace_id, leaving) is None
    ):
        raise Conflict("a workspace keeps at least one owner")


async def members(database: Database, workspace_id: UUID) -> list[Membership]:
    """The members of a workspace, oldest user first."""
    async with database.reading() as connection:
        return [Membership(**row) for row in await connection.fetch(queries.identity.members, workspace_id)]


async def memberships(database: Database, user_id: UUID) -> list[Membership]:
    """The workspaces of a user, newest first."""
    async with database.reading() as connection:
        return [Membership(**row) for row in await connection.fetch(queries.identity.memberships, user_id)]


async def membership(
    database: Database, user_id: UUID, *, workspace_id: UUID | None = None, slug: str | None = None
) -> Membership | None:
    """What the user is in the workspace with this id or slug; None tells nothing about whether it exists."""
    async with database.reading() as connection:
        row = await connection.fetchrow(queries.identity.membership, user_id, workspace_id, slug)
    return Membership(**row) if row else None


async def home_membership(database: Database, user_id: UUID) -> Membership | None:
    """What the user is at home: in the workspace `default`, else in their oldest one."""
    async with database.reading() as connection:
        row = await connection.fetchrow(queries.identity.home_membership, user_id)
    return Membership(**row) if row else None


async def create_token(
    database: Database,
    user_id: UUID,
    workspace_id: UUID,
    name: str,
    token_hash: bytes,
    *,
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> Token:
    """Store a token by its SHA-256. Conflict for a secret that is stored already, NotFound for its user."""
    with _explained():
        async with database.reading() as connection:
            row = await connection.fetchrow(
                queries.identity.create_token,
                new_id(),
                user_id,
                workspace_id,
                name,
                token_hash,
                list(scopes),
                expires_at,
                datetime.now(UTC),
            )
    return _token(row)


def token_created(token: Token, token_hash: bytes) -> Statement:
    """Stores the token by its SHA-256; Conflict for a secret that is stored already, NotFound for its user."""
    arguments = (
        token.id, token.user_id, token.workspace_id, token.name, token_hash, list(token.scopes), token.expires_at,
        token.created_at,
    )  # fmt: skip
    broken: dict[str, MissionstreamError] = {
        "tokens_hash_key": Conflict("this token exists already"),
        "tokens_user_id_fkey": NotFound("there is no such user or workspace"),
    }
    return Statement(queries.identity.create_token, arguments, broken=broken)


async def list_tokens(database: Database, user_id: UUID) -> list[Token]:
    """The user's tokens that are not revoked (expired ones too), newest first."""
    async with database.reading() as connection:
        return [_token(row) for row in await connection.fetch(queries.identity.list_tokens, user_id)]


async def revoke_token(database: Database, token_id: UUID, *, user_id: UUID | None = None) -> None:
    """End a token for good. NotFound when it is ended already, or is not `user_id`'s."""
    async with database.reading() as connection, connection.transaction():
        owner = await connection.fetchval(queries.identity.owner_of_token, token_id)
        if owner is None or user_id not in (None, owner):
            raise NotFound("there is no such token")
        await connection.execute(queries.identity.bump_rights_of_user, owner)
        await connection.execute(queries.identity.revoke_token, token_id)


async def find_by_hash(database: Database, token_hash: bytes) -> Holder | None:
    """Who holds the token with this SHA-256; the caller judges its end, its revocation and its user's."""
    return await _holder(database, queries.identity.find_by_hash, token_hash)


async def find_by_id(database: Database, token_id: UUID) -> Holder | None:
    """Like find_by_hash, by the token's id."""
    return await _holder(database, queries.identity.find_by_id, token_id)


async def _holder(database: Database, statement: str, key: bytes | UUID) -> Holder | None:
    async with database.reading() as connection:
        row = await connection.fetchrow(statement, key)
    return Holder(**{**row, "scopes": tuple(row["scopes"])}) if row else None


async def touch_token(database: Database, token_id: UUID, used_at: datetime) -> None:
    """Note that a token was used; nothing is written when that was noted within the last minute."""
    async with database.reading() as connection:
        await connection.execute(queries.identity.touch_token, token_id, used_at)
