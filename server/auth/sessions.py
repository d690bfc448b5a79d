"""The signed tokens that we give out ourselves: logins, tickets for the crew WebSocket, and tokens of agents' runs."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import OctKey

from server.auth import tokens
from server.auth.principal import Principal
from streams.errors import TokenExpired, Unprocessable

SHORTEST_SECRET = 16
TICKET_SECONDS = 15 * 60
_LEEWAY_SECONDS = 5
_ALGORITHM = "HS256"
_TICKET = "ws"
_RUN = "run"


class RunClaim(NamedTuple):
    """What a run's token says: whose it is."""

    workspace_id: UUID
    mission_id: UUID
    run_id: UUID


class Sessions:
    """Signs and reads JWTs with one secret.

    A login has no audience, a ticket's is `ws`, a run's token's is `run`: none passes as another.

    Raises Unprocessable for a secret of fewer than 16 characters.
    """

    def __init__(self, secret: str, *, login_seconds: int, clock: Callable[[], float] = time.time) -> None:
        if len(secret) < SHORTEST_SECRET:
            raise Unprocessable(f"the JWT secret is too short: at least {SHORTEST_SECRET} characters")
        self._key = OctKey.import_key(secret)
        self._secret = secret.encode(errors="replace")
        self._login_seconds = login_seconds
        self._clock = clock

    def login(self, user_id: UUID, name: str) -> tuple[str, int]:
        """A login's token and when it ends, in Unix seconds."""
        now = int(self._clock())
        claims = {"sub": str(user_id), "usr": name, "iat": now, "exp": now + self._login_seconds}
        return self._sign(claims), now + self._login_seconds

    def repeatable(self, label: str) -> str:
        """An API token that is the same for the same label: what a repeated request is answered with, though no secret
        is stored. Whoever lacks our secret cannot find it."""
        return tokens.derived(self._secret, f"api token\0{label}")

    def ticket(self, principal: Principal) -> str:
        """A ticket for /ws. It works for 15 minutes, but never longer than what it was made from."""
        now = int(self._clock())
        claims: dict[str, Any] = {
            "sub": str(principal.user_id),
            "aud": _TICKET,
            "iat": now,
            "exp": now + TICKET_SECONDS,
        }
        if principal.token_id is not None:
            claims["tid"] = str(principal.token_id)
        if principal.expires_at is not None:
            claims["end"] = int(principal.expires_at.timestamp())
            claims["exp"] = min(claims["exp"], claims["end"])
        return self._sign(claims)

    def run_token(self, claim: RunClaim) -> str:
        """A token for the agent of one run. It has no end of its own: it is good while a run of the mission goes on."""
        return self._sign(
            {
                "sub": str(claim.run_id),
                "aud": _RUN,
                "mis": str(claim.mission_id),
                "wsp": str(claim.workspace_id),
                "iat": int(self._clock()),
            }
        )

    def read_run_token(self, text: str) -> RunClaim | None:
        """Whose run's token this is, None for what is none. Whether it still counts is the run's to say, not the clock's."""
        claims = self._signed(text)
        if claims is None or claims.get("aud") != _RUN:
            return None
        workspace_id, mission_id, run_id = (_uuid(claims.get(name)) for name in ("wsp", "mis", "sub"))
        if workspace_id is None or mission_id is None or run_id is None:
            return None
        return RunClaim(workspace_id, mission_id, run_id)

    def read_login(self, text: str) -> tuple[UUID, datetime] | None:
        """A login's user and end. None for what is no login of ours; TokenExpired for one that has ended."""
        claims = self._verified(text)
        if claims is None or "aud" in claims:
            return None
        user_id = _uuid(claims["sub"])
        return (user_id, datetime.fromtimestamp(claims["exp"], UTC)) if user_id else None

    def read_ticket(self, text: str) -> tuple[UUID, UUID | None, datetime | None] | None:
        """A ticket's user, their API token if it was made with one, and the end of the session behind it."""
        claims = self._verified(text)
        if claims is None or claims.get("aud") != _TICKET:
            return None
        user_id, end = _uuid(claims["sub"]), claims.get("end")
        if user_id is None:
            return None
        return user_id, _uuid(claims.get("tid")), datetime.fromtimestamp(end, UTC) if end is not None else None

    def _sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": _ALGORITHM}, claims, self._key, algorithms=[_ALGORITHM])

    def _signed(self, text: str) -> dict[str, Any] | None:
        """The claims of what we have signed, of whatever age."""
        if text.count(".") != 2 or not text.isascii():
            return None
        try:
            claims: dict[str, Any] = jwt.decode(text, self._key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError):
            return None
        return claims

    def _verified(self, text: str) -> dict[str, Any] | None:
        """The claims of what we have signed, with an end that has not come. TokenExpired when it has."""
        claims = self._signed(text)
        if claims is None:
            return None
        rules = jwt.JWTClaimsRegistry(
            now=int(self._clock()),
            leeway=_LEEWAY_SECONDS,
            sub={"essential": True},
            iat={"essential": True},
            exp={"essential": True},
        )
        try:
            rules.validate(claims)
        except ExpiredTokenError:
            raise TokenExpired(reason="session_expired") from None
        except (JoseError, ValueError):
            return None
        return claims


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(text) if isinstance(text, str) else None
    except ValueError:
        return None
