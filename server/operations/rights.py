"""Open streams keep to the rights of now: whoever loses them, or whose token ends, is sent away."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from server.auth.authenticator import Authenticator
from server.auth.principal import Principal
from server.errors import CLOSE_CODE
from streams.errors import Unavailable
from streams.event import Event
from streams.hub import Guarded, Hub
from streams.subscriber import Connection

_REVOKED = CLOSE_CODE["auth"]
_LOOKS = 3
"""How often a workspace is checked after a change: a stream may have been opening with the rights of before."""

_DELETED = frozenset({"mission_deleted", "crew.deleted", "agent.deleted"})


class Rights:
    """Checks the owners of open connections."""

    def __init__(self, hub: Hub, authenticator: Authenticator) -> None:
        self._hub = hub
        self._authenticator = authenticator
        self._due: dict[UUID, int] = {}

    def changed(self, workspace_id: UUID) -> None:
        """Some right in the workspace has changed."""
        self._authenticator.forget(workspace_id)
        self._due[workspace_id] = _LOOKS

    def notice(self, workspace_id: UUID, events: Sequence[Event]) -> None:
        """Hear of committed events: what is deleted may be followed no more."""
        if any(event.type in _DELETED for event in events):
            self._due[workspace_id] = _LOOKS

    async def look(self) -> None:
        """Send away those whose rights or tokens have ended; a look that the database refuses is repeated."""
        now = datetime.now(UTC)
        unknown: set[UUID] = set()
        for connection, guarded in list(self._hub.connections.items()):
            who = connection.owner
            if not isinstance(who, Principal):
                continue
            if who.expires_at is not None and who.expires_at <= now:
                connection.farewell(_REVOKED, "token expired", 0)
            elif who.workspace_id in self._due and not await self._check(connection, who):
                unknown.add(who.workspace_id)
            elif guarded is not None:
                unknown |= await self._unchecked(connection, guarded)
        self._due = {
            workspace_id: looks if workspace_id in unknown else looks - 1
            for workspace_id, looks in self._due.items()
            if looks > 1 or workspace_id in unknown
        }

    async def _unchecked(self, connection: Connection, guarded: Guarded) -> set[UUID]:
        """Let it look at its channels in workspaces where something has changed; give the workspaces that it could not."""
        followed = {subscriber.feed.channel.workspace_id for subscriber in connection.subscribers.values()}
        unknown: set[UUID] = set()
        for workspace_id in followed & self._due.keys():
            try:
                await guarded.recheck(workspace_id)
            except Unavailable:
                unknown.add(workspace_id)
        return unknown

    async def _check(self, connection: Connection, who: Principal) -> bool:
        try:
            is_valid = await self._authenticator.still_valid(who)
        except Unavailable:
            return False
        if not is_valid:
            connection.farewell(_REVOKED, "access revoked", 0)
        return True
