"""Tokens that users make for themselves: shown once, narrowed, repeated by key, listed, revoked."""

import asyncio
import re
from typing import Any

import pytest
from aiohttp import ClientSession

from server.auth import tokens
from server.auth.throttle import Throttle
from server.dialects.crew.ids import read, spell
from storage import identity
from tests.conftest import Serving
from tests.dialects.control.driving import Answer, ask
from tests.dialects.crew.people import CREWS, Person, Team, scoped

pytestmark = pytest.mark.asyncio(loop_scope="module")
MINT, LIST, VALIDATE = "/api/v1/auth/cli-token", "/api/v1/auth/cli-tokens", "/api/v1/auth/cli-token/validate"


@pytest.fixture(autouse=True)
def fresh_bucket(shared: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test may ask as often as an address may in a minute."""
    monkeypatch.setattr(shared.core.authenticator, "_requests", Throttle(30, message="too many requests for tokens"))


async def with_token(shared: Serving, token: str, method: str, path: str, **options: Any) -> Answer:
    async with ClientSession(shared.url, headers={"Authorization": f"Bearer {token}"}) as http:
        return await ask(http, method, path, **options)


async def test_a_token_is_made_and_works_at_once(shared: Serving, boss: Person) -> None:
    answer = await boss.ask("POST", MINT, {"name": "laptop"})
    made = answer.json
    assert answer.status == 200
    assert set(made) == {"token", "id", "name", "tier", "created_at"}
    assert (made["name"], made["tier"]) == ("laptop", "STANDARD")
    assert re.fullmatch(r"c[a-z0-9]{25}", made["id"])
    validated = await with_token(shared, made["token"], "GET", VALIDATE)
    assert validated.json["valid"] is True
    here = {"workspace_id": spell(boss.workspace_id)}
    assert (await with_token(shared, made["token"], "GET", CREWS, params=here)).status == 200
    told = await with_token(shared, made["token"], "POST", CREWS, params=here, json={"name": "By", "slug": "by-token"})
    assert told.status == 201


async def test_no_body_is_needed(boss: Person) -> None:
    answer = await ask(boss.http, "POST", MINT)
    assert (answer.status, answer.json["name"]) == (200, "CLI token")


async def test_scopes_and_an_end_are_told_and_kept(shared: Serving, boss: Person) -> None:
    wish = {"name": "ci", "scopes": ["crews:write", "agents:read"], "expires_in_seconds": 3600}
    made = (await boss.ask("POST", MINT, wish)).json
    assert made["scopes"] == ["crews:write", "agents:read"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["expires_at"])
    validated = (await with_token(shared, made["token"], "GET", VALIDATE)).json
    assert (validated["scopes"], validated["expires_at"]) == (made["scopes"], made["expires_at"])
    denied = await with_token(shared, made["token"], "POST", MINT, json={})
    assert (denied.status, denied.json["error"]) == (403, "Forbidden")


@pytest.mark.parametrize(
    "wish",
    [
        {"scopes": ["everything"]},
        {"expires_in_seconds": 0},
        {"expires_in_seconds": 10**12},
        {"name": "x" * 201},
        {"scopes": "crews:write"},
        {"name": 1},
    ],
)
async def test_what_no_token_can_be_is_400(boss: Person, wish: dict[str, Any]) -> None:
    assert (await boss.ask("POST", MINT, wish)).status == 400


async def test_a_viewers_narrow_token_makes_none_that_is_an_owners_elsewhere(shared: Serving, team: Team) -> None:
    database, secret = shared.core.database, tokens.generate()
    user_id = await identity.create_user(database, "both")
    await identity.add_member(database, team.workspace_id, user_id, "VIEWER")
    await identity.add_member(database, team.elsewhere, user_id, "OWNER")
    await identity.create_token(
        database, user_id, team.workspace_id, "t", tokens.digest(secret), scopes=["tokens:manage"]
    )
    denied = await with_token(shared, secret, "POST", MINT, json={})
    assert (denied.status, denied.json["error"]) == (403, "a token cannot make one with more rights than its own")
    narrow = await with_token(shared, secret, "POST", MINT, json={"scopes": ["tokens:manage"]})
    there = {"workspace_id": spell(team.elsewhere)}
    made = await with_token(shared, narrow.json["token"], "POST", CREWS, params=there, json={"name": "B", "slug": "b"})
    assert (narrow.status, made.status) == (200, 403)


async def test_a_token_makes_none_with_more_rights(shared: Serving, team: Team) -> None:
    headers = await scoped(shared, team.workspace_id, "OWNER", "tokens:manage")
    secret = headers["Authorization"].removeprefix("Bearer ")
    assert (await with_token(shared, secret, "POST", MINT, json={"scopes": ["*"]})).status == 403
    assert (await with_token(shared, secret, "POST", MINT, json={})).status == 403
    assert (await with_token(shared, secret, "POST", MINT, json={"scopes": ["tokens:manage"]})).status == 200


async def test_validate_tells_whose_it_is(shared: Serving, team: Team) -> None:
    database = shared.core.database
    user_id = await identity.create_user(database, "Ada", "ada@example.com")
    await identity.add_member(database, team.workspace_id, user_id, "VIEWER")
    secret = tokens.generate()
    await identity.create_token(database, user_id, team.workspace_id, "t", tokens.digest(secret))
    assert (await with_token(shared, secret, "GET", VALIDATE)).json == {
        "valid": True,
        "user_id": spell(user_id),
        "user_email": "ada@example.com",
        "user_name": "Ada",
        "workspace_id": spell(team.workspace_id),
        "role": "VIEWER",
    }


async def test_ones_own_tokens_are_listed_without_secrets_and_revoked(shared: Serving, team: Team) -> None:
    manager = team["MANAGER"]
    made = [(await manager.ask("POST", MINT, {"name": name})).json for name in ("one", "two")]
    listed = (await manager.get(LIST))["data"]
    assert [row["name"] for row in listed] == ["two", "one", "test"]
    assert listed[0] == {key: made[1][key] for key in made[1] if key != "token"} | {"last_used_at": None}
    assert all(token["token"] not in str(listed) for token in made)
    path = f"{LIST}/{made[0]['id']}"
    other = await team["ADMIN"].ask("DELETE", path)
    assert other.status == 404
    assert (await manager.ask("DELETE", path)).json == {"status": "revoked"}
    assert (await manager.ask("DELETE", path)).status == 404
    gone = await with_token(shared, made[0]["token"], "GET", VALIDATE)
    assert (gone.status, gone.json["error"]) == (401, "session_revoked")
    assert [row["name"] for row in (await manager.get(LIST))["data"]] == ["two", "test"]


async def test_a_repeated_key_gets_the_same_token_and_no_secret_is_stored(shared: Serving, boss: Person) -> None:
    wish = {"name": "repeated", "expires_in_seconds": 3600}
    answers = await asyncio.gather(*(boss.ask("POST", MINT, wish, Idempotency_Key="mint") for _ in range(6)))
    [made] = {answer.text for answer in answers}
    secret = answers[0].json["token"]
    assert (await with_token(shared, secret, "GET", VALIDATE)).status == 200
    assert [row["name"] for row in (await boss.get(LIST))["data"]].count("repeated") == 1
    assert (await boss.ask("POST", MINT, {"name": "else"}, Idempotency_Key="mint")).status == 422
    other = (await boss.ask("POST", MINT, wish, Idempotency_Key="another")).json
    assert other["token"] != secret
    async with shared.core.database.reading() as connection:
        stored = [row["answer"] for row in await connection.fetch("SELECT answer FROM answers")]
    assert any("repeated" in answer for answer in stored)
    assert secret not in str(stored)
    assert secret in made


async def test_keys_of_two_users_make_two_tokens(team: Team) -> None:
    made = [
        (await team[role].ask("POST", MINT, {"name": "same"}, Idempotency_Key="same")).json["token"]
        for role in ("ADMIN", "MEMBER")
    ]
    assert made[0] != made[1]


async def test_a_key_whose_secret_cannot_be_told_again_says_so(
    shared: Serving, boss: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await boss.ask("POST", MINT, {}, Idempotency_Key="rotated")).status == 200
    monkeypatch.setattr(shared.core.authenticator._sessions, "_secret", b"another signing secret")
    answer = await boss.ask("POST", MINT, {}, Idempotency_Key="rotated")
    assert (answer.status, "cannot be shown again" in answer.json["error"]) == (409, True)


async def test_an_address_may_ask_so_often_in_a_minute(shared: Serving, boss: Person) -> None:
    statuses = [(await boss.ask("POST", MINT, {"name": "many"})).status for _ in range(31)]
    assert statuses == [200] * 30 + [429]
    answer = await boss.ask("POST", MINT, {})
    assert (answer.status, answer.json["error"]) == (429, "too many requests for tokens")
    assert int(answer.headers["Retry-After"]) > 0
    assert (await boss.ask("GET", LIST)).status == 200


async def test_a_ticket_for_the_socket_is_had_by_crews_cookie(shared: Serving, boss: Person) -> None:
    made = (await boss.ask("POST", MINT, {"name": "browser"})).json
    async with ClientSession(shared.url, cookies={"authjs.session-token": made["token"]}) as http:
        answer = await ask(http, "GET", "/api/v1/ws-token")
    assert answer.status == 200
    who = await shared.core.authenticator.ws_principal(answer.json["token"])
    assert who.token_id == read(made["id"])
