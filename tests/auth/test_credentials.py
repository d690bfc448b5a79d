"""Where a request's token is taken from, and where not."""

from typing import Any

import pytest
from aiohttp import web

from server.auth import roles
from server.auth.authenticator import Authenticator
from server.auth.credentials import COOKIE, clear_session, set_session
from storage.pool import Database
from streams.errors import Unauthenticated
from tests.auth.world import SIGNING, TOKEN, Asking, Owner, refusal


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"bearer  {TOKEN} "},
        {"authorization": f"BEARER {TOKEN}"},
        {"X_Wede_API_Key": TOKEN},
        {"x_wede_api_key": f" {TOKEN}"},
        {"Authorization": "Basic eA==", "X_Wede_API_Key": TOKEN},
        {"Sec_WebSocket_Protocol": f"openagent, jwt.{TOKEN}"},
        {"Sec_WebSocket_Protocol": f"jwt.{TOKEN},sandboxed"},
        {"Cookie": f'{COOKIE}="{TOKEN}"'},
        {"Cookie": f'other=1; {COOKIE}="{TOKEN}"', "Origin": "http://here.example:8080"},
    ],
)
async def test_a_token_is_found(
    authenticator: Authenticator, owner: Owner, asking: Asking, headers: dict[str, str]
) -> None:
    who = await authenticator.authenticate(asking(**headers))
    assert (who.user_id, who.name, who.workspace_id) == (owner.user_id, "owner", owner.workspace_id)
    assert (who.role, who.permissions, who.token_id) == ("OWNER", roles.ROLES["OWNER"], owner.token_id)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": TOKEN},
        {"Authorization": "Basic eA=="},
        {"X_Wede_API_Key": " "},
        {"Sec_WebSocket_Protocol": "openagent"},
        {"Sec_WebSocket_Protocol": "jwt."},
        {"Cookie": "other=1"},
        {"Cookie": f"{COOKIE}="},
        {"Cookie": f'{COOKIE}="{TOKEN}"', "Origin": "http://evil.example"},
        {"Cookie": f'{COOKIE}="{TOKEN}"', "Origin": "null"},
        {"Cookie": f'{COOKIE}="{TOKEN}"', "method": "POST"},
        {"Cookie": f'{COOKIE}="{TOKEN}"', "method": "DELETE", "Origin": "http://here.example"},
        {"path": f"/?token={TOKEN}&access_token={TOKEN}"},
    ],
)
async def test_no_token_is_found(
    authenticator: Authenticator, owner: Owner, asking: Asking, headers: dict[str, str]
) -> None:
    error = await refusal(authenticator, asking(**headers))
    assert type(error) is Unauthenticated
    assert (error.message, error.details) == ("Missing Authorization header", {"reason": "no_credentials"})


@pytest.mark.parametrize(
    "token",
    [
        "no such token",
        "mst_" + "a" * 36,
        "a.b.c",
        "eyJhbGciOiJub25lIn0.e30.",
        "..",
        "x" * 100_000,
        "jürgen",
    ],
)
async def test_a_wrong_token_is_refused(authenticator: Authenticator, owner: Owner, asking: Asking, token: str) -> None:
    error = await refusal(authenticator, asking(Authorization=f"Bearer {token}"))
    assert type(error) is Unauthenticated
    assert (error.message, error.details) == ("Invalid or expired token", {"reason": "session_invalid"})


@pytest.mark.parametrize("token", ["mst_" + "a" * 36, "x" * 5000])
async def test_a_token_that_cannot_be_one_costs_no_database_reading(asking: Asking, token: str) -> None:
    authenticator = Authenticator(Database({}), password=None, jwt_secret=SIGNING)  # over a database that never opened
    assert (await refusal(authenticator, asking(Authorization=f"Bearer {token}"))).kind == "auth"


async def test_a_wrong_header_is_not_saved_by_a_good_cookie(
    authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    error = await refusal(authenticator, asking(Authorization="Bearer wrong", Cookie=f'{COOKIE}="{TOKEN}"'))
    assert error.message == "Invalid or expired token"


async def test_the_dashboards_cookie_travels_only_as_it_should(
    aiohttp_client: Any, authenticator: Authenticator, owner: Owner
) -> None:
    async def log_in(request: web.Request) -> web.Response:
        response = web.Response()
        set_session(response, TOKEN, max_age_seconds=60, is_secure=False)
        return response

    async def log_out(request: web.Request) -> web.Response:
        response = web.Response()
        clear_session(response)
        return response

    async def act(request: web.Request) -> web.Response:
        try:
            return web.Response(text=(await authenticator.authenticate(request)).name)
        except Unauthenticated as error:
            return web.Response(status=401, text=error.message)

    app = web.Application()
    app.add_routes([web.post("/in", log_in), web.post("/out", log_out), web.get("/", act), web.post("/", act)])
    client = await aiohttp_client(app)
    own = {"Origin": f"http://{client.host}:{client.port}"}

    cookie = (await client.post("/in")).cookies[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert (await client.get("/")).status == 200
    assert (await client.post("/", headers=own)).status == 200
    assert (await client.post("/")).status == 401
    assert (await client.post("/", headers={"Origin": "http://evil.example"})).status == 401
    await client.post("/out")
    assert (await client.get("/")).status == 401
