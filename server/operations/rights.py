"""Open streams keep to the rights of now: whoever loses them, or whose token ends, is sent away."""

from datetime import UTC, datetime
from uuid import UUID

from server.auth.authenticator import Authenticator
from server.auth.principal import Principal
from server.errors import CLOSE_CODE
from streams.errors import Unavailable
from streams.hub import Hub
from streams.subscriber import Connection

_REVOKED = CLOSE_CODE["auth"]
_LOOKS = 3
"""How often a workspace is checked after a change: a stream may have been opening with the rights of before."""


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

    async def look(self) -> None:
        """Send away those whose rights or tokens have ended; a look that the database refuses is repeated."""
        now = datetime.now(UTC)
        unknown: set[UUID] = set()
        for connection in list(self._hub.connections):
            who = connection.owner
            if not isinstance(who, Principal):
                continue
            if who.expires_at is not None and who.expires_at <= now:
                connection.farewell(_REVOKED, "token expired", 0)
            elif who.workspace_id in self._due and not await self._check(connection, who):
                unknown.add(who.workspace_id)
        self._due = {
            workspace_id: looks if workspace_id in unknown else looks - 1
            for workspace_id, looks in self._due.items()
            if looks > 1 or workspace_id in unknown
        }

    async def _check(self, connection: Connection, who: Principal) -> bool:
        try:
            is_valid = await self._authenticator.still_valid(who)
        except Unavailable:
            return False
        if not is_valid:
            connection.farewell(_REVOKED, "access revoked", 0)
        return True
