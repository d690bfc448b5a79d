"""Making API tokens for users who ask: shown once, and never more than the asker's own rights."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from server.auth import roles, tokens
from server.auth.principal import Principal
from storage import identity
from storage.identity import Token
from storage.pool import Database
from streams.errors import Forbidden, Unprocessable

LONGEST_SECONDS = 10 * 366 * 86400


async def issue_token(
    database: Database,
    principal: Principal,
    name: str,
    *,
    scopes: Iterable[str] = (),
    expires_in_seconds: int | None = None,
) -> tuple[Token, str]:
    """A new token of the principal's, for the workspace that they act in, and its secret: nobody can show it again.

    Raises Forbidden without tokens:manage or for more rights than the principal's, Unprocessable for a wrong scope, name
    or life. A token that expires cannot make one that outlives it.
    """
    principal.require("tokens:manage")
    scopes = roles.check_scopes(scopes)
    if not roles.permissions(principal.role, scopes) <= principal.permissions:
        raise Forbidden("a token cannot make one with more rights than its own")
    if not 0 < len(name) <= 200 or "\0" in name:
        raise Unprocessable("a token's name has 1 to 200 characters")
    secret = tokens.generate()
    made = await identity.create_token(
        database,
        principal.user_id,
        principal.workspace_id,
        name,
        tokens.digest(secret),
        scopes=scopes,
        expires_at=_end(principal, expires_in_seconds),
    )
    return made, secret


def _end(principal: Principal, expires_in_seconds: int | None) -> datetime | None:
    if expires_in_seconds is not None and not 0 < expires_in_seconds <= LONGEST_SECONDS:
        raise Unprocessable("a token lives for 1 second to 10 years")
    ends = [] if expires_in_seconds is None else [datetime.now(UTC) + timedelta(seconds=expires_in_seconds)]
    # A login may make a lasting token, as its user could at any later login; a token that ends may not escape its end.
    if principal.token_id is not None and principal.expires_at is not None:
        ends.append(principal.expires_at)
    return min(ends, default=None)
