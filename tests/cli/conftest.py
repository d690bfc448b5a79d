"""The command line as a real process, and a real server process to talk to."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import TOKEN, Serving, url_of

COMMAND = (sys.executable, "-P", "-m", "server.cli")
WITHIN_SECONDS = 40


class Result(NamedTuple):
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout as the one JSON value that it must be."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Awaitable[Result]]


class Running:
    """A command that goes on; its stdout is read line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(WITHIN_SECONDS):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def until(self, part: str) -> str:
        """The first line with this in it; fails when the output ends before."""
        while line := await self.line():
            if part in line:
                return line
        raise AssertionError(f"the output ended before {part!r}")

    async def ended(self) -> Result:
        async with asyncio.timeout(WITHIN_SECONDS):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Result(self.process.returncode, out.decode(), err.decode())


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What every command of a test finds in its environment; nothing of ours."""
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"}


@pytest.fixture
async def start(environment: dict[str, str]) -> AsyncIterator[Start]:
    """Start a command; whatever still runs at the end of the test is killed."""
    running: list[asyncio.subprocess.Process] = []

    async def begin(*words: str, **named: str) -> Running:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment | named,
            limit=1 << 22,
        )
        running.append(process)
        return Running(process)

    yield begin
    for process in running:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@pytest.fixture
def cli(start: Start) -> Cli:
    """Run a command to its end."""

    async def run(*words: str, **named: str) -> Result:
        return await (await start(*words, **named)).ended()

    return run


@pytest.fixture
def on_database(connect: dict[str, Any], data_dir: Path, environment: dict[str, str]) -> None:
    """Commands work on this test's database."""
    environment["MISSIONSTREAM_DATABASE_URL"] = url_of(connect)
    environment["MISSIONSTREAM_DATA_DIR"] = str(data_dir)
    environment["MISSIONSTREAM_ALLOW_UNSAFE_DATABASE"] = "true"


@pytest.fixture
def as_owner(serving: Serving, environment: dict[str, str]) -> Serving:
    """Commands talk to a server in this process, with the owner's token."""
    environment["MISSIONSTREAM_URL"] = serving.url
    environment["MISSIONSTREAM_TOKEN"] = TOKEN
    return serving


@pytest.fixture
def server_process(start: Start, on_database: None) -> Callable[..., Any]:
    """A server in a process of its own on this test's database; killed with SIGKILL when it is left."""

    @asynccontextmanager
    async def serve(port: int = 0) -> AsyncIterator[str]:
        running = await start(
            "serve",
            *("--port", str(port)),
            MISSIONSTREAM_BOOTSTRAP_TOKEN=TOKEN,
            MISSIONSTREAM_DEFAULT_BACKEND="demo",
            DEMO_AGENT_DELAY_SECONDS="0",
            MISSIONSTREAM_LOG_LEVEL="warning",
        )
        try:
            url = await running.line()
            assert url.startswith("http://127.0.0.1:"), (await running.ended()).err
            yield url
        finally:
            running.process.kill()
            await running.process.communicate()

    return serve
