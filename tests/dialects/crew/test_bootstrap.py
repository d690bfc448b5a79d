"""Claiming a new server over HTTP: once, early, and only while nobody else is in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientSession, CookieJar, web

from server.app import application, services
from server.core import Core
from server.dialects.crew.ids import read
from server.settings import Settings
from storage import founding, identity
from storage.pool import Database
from tests.conftest import url_of
from tests.dialects.control.driving import Answer, ask

BOOTSTRAP = "/api/v1/bootstrap"
ADA = {"full_name": " Ada Lovelace ", "email": "Ada@Example.com", "password": "analytical"}
Start = Callable[..., AbstractAsyncContextManager["Young"]]


class Young(NamedTuple):
    """A server after its very first start, whose owner's token lies in a file."""

    core: Core
    http: ClientSession
    token: str

    async def claim(self, **fields: Any) -> Answer:
        return await ask(self.http, "POST", BOOTSTRAP, json=ADA | fields)


@pytest.fixture
def start(connect: dict[str, Any], data_dir: Path) -> Start:
    @asynccontextmanager
    async def starting(**settings: Any) -> AsyncIterator[Young]:
        made = Settings(database_url=url_of(connect), data_dir=data_dir, allow_unsafe_database=True, **settings)
        async with services(made, environment={"PATH": ""}) as core:
            runner = web.AppRunner(application(core), access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            file = data_dir / "owner-token"
            async with ClientSession(url, cookie_jar=CookieJar(unsafe=True)) as http:
                yield Young(core, http, file.read_text().strip() if file.exists() else "")
            await runner.cleanup()

    return starting


async def test_the_first_user_becomes_the_owner(start: Start) -> None:
    async with start() as young:
        answer = await young.claim()
        assert answer.status == 201
        made = answer.json
        assert set(made) == {"user_id", "email", "workspace_id", "cli_token"}
        assert made["email"] == "ada@example.com"
        headers = {"Authorization": f"Bearer {made['cli_token']}"}
        validated = (await ask(young.http, "GET", "/api/v1/auth/cli-token/validate", headers=headers)).json
        assert (validated["user_id"], validated["user_email"]) == (made["user_id"], "ada@example.com")
        assert (validated["user_name"], validated["role"]) == ("Ada Lovelace", "OWNER")
        # by the cookie alone
        [workspace] = (await ask(young.http, "GET", "/api/v1/workspaces")).json
        assert (workspace["id"], workspace["slug"], workspace["currentUserRole"]) == (
            made["workspace_id"],
            "default",
            "OWNER",
        )
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("authjs.session-token=")
        assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
        owner = await founding.home(young.core.database)
        assert owner is not None
        assert owner.owner_id == read(made["user_id"])


async def test_it_happens_once(start: Start) -> None:
    async with start() as young:
        answers = await asyncio.gather(*(young.claim(email=f"x{number}@example.com") for number in range(6)))
        assert sorted(answer.status for answer in answers) == [201] + [410] * 5
        late = await young.claim()
        assert late.status == 410
        assert late.json["error"] == late.json["detail"]
        assert late.json["error"].startswith("This server has its owner")
    async with start() as young:
        assert (await young.claim()).status == 410


async def test_after_the_operators_token_was_used_it_is_over(start: Start) -> None:
    async with start() as young:
        headers = {"Authorization": f"Bearer {young.token}"}
        assert (await ask(young.http, "GET", "/api/v1/workspaces", headers=headers)).status == 200
        async with asyncio.timeout(10):
            while (await young.claim(password="short")).status != 410:
                await asyncio.sleep(0.02)  # its use is noted beside the request
        assert (await young.claim()).status == 410


async def test_the_file_s_token_goes_on_working(start: Start) -> None:
    async with start() as young:
        assert (await young.claim()).status == 201
        headers = {"Authorization": f"Bearer {young.token}"}
        assert (await ask(young.http, "GET", "/api/v1/workspaces", headers=headers)).status == 200


@pytest.mark.parametrize(
    "settings",
    [{"bootstrap_token": "a token of the operator's own"}, {"password": "open sesame"}, {"auth": "off"}],
    ids=lambda settings: next(iter(settings)),
)
async def test_a_server_with_a_way_in_of_the_operators_choice_is_never_open(
    start: Start, settings: dict[str, str]
) -> None:
    async with start(**settings) as young:
        assert (await young.claim()).status == 410


async def test_after_a_quarter_of_an_hour_it_is_over(start: Start) -> None:
    async with start() as young:
        await _age(young.core.database, "14 minutes 50 seconds")
        assert (await young.claim(password="short")).status == 400
        await _age(young.core.database, "11 seconds")
        assert (await young.claim(password="short")).status == 410
        assert (await young.claim()).status == 410


async def _age(database: Database, by: str) -> None:
    async with database.reading() as connection:
        await connection.execute(f"UPDATE users SET created_at = created_at - interval '{by}'")


async def test_a_second_user_or_a_token_closes_it(start: Start) -> None:
    async with start() as young:
        user_id = await identity.create_user(young.core.database, "second")
        assert (await young.claim()).status == 410
        await identity.remove_user(young.core.database, user_id)
        assert (await young.claim()).status == 410


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"full_name": " A "}, "full_name must be between 2 and 100 characters"),
        ({"full_name": None}, "full_name must be between 2 and 100 characters"),
        ({"email": "ada"}, "email must be an email address"),
        ({"email": "ada@example"}, "email must be an email address"),
        ({"email": "ada@example..com"}, "email must be an email address"),
        ({"email": "x" * 250 + "@example.com"}, "email must be an email address"),
        ({"password": "1234567"}, "password must be at least 8 characters"),
        ({"password": 12345678}, "Invalid JSON body"),
    ],
)
async def test_a_bad_claim_is_400_and_leaves_it_open(start: Start, fields: dict[str, Any], text: str) -> None:
    async with start() as young:
        answer = await young.claim(**fields)
        assert (answer.status, answer.json["error"]) == (400, text)
        assert (await young.claim()).status == 201


async def test_a_page_of_a_name_that_leads_here_claims_nothing(start: Start) -> None:
    async with start() as young:
        for headers in (
            {"Origin": "http://rebound.example", "Host": "rebound.example"},
            {"Origin": "https://elsewhere.example"},
            {"Referer": "https://elsewhere.example/"},
        ):
            answer = await ask(young.http, "POST", BOOTSTRAP, json=ADA, headers=headers)
            assert (answer.status, answer.json["error"]) == (403, "request origin not allowed")
        assert (await young.claim()).status == 201


async def test_whoever_tries_too_often_has_to_wait(start: Start) -> None:
    async with start() as young:
        statuses = [(await young.claim(password="short")).status for _ in range(31)]
        assert statuses == [400] * 30 + [429]


async def test_no_password_is_kept(start: Start) -> None:
    async with start() as young:
        assert (await young.claim()).status == 201
        async with young.core.database.reading() as connection:
            rows = [dict(row) for row in await connection.fetch("SELECT * FROM users")]
        assert "analytical" not in str(rows)
        assert {"id", "name", "email", "created_at", "removed_at"} == set(rows[0])
