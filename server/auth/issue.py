"""Making API tokens for users who ask: shown once, and never for more than the asker's own token."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from server.auth import roles, tokens
from server.auth.principal import Principal
from storage import identity
from storage.identity import Token
from storage.ids import new_id
from storage.pool import Database
from streams.errors import Forbidden, Unprocessable

LONGEST_SECONDS = 10 * 366 * 86400


def drawn_up(
    principal: Principal, name: str, *, scopes: Iterable[str] = (), expires_in_seconds: int | None = None
) -> Token:
    """A token as it would be stored for the principal, in the workspace that they act in. Its secret is to be chosen.

    Raises Forbidden without tokens:manage or for scopes beyond those of the principal's token, Unprocessable for a wrong
    scope, name or life. A token that expires cannot make one that outlives it.
    """
    principal.require("tokens:manage")
    scopes = roles.check_scopes(scopes)
    # Scopes against scopes, not rights against rights: the token serves its user in every workspace of theirs, whatever
    # their role is there.
    if not roles.permissions("OWNER", scopes) <= roles.permissions("OWNER", principal.scopes):
        raise Forbidden("a token cannot make one with more rights than its own")
    if not 0 < len(name) <= 200 or "\0" in name:
        raise Unprocessable("a token's name has 1 to 200 characters")
    now = datetime.now(UTC)
    return Token(
        id=new_id(),
        user_id=principal.user_id,
        workspace_id=principal.workspace_id,
        name=name,
        scopes=scopes,
        created_at=now,
        expires_at=_end(principal, now, expires_in_seconds),
        last_used_at=None,
        revoked_at=None,
    )


async def issue_token(
    database: Database,
    principal: Principal,
    name: str,
    *,
    scopes: Iterable[str] = (),
    expires_in_seconds: int | None = None,
) -> tuple[Token, str]:
    """A new token, and its secret: nobody can show it again. Raises what `drawn_up` raises."""
    drawn = drawn_up(principal, name, scopes=scopes, expires_in_seconds=expires_in_seconds)
    secret = tokens.generate()
    made = await identity.create_token(
        database,
        drawn.user_id,
        drawn.workspace_id,
        drawn.name,
        tokens.digest(secret),
        scopes=drawn.scopes,
        expires_at=drawn.expires_at,
    )
    return made, secret


def _end(principal: Principal, now: datetime, expires_in_seconds: int | None) -> datetime | None:
    if expires_in_seconds is not None and not 0 < expires_in_seconds <= LONGEST_SECONDS:
        raise Unprocessable("a token lives for 1 second to 10 years")
    ends = [] if expires_in_seconds is None else [now + timedelta(seconds=expires_in_seconds)]
    # A login may make a lasting token, as its user could at any later login; a token that ends may not escape its end.
    if principal.token_id is not None and principal.expires_at is not None:
        ends.append(principal.expires_at)
    return min(ends, default=None)
