"""A server as its operator runs it: a process of its own with its embedded PostgreSQL, started, killed, started again."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from aiohttp import ClientSession

from storage.datadir import DataDirectory
from storage.embedded import attach
from storage.verify import Finding
from tests.conftest import TOKEN, findings
from tests.storage.embedded_support import is_running, kill_left

ROOT = Path(__file__).parents[2]
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")
_START_SECONDS = 40.0


class Node:
    """One server on one data directory. It keeps its port over restarts."""

    def __init__(self, folder: Path, environment: Mapping[str, str] = {}) -> None:
        self.folder = folder
        self.environment = dict(environment)
        self.port = 0
        self.child: subprocess.Popen[bytes] | None = None
        self._starts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    @property
    def directory(self) -> DataDirectory:
        return DataDirectory(self.folder)

    @property
    def output(self) -> str:
        """What the last start has logged."""
        return (self.folder.parent / f"{self.folder.name}.{self._starts}.log").read_text(errors="replace")

    def start(self) -> None:
        """Start, and return when it serves."""
        self._starts += 1
        path = self.folder.parent / f"{self.folder.name}.{self._starts}.log"
        command = [sys.executable, "-P", "-m", "server.cli", "serve", "--port", str(self.port)]
        with path.open("wb") as log:
            self.child = subprocess.Popen(
                [*command, "--data-dir", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith("MISSIONSTREAM_")},
                    "PYTHONPATH": str(ROOT),
                    "MISSIONSTREAM_BOOTSTRAP_TOKEN": TOKEN,
                    "MISSIONSTREAM_DEFAULT_BACKEND": "demo",
                    "DEMO_AGENT_DELAY_SECONDS": "0",
                    **self.environment,
                },
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self.child.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.01)

    def _answers(self) -> bool:
        """Whether it has said its address, and somebody is there."""
        found = _ADDRESS.search(self.output)
        if found is None:
            return False
        self.port = int(found[1])
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, and wait until the kernel has taken everything back."""
        assert self.child is not None
        self.child.kill()
        self.child.wait()

    async def killed_and_started(self) -> None:
        await asyncio.to_thread(self.kill)
        await asyncio.to_thread(self.start)

    async def stopped(self, within_seconds: float = 15.0) -> int:
        """SIGTERM; the exit code."""
        assert self.child is not None
        self.child.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.child.wait, within_seconds)

    def close(self) -> None:
        """End the server, its database and everything that they left."""
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        kill_left(self.folder)
        for process in marked_processes("MISSIONSTREAM_RUN_ID="):
            if process.environment.get("HOME", "").startswith(str(self.folder)):
                os.kill(process.pid, signal.SIGKILL)

    # its database

    def postmaster_pid(self) -> int:
        pid = self.directory.postmaster_pid()
        assert pid is not None
        assert is_running(pid)
        return pid

    async def connect_arguments(self) -> dict[str, Any]:
        return (await attach(self.folder)).connect_kwargs

    async def findings(self) -> list[Finding]:
        """What `verify` finds wrong in this server's database."""
        return await findings(await self.connect_arguments())

    # its owner

    def http(self) -> ClientSession:
        """The owner's session."""
        return ClientSession(self.url, headers=HEADERS)

    async def workspace(self) -> tuple[UUID, str]:
        """The home workspace's id and epoch."""
        async with self.http() as http:
            async with http.get("/api/v1/ws-token") as answer:
                workspace_id = UUID(answer.headers["X-Workspace-ID"])
            async with http.get("/api/control/events", params={"limit": "1"}) as answer:
                return workspace_id, answer.headers["X-Epoch"]


class Marked:
    """A process with a variable in its environment."""

    def __init__(self, pid: int, environment: dict[str, str]) -> None:
        self.pid = pid
        self.environment = environment


def marked_processes(mark: str) -> list[Marked]:
    """Every living process whose environment holds `mark`, such as NAME=value."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                raw = (folder / "environ").read_bytes()
            except OSError:
                continue
            if mark.encode() in raw:
                pairs = (part.partition("=") for part in raw.decode(errors="replace").split("\0"))
                found.append(Marked(int(folder.name), {name: value for name, _, value in pairs}))
    return found
