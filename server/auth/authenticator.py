"""From a request to its principal, and everything else that asks who somebody is."""

import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import msgspec
import structlog
from aiohttp import web

from server.auth import origins, tokens
from server.auth.credentials import credential
from server.auth.directory import Directory
from server.auth.principal import Principal
from server.auth.sessions import RunClaim, Sessions
from server.auth.throttle import Throttle
from server.auth.usage import Usage
from storage import founding
from storage.pool import Database
from storage.runs import Runs
from streams.errors import Forbidden, TokenExpired, Unauthenticated

log = structlog.get_logger()

MISSING = "Missing Authorization header"
INVALID = "Invalid or expired token"
RUN_ENDED = "This token is an agent's, and no run of its mission is going on"
WRONG_LOGIN = "Invalid password"
WRONG_TICKET = "invalid or expired ws-token"
NOT_A_MEMBER = "Not a member of this workspace"
WRONG_ORIGIN = "request origin not allowed"
_LONGEST_TOKEN = 4096
ACCOUNT_REQUESTS = 30
"""How often an address may ask for API tokens, or to claim the server, within a minute."""
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

AuthMode = Literal["single_tenant", "disabled"]


class Authenticator:
    """Tells who asks. What it read from the database it believes for at most five seconds.

    An Unauthenticated of ours has a `reason` in its details: no_credentials, session_invalid, session_expired or
    session_revoked. A database that cannot be asked is Unavailable, never Unauthenticated.
    """

    def __init__(
        self,
        database: Database,
        *,
        password: str | None,
        jwt_secret: str,
        jwt_ttl_days: int = 30,
        auth_mode: AuthMode = "single_tenant",
        allowed_origins: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.auth_mode: AuthMode = auth_mode
        self._database = database
        self._password = (password or "").strip() or None
        self._allowed_origins = tuple(allowed_origins)
        self._clock = clock
        self._sessions = Sessions(jwt_secret, login_seconds=jwt_ttl_days * 86400, clock=clock)
        self._directory = Directory(database, clock=monotonic)
        self._runs = Runs(database)
        self._usage = Usage(database, clock=monotonic)
        self._throttle = Throttle(clock=monotonic)
        self._requests = Throttle(
            ACCOUNT_REQUESTS, message="too many requests for tokens; wait a minute", clock=monotonic
        )

    # For HTTP requests

    async def authenticate(self, request: web.BaseRequest, *, cookies: Sequence[str] = ()) -> Principal:
        """Who makes the request, in their home workspace. Unauthenticated, TokenExpired or Unavailable.

        Of cookies, our own counts, and those that are named.

        With authentication off everybody but agents is the user `dev`; Forbidden for a page that is not of this machine.
        """
        token = credential(request, cookies)
        if self.auth_mode == "disabled":
            self._check_page(request)
            if (claim := self._claim(token)) is not None:
                return await self._agent(claim)
            return await self._directory.developer()
        if token is None:
            raise Unauthenticated(MISSING, reason="no_credentials")
        # Nowhere else: a run's token is good for requests alone, and for no stream.
        claim = self._claim(token)
        return await (self._bearer(token) if claim is None else self._agent(claim))

    async def in_workspace(self, principal: Principal, workspace: UUID | str) -> Principal:
        """The principal acting in a workspace, given by id or slug: Forbidden unless they are a member there."""
        named = _workspace_name(workspace)
        if named == principal.workspace_id:
            return principal
        found = await self._directory.member(principal.user_id, named) if named else None
        if found is None:
            raise Forbidden(NOT_A_MEMBER)
        return found.narrowed(principal)

    def check_change(self, request: web.BaseRequest) -> None:
        """Forbidden, with the reason origin_rejected, for a change that a foreign page asks for (crew's rule)."""
        headers = request.headers
        if request.method not in ("GET", "HEAD", "OPTIONS") and not origins.may_change(
            headers.get("Origin"), headers.get("Referer"), request.scheme, request.host, self._allowed_origins
        ):
            raise Forbidden(WRONG_ORIGIN, reason="origin_rejected")

    def check_stranger(self, request: web.BaseRequest) -> None:
        """Forbidden for a page that may be of a name which somebody else has made to lead here. For requests that act
        without any credential; programs send no Origin."""
        if "Origin" in request.headers:
            self._check_page(request)

    def check_connect(self, request: web.BaseRequest) -> None:
        """Forbidden for a WebSocket handshake that a foreign page makes (crew's rule)."""
        if not origins.may_connect(request.headers.get("Origin"), request.host, self._allowed_origins):
            raise Forbidden(WRONG_ORIGIN, reason="origin_rejected")

    def _check_page(self, request: web.BaseRequest) -> None:
        if not origins.may_go_unchecked(
            request.headers.get("Origin"), request.scheme, request.host, self._allowed_origins
        ):
            raise Forbidden(WRONG_ORIGIN, reason="origin_rejected")

    # Logging in

    async def login(self, password: str, username: str | None = None, *, remote: str | None) -> tuple[str, int]:
        """A token for the owner, and its end in Unix seconds.

        Unauthenticated for a wrong password, and for every one while none is set; TooMany after five wrong ones from an
        address (`remote`) within a minute, even for the right one. There is one password, so the username is not read.
        """
        address = remote or "unknown"
        self._throttle.check(address)
        given = password.strip()
        if self._password is None or not tokens.is_same(given, self._password):
            self._throttle.note_failure(address)
            log.warning("login.refused", remote=address, is_password_set=self._password is not None)
            raise Unauthenticated(WRONG_LOGIN, reason="session_invalid")
        home = await founding.home(self._database)
        if home is None or home.owner_id is None:
            raise Unauthenticated("Invalid user", reason="session_invalid")
        log.info("login.done", remote=address)
        return self._sessions.login(home.owner_id, home.owner_name or "")

    # For people who sign in by crew's API

    def count_account_request(self, remote: str | None) -> None:
        """Count a request for an API token; TooMany after ACCOUNT_REQUESTS of an address within a minute."""
        address = remote or "unknown"
        self._requests.check(address)
        self._requests.note_failure(address)

    @property
    def may_be_claimed(self) -> bool:
        """Whether people must sign in, and no password of the operator's lets them."""
        return self.auth_mode != "disabled" and self._password is None

    def session_of(self, user_id: UUID, name: str) -> tuple[str, int]:
        """A login for a user who has proved who they are, and its end in Unix seconds."""
        return self._sessions.login(user_id, name)

    def repeatable_token(self, label: str) -> str:
        """The API token for a label: the same one for the same label, and nobody else's guess."""
        return self._sessions.repeatable(label)

    # For agents

    def run_token(self, workspace_id: UUID, mission_id: UUID, run_id: UUID) -> str:
        """A token for the agent that is started for a run: it reaches the routes that agents may use, on this mission,
        in this run and in the later ones that the agent works in, and never between them."""
        return self._sessions.run_token(RunClaim(workspace_id, mission_id, run_id))

    def _claim(self, token: str | None) -> RunClaim | None:
        return self._sessions.read_run_token(token) if token is not None and len(token) <= _LONGEST_TOKEN else None

    async def _agent(self, claim: RunClaim) -> Principal:
        """The agent of the run that is going on. It holds no permission: its routes are marked one by one."""
        run = await self._runs.going_on(claim.workspace_id, claim.mission_id)
        if run is None:
            raise Unauthenticated(RUN_ENDED, reason="session_expired")
        run_id, backend = run
        return Principal(
            user_id=run_id,
            name=backend,
            workspace_id=claim.workspace_id,
            role="AGENT",
            permissions=frozenset(),
            mission_id=claim.mission_id,
        )

    # For streams and the crew WebSocket

    async def ws_token(self, principal: Principal) -> str:
        """A ticket for /ws, good for 15 minutes and any number of connections."""
        return self._sessions.ticket(principal)

    async def ws_principal(self, token: str) -> Principal:
        """Who presents this ticket, API token or login on /ws, with the rights of now. Unauthenticated, Unavailable."""
        if self.auth_mode == "disabled":
            return await self._directory.developer()
        try:
            ticket = self._sessions.read_ticket(token)
            if ticket is None:
                return await self._bearer(token)
            user_id, token_id, end = ticket
            return await self._current(user_id, token_id, end)
        except TokenExpired:
            raise TokenExpired(WRONG_TICKET, reason="session_expired") from None
        except Unauthenticated as error:
            raise Unauthenticated(WRONG_TICKET, **error.details) from None

    async def still_valid(self, principal: Principal) -> bool:
        """Whether a stream that was opened with the principal may go on: their token, membership and stream:view.

        Unavailable tells nothing: let the stream go on and ask again.
        """
        try:
            now = await self._current(principal.user_id, principal.token_id, principal.expires_at)
            here = await self.in_workspace(now, principal.workspace_id)
        except (Unauthenticated, Forbidden):
            return False
        return here.may("stream:view")

    def forget(self, workspace_id: UUID) -> None:
        """Believe nothing any more that was read about the workspace: its rights_version has moved."""
        self._directory.forget(workspace_id)

    async def close(self) -> None:
        """End what still runs in the background."""
        await self._usage.close()
        await self._directory.close()

    # How a token becomes a principal

    async def _bearer(self, token: str) -> Principal:
        if len(token) > _LONGEST_TOKEN or tokens.is_misspelt(token):
            raise Unauthenticated(INVALID, reason="session_invalid")
        login = self._sessions.read_login(token)
        if login is not None:
            return await self._current(login[0], None, login[1])
        holder = self._admitted(await self._directory.by_hash(tokens.digest(token)))
        if holder.token_id is not None:
            self._usage.note(holder.token_id, datetime.fromtimestamp(self._clock(), UTC))
        return holder

    async def _current(self, user_id: UUID, token_id: UUID | None, end: datetime | None) -> Principal:
        """The user at home as of now, through the token if there is one, until `end` at the latest."""
        if self.auth_mode == "disabled":
            return await self._directory.developer()
        self._refuse_ended(end)
        if token_id is None:
            user = self._admitted(await self._directory.by_user(user_id))
            return msgspec.structs.replace(user, expires_at=end)
        holder = self._admitted(await self._directory.by_token_id(token_id))
        if holder.user_id != user_id:
            raise Unauthenticated(INVALID, reason="session_invalid")
        return holder

    def _admitted(self, who: Principal) -> Principal:
        if who.user_id == founding.DEV_USER:  # what was given out while nobody was asked is worth nothing now
            raise Unauthenticated("Invalid user", reason="session_invalid")
        self._refuse_ended(who.expires_at)
        return who

    def _refuse_ended(self, end: datetime | None) -> None:
        if end is not None and end.timestamp() <= self._clock():
            raise TokenExpired(INVALID, reason="session_expired")


def _workspace_name(workspace: UUID | str) -> UUID | str | None:
    if isinstance(workspace, UUID):
        return workspace
    try:
        return UUID(workspace)
    except ValueError:
        return workspace if _SLUG.fullmatch(workspace) else None
