"""A real database for all these tests, emptied for each test, and authenticators over it."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
import structlog
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from server.auth import tokens
from server.auth.authenticator import Authenticator
from storage import founding, identity, migrations
from storage.embedded import throwaway
from storage.pool import Database
from tests.auth.world import PASSWORD, SIGNING, TOKEN, Asking, Clock, Owner


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def connect() -> AsyncIterator[dict[str, Any]]:
    async with throwaway() as postgres:
        await migrations.migrate(postgres.connect_kwargs)
        yield postgres.connect_kwargs


@pytest.fixture
async def database(connect: dict[str, Any]) -> AsyncIterator[Database]:
    connection = await asyncpg.connect(**connect)
    await connection.execute("DELETE FROM users; DELETE FROM workspaces; DELETE FROM streams")
    await connection.close()
    database = Database(connect, writers=1, readers=6)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def authenticators(database: Database, clock: Clock) -> AsyncIterator[Callable[..., Authenticator]]:
    """Makes authenticators that share the clock, and closes them."""
    made: list[Authenticator] = []

    def make(**given: Any) -> Authenticator:
        options: dict[str, Any] = {"password": PASSWORD, "jwt_secret": SIGNING, "clock": clock, "monotonic": clock}
        made.append(Authenticator(database, **(options | given)))
        return made[-1]

    yield make
    for authenticator in made:
        await authenticator.close()


@pytest.fixture
def authenticator(authenticators: Callable[..., Authenticator]) -> Authenticator:
    return authenticators()


@pytest.fixture
def log_lines() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def asking() -> Asking:
    """Builds a request from its headers."""

    def ask(method: str = "GET", path: str = "/", **headers: str) -> web.Request:
        named = {"Host": "here.example:8080"} | {name.replace("_", "-"): value for name, value in headers.items()}
        return make_mocked_request(method, path, headers=named)

    return ask


@pytest.fixture
async def owner(database: Database) -> Owner:
    await founding.adopt_token(database, "bootstrap", tokens.digest(TOKEN), as_first=False)
    holder = await identity.find_by_hash(database, tokens.digest(TOKEN))
    assert holder is not None
    return Owner(holder.user_id, holder.workspace_id, holder.token_id)
