"""Users, memberships and tokens as principals, read from the database at most once in five seconds."""

import time
from collections.abc import Callable
from uuid import UUID

from server.auth import roles
from server.auth.memory import ShortMemory
from server.auth.principal import Principal
from storage import founding, identity
from storage.identity import Holder, Membership
from storage.pool import Database
from streams.errors import Unauthenticated

DEVELOPER = "dev"


class Directory:
    """Looks up who is behind a token, a user or a membership. Every miss is Unauthenticated, or None for a membership."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._memory: ShortMemory[Principal] = ShortMemory(clock=clock)

    async def by_hash(self, token_hash: bytes) -> Principal:
        """The holder of the API token with this SHA-256."""

        async def load() -> Principal:
            return _of_holder(await identity.find_by_hash(self._database, token_hash))

        return await self._memory.get(("hash", token_hash), load)

    async def by_token_id(self, token_id: UUID) -> Principal:
        """The holder of the API token with this id."""

        async def load() -> Principal:
            return _of_holder(await identity.find_by_id(self._database, token_id))

        return await self._memory.get(("token", token_id), load)

    async def by_user(self, user_id: UUID) -> Principal:
        """A user in their home workspace, with all rights of their role."""

        async def load() -> Principal:
            found = await identity.home_membership(self._database, user_id)
            if found is None:
                raise Unauthenticated("Invalid user", reason="session_invalid")
            return _of_membership(found)

        return await self._memory.get(("user", user_id), load)

    async def member(self, user_id: UUID, workspace: UUID | str) -> Principal | None:
        """A user in a workspace, given by id or slug, with all rights of their role there; None for a stranger."""

        async def load() -> Principal:
            by_id = workspace if isinstance(workspace, UUID) else None
            slug = workspace if isinstance(workspace, str) else None
            found = await identity.membership(self._database, user_id, workspace_id=by_id, slug=slug)
            if found is None:
                raise _NotAMember
            return _of_membership(found)

        try:
            return await self._memory.get(("member", user_id, workspace), load)
        except _NotAMember:
            return None

    async def developer(self) -> Principal:
        """The user `dev`, OWNER of the home workspace; made when missing."""

        async def load() -> Principal:
            workspace_id = await founding.ensure_developer(self._database, DEVELOPER)
            return Principal(
                user_id=founding.DEV_USER,
                name=DEVELOPER,
                workspace_id=workspace_id,
                role="OWNER",
                permissions=roles.permissions("OWNER"),
            )

        return await self._memory.get("developer", load)

    def forget(self, workspace_id: UUID) -> None:
        """Drop what is known about a workspace's people."""
        self._memory.forget(lambda principal: principal.workspace_id == workspace_id)

    async def close(self) -> None:
        """End the look-ups that still run."""
        await self._memory.close()


class _NotAMember(Exception):
    """Somebody asked for a workspace that is not theirs."""


def _of_membership(found: Membership) -> Principal:
    return Principal(
        user_id=found.user_id,
        name=found.user_name,
        workspace_id=found.workspace_id,
        role=found.role,
        permissions=roles.permissions(found.role),
    )


def _of_holder(holder: Holder | None) -> Principal:
    if holder is None:
        raise Unauthenticated(reason="session_invalid")
    if holder.revoked_at is not None:
        raise Unauthenticated(reason="session_revoked")
    if holder.removed_at is not None or holder.role is None:
        raise Unauthenticated("Invalid user", reason="session_invalid")
    return Principal(
        user_id=holder.user_id,
        name=holder.user_name,
        workspace_id=holder.workspace_id,
        role=holder.role,
        permissions=roles.permissions(holder.role, holder.scopes),
        token_id=holder.token_id,
        scopes=holder.scopes,
        expires_at=holder.expires_at,
    )
