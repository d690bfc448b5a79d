"""A server as a child process: started, killed and started again at the same address."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from storage.embedded import EmbeddedPostgres
from streams.errors import MissionstreamError

_FOREIGN = ("MISSIONSTREAM_", "DEMO_AGENT_")
_READY_SECONDS = 120.0
_STOP_SECONDS = 20.0
_TAIL_CHARACTERS = 1_500


class ServerFailed(MissionstreamError):
    """The server that was started did not come up."""

    code = "server_failed"


def command(*words: str) -> list[str]:
    """A `missionstream` command line that needs no PATH."""
    return [sys.executable, "-P", "-m", "server.cli", *words]


def environment() -> Mapping[str, str]:
    """Our environment without settings that were meant for another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}


class ChildServer:
    """One data directory's server. After close() neither it nor its database runs."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.url = ""
        self._log = data_dir / "server.log"
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0

    @property
    def pid(self) -> int | None:
        """The server's process, None while there is none."""
        return self._process.pid if self._process else None

    @property
    def token_file(self) -> Path:
        return self.data_dir / "owner-token"

    def token(self) -> str:
        """The owner's token, which the first start made."""
        return self.token_file.read_text("utf-8").strip()

    async def start(self) -> None:
        """Start it and wait until it takes requests, always at the same port. Raises ServerFailed."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command("serve", "--json", "--host", "127.0.0.1", "--port", str(self._port)),
                *("--data-dir", str(self.data_dir)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=environment(),
                start_new_session=True,  # the terminal's Ctrl-C is for us: we stop the server in order
            )
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_READY_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise ServerFailed(f"the server did not start; the end of its log says:\n{self._tail()}")
        self.url = json.loads(line)["url"]
        self._port = int(self.url.rpartition(":")[2])

    async def kill(self) -> None:
        """SIGKILL: it can finish and say nothing. Its database goes on."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None

    async def close(self) -> None:
        """Stop it in order, and the database too if a server that ended otherwise has left it."""
        process, self._process = self._process, None
        if process is not None:
            await _stopped(process)
        if process is None or process.returncode != 0:
            with suppress(MissionstreamError, OSError):
                async with EmbeddedPostgres(self.data_dir, create=False):
                    pass

    def _tail(self) -> str:
        with suppress(OSError):
            return self._log.read_text("utf-8", "replace")[-_TAIL_CHARACTERS:].strip()
        return ""


async def _stopped(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
