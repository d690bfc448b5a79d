"""Shared fixtures: one PostgreSQL for the session, a database for each test, and the fold check after each of them."""

import asyncio
import os
import signal
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiohttp import ClientSession, web

from server.app import application, services
from server.core import Core
from server.missions.known import kinds
from server.settings import Settings
from storage import migrations
from storage.embedded import throwaway
from storage.pool import Database
from storage.verify import Finding, verify

TOKEN = "owner-token-for-tests"
_TEMPLATE = "missionstream_template"


class Cluster(NamedTuple):
    """The session's PostgreSQL: how to connect to it, and a way to run work beside the tests' own loops."""

    connect: dict[str, Any]
    run: Callable[[Any], Any]


def pytest_configure(config: pytest.Config) -> None:
    """Take SIGINT even where a shell started us in the background with it ignored: our children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real PostgreSQL with a migrated template database, quick because it would not survive a power cut."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="test cluster", daemon=True)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(120)

    context = throwaway({"fsync": "off", "max_connections": "200"})
    server = run(context.__aenter__())
    try:
        run(_admin(server.connect_kwargs, f"CREATE DATABASE {_TEMPLATE}"))
        run(migrations.migrate(server.connect_kwargs | {"database": _TEMPLATE}))
        yield Cluster(server.connect_kwargs, run)
    finally:
        run(context.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _admin(connect: dict[str, Any], statement: str) -> None:
    connection = await asyncpg.connect(**connect)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def fresh_database(cluster: Cluster) -> AsyncIterator[dict[str, Any]]:
    """An empty, migrated database; on leaving, its logs must fold to its rows."""
    name = f"test_{uuid4().hex[:12]}"
    await _admin(cluster.connect, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY wal_log")
    connect = cluster.connect | {"database": name}
    try:
        yield connect
        assert await findings(connect) == []
    finally:
        await _admin(cluster.connect, f"DROP DATABASE {name} WITH (FORCE)")


async def findings(connect: dict[str, Any]) -> list[Finding]:
    """What `verify` finds wrong in a database."""
    database = Database(connect, writers=1, readers=1)
    await database.open()
    try:
        return [found async for found in verify(database, kinds()) if isinstance(found, Finding)]
    finally:
        await database.close()


@pytest.fixture
async def connect(cluster: Cluster) -> AsyncIterator[dict[str, Any]]:
    """How to connect to this test's own database."""
    async with fresh_database(cluster) as arguments:
        yield arguments


@pytest.fixture
async def database(connect: dict[str, Any]) -> AsyncIterator[Database]:
    """This test's own database."""
    database = Database(connect)
    await database.open()
    yield database
    await database.close()


def url_of(connect: dict[str, Any]) -> str:
    """The connection arguments as a database URL."""
    credentials = f"{connect['user']}:{connect['password']}"
    return f"postgresql://{credentials}@/{connect['database']}?host={connect['host']}&port={connect['port']}"


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory of the test's own."""
    with tempfile.TemporaryDirectory(prefix="missionstream-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


class Serving(NamedTuple):
    """A server in this process: its services, its address, and the owner's headers."""

    core: Core
    url: str
    headers: dict[str, str]
    workspace_id: UUID


@asynccontextmanager
async def serving_on(connect: dict[str, Any], data_dir: Path, **settings: Any) -> AsyncIterator[Serving]:
    """Serve on a free port until left; nothing is drained."""
    made = Settings(
        database_url=url_of(connect),
        data_dir=data_dir,
        allow_unsafe_database=True,
        bootstrap_token=TOKEN,
        heartbeat_seconds=settings.pop("heartbeat_seconds", 0.3),
        **settings,
    )
    environment = {**os.environ, "DEMO_AGENT_DELAY_SECONDS": "0", "MISSIONSTREAM_DEFAULT_BACKEND": "demo"}
    listening = socket.create_server(("127.0.0.1", 0))
    host, port = listening.getsockname()
    url = f"http://{host}:{port}"
    async with services(made, environment=environment, url=url) as core:
        runner = web.AppRunner(application(core), access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        try:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with ClientSession() as http, http.get(f"{url}/api/v1/ws-token", headers=headers) as answer:
                workspace_id = UUID(answer.headers["X-Workspace-ID"])
            yield Serving(core, url, headers, workspace_id)
        finally:
            await runner.cleanup()


@pytest.fixture
async def serving(connect: dict[str, Any], data_dir: Path) -> AsyncIterator[Serving]:
    """A server in this process on this test's own database; the demo agent answers at once."""
    async with serving_on(connect, data_dir) as server:
        yield server


@pytest.fixture
async def http(serving: Serving) -> AsyncIterator[ClientSession]:
    """The owner's HTTP session."""
    async with ClientSession(serving.url, headers=serving.headers) as session:
        yield session
