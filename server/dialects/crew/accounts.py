"""What users do for themselves: claim a new server, and make, check, list and revoke their tokens."""

import time
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from server.auth import claiming, tokens
from server.auth.credentials import CREW_COOKIES
from server.auth.issue import drawn_up, issue_token
from server.core import core, principal
from server.dialects.crew.answers import reply, second
from server.dialects.crew.body import read
from server.dialects.crew.ids import known, spell
from server.keys import key_of
from storage import identity
from storage.identity import Token
from storage.rules import Key
from streams.errors import Conflict

TIER = "STANDARD"
UNNAMED = "CLI token"


class Bootstrap(msgspec.Struct):
    full_name: str = ""
    email: str = ""
    password: str = ""


class CreateToken(msgspec.Struct):
    """`tier` is read by nobody: what a token may do is its scopes' affair."""

    name: str = ""
    tier: str = TIER
    expires_in_seconds: int | None = None
    scopes: list[str] = []


async def bootstrap(request: web.Request) -> web.Response:
    """POST /api/v1/bootstrap, public: the first user of a new server becomes its owner; 410 ever after."""
    services = core(request)
    services.authenticator.count_account_request(request.remote)
    services.authenticator.check_stranger(request)
    await claiming.refuse_late(services.database, services.authenticator)
    body = await read(request, Bootstrap)
    found, secret = await claiming.claim(services.database, body.full_name, body.email, body.password)
    services.authenticator.forget(found.workspace_id)
    login, end = services.authenticator.session_of(found.owner_id, body.full_name.strip())
    response = reply(
        {
            "user_id": spell(found.owner_id),
            "email": claiming.normal_email(body.email),
            "workspace_id": spell(found.workspace_id),
            "cli_token": secret,
        },
        status=201,
    )
    plain, secure = CREW_COOKIES
    response.set_cookie(
        secure if request.secure else plain,
        login,
        max_age=max(0, end - int(time.time())),
        httponly=True,
        samesite="Lax",
        secure=request.secure,
        path="/",
    )
    return response


async def validate_token(request: web.Request) -> web.Response:
    """GET /api/v1/auth/cli-token/validate: whose token this is."""
    who = principal(request)
    home = await identity.home_membership(core(request).database, who.user_id)
    told: dict[str, Any] = {
        "valid": True,
        "user_id": spell(who.user_id),
        "user_email": (home and home.email) or "",
        "user_name": who.name,
        "workspace_id": spell(who.workspace_id),
        "role": who.role,
    }
    return reply(told | _optional(who.expires_at, who.scopes))


async def create_token(request: web.Request) -> web.Response:
    """POST /api/v1/auth/cli-token: its secret is shown here and never again, but to a repeat of the same request."""
    services, who = core(request), principal(request)
    services.authenticator.count_account_request(request.remote)
    body = await read(request, CreateToken, is_optional=True)
    wanted: dict[str, Any] = {"scopes": body.scopes, "expires_in_seconds": body.expires_in_seconds}
    key = key_of(request, "crew.token", body)
    if key is not None:
        return reply(await _keyed(request, drawn_up(who, body.name or UNNAMED, **wanted), key))
    made, secret = await issue_token(services.database, who, body.name or UNNAMED, **wanted)
    return reply({"token": secret, **shown(made)})


async def _keyed(request: web.Request, drawn: Token, key: Key) -> dict[str, Any]:
    """The answer of a request with an idempotency key. The secret follows from the key, so that it need not be stored."""
    services = core(request)
    secret = services.authenticator.repeatable_token(f"{key.scope}\0{key.key}")
    statement = identity.token_created(drawn, tokens.digest(secret))
    outcome = await services.writers.change(drawn.workspace_id, [statement], [], answer=shown(drawn), key=key)
    if outcome.replayed and await identity.find_by_hash(services.database, tokens.digest(secret)) is None:
        raise Conflict(
            "this token was made, but its secret cannot be shown again: the server signs with another secret"
        )
    return {"token": secret, **msgspec.json.decode(outcome.answer)}


async def list_tokens(request: web.Request) -> web.Response:
    """GET /api/v1/auth/cli-tokens: the user's own, newest first."""
    rows = await identity.list_tokens(core(request).database, principal(request).user_id)
    return reply({"data": [shown(row) | {"last_used_at": _time(row.last_used_at)} for row in rows]})


async def revoke_token(request: web.Request) -> web.Response:
    """DELETE /api/v1/auth/cli-tokens/{tokenId}: one of the user's own."""
    services, who = core(request), principal(request)
    await identity.revoke_token(services.database, known(request.match_info["tokenId"]), user_id=who.user_id)
    services.authenticator.forget(who.workspace_id)
    return reply({"status": "revoked"})


def shown(token: Token) -> dict[str, Any]:
    """What may be told about a token; no member that does not apply."""
    told = {"id": spell(token.id), "name": token.name, "tier": TIER, "created_at": second(token.created_at)}
    return told | _optional(token.expires_at, token.scopes)


def _optional(expires_at: datetime | None, scopes: tuple[str, ...]) -> dict[str, Any]:
    ends = {} if expires_at is None else {"expires_at": second(expires_at)}
    return ends | ({"scopes": list(scopes)} if scopes else {})


def _time(at: datetime | None) -> str | None:
    return None if at is None else second(at)
