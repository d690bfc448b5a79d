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


class Rights:
    """Checks the owners of open connections."""

    def __init__(self, hub: Hub, authenticator: Authenticator) -> None:
        self._hub = hub
        self._authenticator = authenticator

    async def changed(self, workspace_id: UUID) -> None:
        """Some right in the workspace has changed: ask again for each of its connections."""
        self._authenticator.forget(workspace_id)
        for connection in list(self._hub.connections):
            who = connection.owner
            if isinstance(who, Principal) and who.workspace_id == workspace_id:
                await self._check(connection, who)

    async def _check(self, connection: Connection, who: Principal) -> None:
        try:
            is_valid = await self._authenticator.still_valid(who)
        except Unavailable:
            return  # nothing is known; the next change or the token's end asks again
        if not is_valid:
            connection.farewell(_REVOKED, "access revoked", 0)

    def expire(self) -> None:
        """Send away those whose tokens have ended."""
        now = datetime.now(UTC)
        for connection in list(self._hub.connections):
            who = connection.owner
            if isinstance(who, Principal) and who.expires_at is not None and who.expires_at <= now:
                connection.farewell(_REVOKED, "token expired", 0)
