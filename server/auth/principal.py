"""The one who asks."""

from datetime import datetime
from uuid import UUID

import msgspec

from server.auth import roles
from streams.errors import Forbidden


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A user, or the agent of a run, acting in one workspace, and what they may do there.

    `permissions` are already narrowed by the token's `scopes`. `token_id` is None for a login. After `expires_at` (UTC;
    None is never) a stream that was opened with it ends.
    """

    user_id: UUID
    name: str
    workspace_id: UUID
    role: str
    permissions: frozenset[str]
    token_id: UUID | None = None
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    mission_id: UUID | None = None
    """The only mission that an agent may touch, through the routes that say so; None for people and their programs."""

    @property
    def actor(self) -> str:
        """Who stands as the author of events: `agent:<backend>`, or a user's id."""
        return str(self.user_id) if self.mission_id is None else f"agent:{self.name}"

    def may(self, permission: str) -> bool:
        """Whether the permission is held; asking for one that does not exist is an error of ours."""
        if permission not in roles.PERMISSIONS:
            raise KeyError(permission)
        return permission in self.permissions

    def narrowed(self, through: "Principal") -> "Principal":
        """This principal, asking through another one's token: its scopes, its id and its end apply."""
        return msgspec.structs.replace(
            self,
            permissions=roles.permissions(self.role, through.scopes),
            token_id=through.token_id,
            scopes=through.scopes,
            expires_at=through.expires_at,
        )

    def require(self, permission: str) -> None:
        """Raise Forbidden, with the permission in its details, unless it is held."""
        if not self.may(permission):
            raise Forbidden(permission=permission)
