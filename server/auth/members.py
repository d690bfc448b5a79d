"""The members of workspaces: who may let whom in, change their role or send them away."""

import secrets
from uuid import UUID

import msgspec

from server.auth import roles
from server.auth.authenticator import Authenticator
from server.auth.principal import Principal
from storage import identity, workspaces
from storage.ids import new_id
from storage.pool import Database
from storage.rules import Key, Outcome
from storage.writer import Writers
from streams.errors import BadRequest, Forbidden

OWNER = "OWNER"
WRONG_ROLE = f"role must be one of {', '.join(roles.ROLES)}"


class Newcomer(msgspec.Struct, frozen=True, kw_only=True):
    """Who is let in: a user by id or email whom the asker knows; somebody new, of this name, for any other email."""

    role: str
    user_id: UUID | None = None
    email: str | None = None
    name: str = ""


class Members:
    """Changes of memberships. Roles below one's own may be given and taken; an OWNER's are all.

    No workspace ever loses its last OWNER: that is a Conflict. A change holds at once in this process.
    """

    def __init__(self, database: Database, writers: Writers, authenticator: Authenticator) -> None:
        self._database = database
        self._writers = writers
        self._authenticator = authenticator

    async def add(self, who: Principal, newcomer: Newcomer, key: Key | None) -> UUID:
        """Let somebody in, and give their id; a repeated key gives the first one's.

        Only who shares a workspace with the asker is found: an email of anybody else, like one of nobody, makes a new user.
        BadRequest, Forbidden; NotFound for an unknown user, Conflict for a member.
        """
        _require_grantable(who, newcomer.role)
        user_id, new_user = newcomer.user_id, None
        if user_id is None and newcomer.email is not None:
            user_id = await identity.known_by_email(self._database, newcomer.email, who.user_id, who.workspace_id)
            if user_id is None:
                new_user = (newcomer.name or newcomer.email.partition("@")[0], newcomer.email)
        user_id = user_id or new_id()
        statements = identity.member_added(
            who.workspace_id, user_id, newcomer.role, known_to=who.user_id, new_user=new_user
        )
        outcome = await self._writers.change(
            who.workspace_id, statements, [], answer=str(user_id), key=key or _once(who, "member")
        )
        self._authenticator.forget(who.workspace_id)
        return msgspec.json.decode(outcome.answer, type=UUID)

    async def change(self, who: Principal, user_id: UUID, role: str) -> None:
        """Give a member another role. BadRequest, Forbidden, NotFound, Conflict."""
        _require_grantable(who, role)
        await identity.set_role(self._database, who.workspace_id, user_id, role, only=roles.grantable(who.role))
        self._authenticator.forget(who.workspace_id)

    async def remove(self, who: Principal, user_id: UUID) -> None:
        """Send a member away; one may always go oneself, with any role. Forbidden, NotFound, Conflict.

        A token with scopes needs workspace:admin among them, even to go.
        """
        if user_id != who.user_id:
            who.require("workspace:admin")
        else:
            _require_scope(who)
        only = None if user_id == who.user_id else roles.grantable(who.role)
        await identity.remove_member(self._database, who.workspace_id, user_id, only=only)
        self._authenticator.forget(who.workspace_id)

    async def found(self, who: Principal, slug: str, name: str, key: Key | None) -> UUID:
        """Make a workspace whose OWNER the principal is, and give its id; a repeated key gives the first one's.

        Forbidden for a token without the scope workspace:admin, if it has any; Conflict for a slug that is taken.
        """
        _require_scope(who)
        workspace_id = new_id()
        statements = [
            workspaces.created(workspace_id, slug, name),
            *identity.member_added(workspace_id, who.user_id, OWNER),
        ]
        outcome: Outcome = await self._writers.change(
            who.workspace_id, statements, [], answer=str(workspace_id), key=key or _once(who, "workspace")
        )
        return msgspec.json.decode(outcome.answer, type=UUID)


def _require_grantable(who: Principal, role: str) -> None:
    if role not in roles.ROLES:
        raise BadRequest(WRONG_ROLE)
    if role not in roles.grantable(who.role):
        raise Forbidden(permission="workspace:admin")


def _require_scope(who: Principal) -> None:
    """Of the token alone, whatever the user's role is here."""
    if "workspace:admin" not in roles.permissions(OWNER, who.scopes):
        raise Forbidden(permission="workspace:admin")


def _once(who: Principal, what: str) -> Key:
    """A key of nobody's choice: a transaction that tells no event is known again by its answer, if its COMMIT is cut."""
    return Key(f"{what}:{who.user_id}", secrets.token_hex(16), "")
