"""From requests, tickets and passwords to principals, over a real database."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import msgspec
import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import OctKey

from server.auth import roles, tokens
from server.auth.authenticator import Authenticator
from server.auth.credentials import COOKIE, clear_session, set_session
from server.auth.issue import issue_token
from storage import founding, identity, migrations, workspaces
from storage.embedded import throwaway
from storage.pool import Database
from streams.errors import Forbidden, MissionstreamError, TokenExpired, TooMany, Unauthenticated, Unavailable
from tests.auth.clock import Clock
from tests.auth.conftest import PASSWORD, SIGNING

Asking = Callable[..., web.Request]
TOKEN = "a token of the operator's own"


class Owner(NamedTuple):
    """The owner of `default`, whose token is TOKEN."""

    user_id: UUID
    workspace_id: UUID
    token_id: UUID


@pytest.fixture
async def owner(database: Database) -> Owner:
    await founding.adopt_token(database, "bootstrap", tokens.digest(TOKEN), as_first=False)
    holder = await identity.find_by_hash(database, tokens.digest(TOKEN))
    assert holder is not None
    return Owner(holder.user_id, holder.workspace_id, holder.token_id)


async def refusal(authenticator: Authenticator, request: web.Request) -> MissionstreamError:
    with pytest.raises(MissionstreamError) as refused:
        await authenticator.authenticate(request)
    return refused.value


def signed(algorithm: str = "HS256", secret: str = SIGNING, **claims: Any) -> str:
    return jwt.encode({"alg": algorithm}, claims, OctKey.import_key(secret), algorithms=[algorithm])


# Where a token is taken from


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


# How long a token is believed


async def test_an_expired_token_says_so_even_from_memory(
    database: Database, authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking
) -> None:
    end = datetime.fromtimestamp(clock.now + 3, UTC)
    await identity.create_token(
        database, owner.user_id, owner.workspace_id, "short", tokens.digest("short lived"), expires_at=end
    )
    request = asking(Authorization="Bearer short lived")
    assert (await authenticator.authenticate(request)).expires_at == end
    clock.forward(3)
    error = await refusal(authenticator, request)
    assert type(error) is TokenExpired
    assert (error.message, error.details) == ("Invalid or expired token", {"reason": "session_expired"})


async def test_a_revoked_token_is_refused_within_five_seconds(
    database: Database, authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking
) -> None:
    request = asking(Authorization=f"Bearer {TOKEN}")
    await authenticator.authenticate(request)
    await identity.revoke_token(database, owner.token_id)
    clock.forward(4.9)
    await authenticator.authenticate(request)
    clock.forward(0.1)
    error = await refusal(authenticator, request)
    assert (error.message, error.details) == ("Invalid or expired token", {"reason": "session_revoked"})


async def test_a_revoked_token_is_refused_at_once_when_the_rights_move(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    request = asking(Authorization=f"Bearer {TOKEN}")
    await authenticator.authenticate(request)
    await identity.revoke_token(database, owner.token_id)
    authenticator.forget(uuid4())
    await authenticator.authenticate(request)
    authenticator.forget(owner.workspace_id)
    assert (await refusal(authenticator, request)).details == {"reason": "session_revoked"}


async def test_a_users_end_is_told_apart_from_a_tokens(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    member = await identity.create_user(database, "max")
    await identity.add_member(database, owner.workspace_id, member, "MEMBER")
    await identity.create_token(database, member, owner.workspace_id, "t", tokens.digest("max's token"))
    assert (await authenticator.authenticate(asking(Authorization="Bearer max's token"))).role == "MEMBER"
    async with database.reading() as connection:
        await connection.execute("DELETE FROM members WHERE user_id = $1", member)
    authenticator.forget(owner.workspace_id)
    error = await refusal(authenticator, asking(Authorization="Bearer max's token"))
    assert type(error) is Unauthenticated
    assert error.message == "Invalid user"


async def test_a_herd_is_served_by_one_reading(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = 0
    find = identity.find_by_hash

    async def counting(*given: Any) -> Any:
        nonlocal readings
        readings += 1
        return await find(*given)

    monkeypatch.setattr(identity, "find_by_hash", counting)
    request = asking(Authorization=f"Bearer {TOKEN}")
    await asyncio.gather(*(authenticator.authenticate(request) for _ in range(200)))
    assert readings == 1


async def test_a_use_is_noted_in_the_background_once_a_minute(
    database: Database, authenticators: Callable[..., Authenticator], owner: Owner, clock: Clock, asking: Asking
) -> None:
    authenticator, request = authenticators(), asking(Authorization=f"Bearer {TOKEN}")
    begun = clock.now
    for seconds in (0, 59, 1, 30):
        clock.forward(seconds)
        await authenticator.authenticate(request)
    await authenticator.close()
    (token,) = await identity.list_tokens(database, owner.user_id)
    assert token.last_used_at == datetime.fromtimestamp(begun + 60, UTC)


async def test_a_lost_database_is_unavailable_and_not_a_wrong_token(asking: Asking) -> None:
    async with throwaway() as postgres:
        await migrations.migrate(postgres.connect_kwargs)
        database = Database(postgres.connect_kwargs, writers=1, readers=2)
        await database.open()
        authenticator = Authenticator(database, password=PASSWORD, jwt_secret=SIGNING)
        await founding.adopt_token(database, "bootstrap", tokens.digest(TOKEN), as_first=False)
        login, _ = await authenticator.login(PASSWORD, remote=None)
        await postgres.stop()
        for token in (TOKEN, login, "no such token"):
            assert type(await refusal(authenticator, asking(Authorization=f"Bearer {token}"))) is Unavailable
        with pytest.raises(Unavailable):
            await authenticator.login(PASSWORD, remote=None)
        await authenticator.close()
        await database.close()


# Logging in


async def test_a_login_gives_the_owners_jwt(
    authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking
) -> None:
    token, end = await authenticator.login(f"  {PASSWORD}\n", remote="192.0.2.1")
    assert end == int(clock.now) + 30 * 86400
    claims = jwt.decode(token, OctKey.import_key(SIGNING), algorithms=["HS256"]).claims
    assert claims == {"sub": str(owner.user_id), "usr": "owner", "iat": int(clock.now), "exp": end}
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {token}"))
    assert (who.user_id, who.workspace_id, who.role) == (owner.user_id, owner.workspace_id, "OWNER")
    assert (who.token_id, who.expires_at) == (None, datetime.fromtimestamp(end, UTC))


async def test_a_login_ends(authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking) -> None:
    token, end = await authenticator.login(PASSWORD, remote=None)
    request = asking(Authorization=f"Bearer {token}")
    clock.now = end - 1
    await authenticator.authenticate(request)
    clock.now = end + 6
    error = await refusal(authenticator, request)
    assert type(error) is TokenExpired
    assert error.message == "Invalid or expired token"


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD.upper(), PASSWORD + "x", "é", "\ud800"])
async def test_a_wrong_password_is_refused(authenticator: Authenticator, owner: Owner, password: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await authenticator.login(password, remote="192.0.2.1")
    assert refused.value.message == "Invalid password"


@pytest.mark.parametrize("configured", [None, "", "  "])
async def test_without_a_password_nobody_logs_in(
    authenticators: Callable[..., Authenticator], owner: Owner, configured: str | None
) -> None:
    for password in ("", "  ", "None"):
        with pytest.raises(Unauthenticated, match="Invalid password"):
            await authenticators(password=configured).login(password, remote="192.0.2.1")


async def test_failed_logins_are_slowed_down_by_address(
    authenticator: Authenticator, owner: Owner, clock: Clock
) -> None:
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await authenticator.login("wrong", remote="192.0.2.1")
    with pytest.raises(TooMany) as refused:
        await authenticator.login(PASSWORD, remote="192.0.2.1")
    assert 0 < refused.value.retry_after <= 60
    await authenticator.login(PASSWORD, remote="192.0.2.2")
    clock.forward(60)
    await authenticator.login(PASSWORD, remote="192.0.2.1")


async def test_a_forged_login_is_refused(
    authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking
) -> None:
    now = int(clock.now)
    good: dict[str, Any] = {"sub": str(owner.user_id), "usr": "owner", "iat": now, "exp": now + 60}
    assert await authenticator.authenticate(asking(Authorization=f"Bearer {signed(**good)}"))
    forged = [
        signed(secret="another secret, long enough too", **good),
        signed("HS512", SIGNING * 2, **good),
        signed(**(good | {"aud": "ws"})),
        signed(**(good | {"aud": "else"})),
        signed(**(good | {"iat": now + 60})),
        signed(**(good | {"nbf": now + 60})),
        signed(**(good | {"sub": "default"})),
        signed(sub=str(owner.user_id), iat=now),
        signed(iat=now, exp=now + 60),
        signed(**(good | {"exp": "soon"})),
    ]
    for token in forged:
        error = await refusal(authenticator, asking(Authorization=f"Bearer {token}"))
        assert error.message == "Invalid or expired token", token


async def test_a_login_of_an_unknown_user_is_refused(
    authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking
) -> None:
    token = signed(sub=str(uuid4()), usr="x", iat=int(clock.now), exp=int(clock.now) + 60)
    assert (await refusal(authenticator, asking(Authorization=f"Bearer {token}"))).message == "Invalid user"


# Other workspaces


async def test_a_principal_acts_in_the_workspaces_it_belongs_to(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    other = await workspaces.create(database, "other")
    await workspaces.create(database, "foreign")
    await identity.add_member(database, other, owner.user_id, "VIEWER")
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {TOKEN}"))
    for name in (other, str(other), "other"):
        there = await authenticator.in_workspace(who, name)
        assert (there.workspace_id, there.role, there.permissions) == (other, "VIEWER", roles.ROLES["VIEWER"])
        assert there.token_id == owner.token_id
    assert await authenticator.in_workspace(who, owner.workspace_id) == who
    assert await authenticator.in_workspace(who, "default") == who
    for name in ("foreign", "unknown", uuid4(), str(uuid4()), "", "No Slug", "a\0b", "x" * 1000):
        with pytest.raises(Forbidden) as refused:
            await authenticator.in_workspace(who, name)
        assert (refused.value.message, refused.value.details) == ("Not a member of this workspace", {})


async def test_scopes_narrow_in_every_workspace(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    other = await workspaces.create(database, "other")
    await identity.add_member(database, other, owner.user_id, "ADMIN")
    await identity.create_token(
        database, owner.user_id, owner.workspace_id, "n", tokens.digest("narrow token"), scopes=["crews:write"]
    )
    who = await authenticator.authenticate(asking(Authorization="Bearer narrow token"))
    there = await authenticator.in_workspace(who, "other")
    assert there.permissions == who.permissions == roles.permissions("ADMIN", ["crews:write"])


async def test_a_lost_membership_ends_with_the_rights_version(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    other = await workspaces.create(database, "other")
    boss = await identity.create_user(database, "boss")
    await identity.add_member(database, other, boss, "OWNER")
    await identity.add_member(database, other, owner.user_id, "MEMBER")
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {TOKEN}"))
    there = await authenticator.in_workspace(who, "other")
    assert await authenticator.still_valid(there)
    await identity.remove_member(database, other, owner.user_id)
    authenticator.forget(other)
    with pytest.raises(Forbidden):
        await authenticator.in_workspace(who, "other")
    assert not await authenticator.still_valid(there)
    assert await authenticator.still_valid(who)


# Tickets and open streams


@pytest.fixture(params=["token", "login"])
async def credential(request: pytest.FixtureRequest, authenticator: Authenticator, owner: Owner) -> str:
    return TOKEN if request.param == "token" else (await authenticator.login(PASSWORD, remote=None))[0]


async def test_a_ticket_stands_for_who_asked_for_it(
    authenticator: Authenticator, credential: str, clock: Clock, asking: Asking
) -> None:
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {credential}"))
    ticket = await authenticator.ws_token(who)
    for _ in range(2):
        assert await authenticator.ws_principal(ticket) == who
    clock.forward(15 * 60 + 6)
    with pytest.raises(TokenExpired) as refused:
        await authenticator.ws_principal(ticket)
    assert refused.value.message == "invalid or expired ws-token"


async def test_a_ticket_opens_nothing_but_the_socket(
    authenticator: Authenticator, credential: str, asking: Asking
) -> None:
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {credential}"))
    ticket = await authenticator.ws_token(who)
    for headers in (
        {"Authorization": f"Bearer {ticket}"},
        {"Cookie": f"{COOKIE}={ticket}"},
        {"X_Wede_API_Key": ticket},
    ):
        assert (await refusal(authenticator, asking(**headers))).message == "Invalid or expired token"


async def test_the_socket_takes_tokens_and_logins_too(
    authenticator: Authenticator, credential: str, asking: Asking
) -> None:
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {credential}"))
    assert await authenticator.ws_principal(credential) == who


@pytest.mark.parametrize("token", ["", "wrong", "a.b.c", "\udcff", "a.\ud800.c", "mst_" + "a" * 36])
async def test_a_wrong_ticket_is_refused(authenticator: Authenticator, owner: Owner, token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await authenticator.ws_principal(token)
    assert refused.value.message == "invalid or expired ws-token"


async def test_a_ticket_dies_with_its_token(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {TOKEN}"))
    ticket = await authenticator.ws_token(who)
    await authenticator.ws_principal(ticket)
    await identity.revoke_token(database, owner.token_id)
    authenticator.forget(owner.workspace_id)
    with pytest.raises(Unauthenticated) as refused:
        await authenticator.ws_principal(ticket)
    assert refused.value.details == {"reason": "session_revoked"}
    assert not await authenticator.still_valid(who)


async def test_a_ticket_does_not_outlive_a_token_that_ends(
    database: Database, authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking
) -> None:
    end = datetime.fromtimestamp(clock.now + 60, UTC)
    await identity.create_token(
        database, owner.user_id, owner.workspace_id, "short", tokens.digest("short lived"), expires_at=end
    )
    who = await authenticator.authenticate(asking(Authorization="Bearer short lived"))
    ticket = await authenticator.ws_token(who)
    assert (await authenticator.ws_principal(ticket)).expires_at == end
    assert await authenticator.still_valid(who)
    clock.forward(60)
    with pytest.raises(TokenExpired):
        await authenticator.ws_principal(ticket)
    assert not await authenticator.still_valid(who)


async def test_an_open_stream_of_a_login_ends_with_it(
    authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking
) -> None:
    token, end = await authenticator.login(PASSWORD, remote=None)
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {token}"))
    through_ticket = await authenticator.ws_principal(await authenticator.ws_token(who))
    clock.forward(3600)
    assert await authenticator.still_valid(who)
    assert await authenticator.still_valid(through_ticket)
    clock.now = end
    assert not await authenticator.still_valid(who)
    assert not await authenticator.still_valid(through_ticket)


async def test_a_removed_user_streams_no_more(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    boss = await identity.create_user(database, "boss")
    await identity.add_member(database, owner.workspace_id, boss, "OWNER")
    login, _ = await authenticator.login(PASSWORD, remote=None)
    streams = [await authenticator.authenticate(asking(Authorization=f"Bearer {text}")) for text in (TOKEN, login)]
    await identity.remove_user(database, owner.user_id)
    authenticator.forget(owner.workspace_id)
    assert [await authenticator.still_valid(who) for who in streams] == [False, False]


# The Origin rules on requests


@pytest.mark.parametrize(
    ("method", "headers", "may"),
    [
        ("POST", {}, True),
        ("POST", {"Origin": "http://here.example:8080"}, True),
        ("POST", {"Origin": "https://board.example"}, True),
        ("POST", {"Origin": "https://evil.example"}, False),
        ("DELETE", {"Referer": "https://evil.example/page"}, False),
        ("PATCH", {"Origin": "null"}, False),
        ("GET", {"Origin": "https://evil.example"}, True),
    ],
)
def test_changes_are_guarded(
    authenticators: Callable[..., Authenticator], asking: Asking, method: str, headers: dict[str, str], may: bool
) -> None:
    authenticator = authenticators(allowed_origins=["https://board.example/"])
    if may:
        authenticator.check_change(asking(method, **headers))
        return
    with pytest.raises(Forbidden) as refused:
        authenticator.check_change(asking(method, **headers))
    assert refused.value.message == "request origin not allowed"
    assert refused.value.details == {"reason": "origin_rejected"}


def test_handshakes_are_guarded(authenticator: Authenticator, asking: Asking) -> None:
    authenticator.check_connect(asking())
    authenticator.check_connect(asking(Origin="https://here.example"))
    with pytest.raises(Forbidden):
        authenticator.check_connect(asking(Origin="https://evil.example"))


# Authentication off


async def test_with_authentication_off_everybody_is_the_developer(
    database: Database, authenticators: Callable[..., Authenticator], asking: Asking
) -> None:
    authenticator = authenticators(auth_mode="disabled")
    who = await authenticator.authenticate(asking(Host="localhost:8080"))
    assert (who.name, who.role, who.token_id) == ("dev", "OWNER", None)
    (workspace,) = await workspaces.every(database)
    assert (who.workspace_id, workspace.slug) == (workspace.id, "default")
    assert await authenticator.authenticate(asking(Host="127.0.0.1:1", Authorization="Bearer any")) == who
    assert await authenticator.ws_principal("anything") == who
    assert await authenticator.in_workspace(who, "default") == who
    assert await authenticator.still_valid(who)


@pytest.mark.parametrize(
    "headers",
    [{"Host": "localhost:8080", "Origin": "https://evil.example"}, {"Host": "rebound.evil.example:8080"}],
)
async def test_with_authentication_off_no_foreign_page_may_act(
    authenticators: Callable[..., Authenticator], asking: Asking, headers: dict[str, str]
) -> None:
    error = await refusal(authenticators(auth_mode="disabled"), asking(**headers))
    assert type(error) is Forbidden


async def test_what_was_given_out_with_authentication_off_is_no_key_later(
    database: Database, authenticators: Callable[..., Authenticator], owner: Owner, asking: Asking
) -> None:
    off, on = authenticators(auth_mode="disabled"), authenticators()
    developer = await off.authenticate(asking(Host="localhost"))
    _, secret = await issue_token(database, developer, "made by anybody")
    ticket = await off.ws_token(developer)
    assert (await refusal(on, asking(Authorization=f"Bearer {secret}"))).message == "Invalid user"
    assert not await on.still_valid(developer)
    assert (await refusal(on, asking(Authorization=f"Bearer {ticket}"))).kind == "auth"
    with pytest.raises(Unauthenticated):
        await on.ws_principal(ticket)


# Secrets and the log


async def test_no_secret_reaches_the_log(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking, log_lines: list[Any], tmp_path: Path
) -> None:
    wrong = "a wrong password or token"
    login, _ = await authenticator.login(PASSWORD, remote="192.0.2.1")
    with pytest.raises(Unauthenticated):
        await authenticator.login(wrong, remote="192.0.2.1")
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {TOKEN}"))
    error = await refusal(authenticator, asking(Authorization=f"Bearer {wrong}"))
    ticket = await authenticator.ws_token(who)
    assert [line["event"] for line in log_lines] == ["login.done", "login.refused"]
    told = str(log_lines) + repr(who) + repr(error) + repr(error.details) + msgspec.json.encode(who).decode()
    for secret in (PASSWORD, SIGNING, TOKEN, wrong, login, ticket):
        assert secret not in told
