"""Agent processes: what starts one, and how one ends with everything that it started."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from server.agents.memory import Loading
from server.agents.sandbox import Kind, Sandbox
from server.agents.secrecy import Veil
from server.agents.survivors import group_of, sweep
from server.agents.tooling import McpServer

_STDERR_BYTES = 20 << 10
_POLL_SECONDS = 0.02
_SIGNALLED = 128


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """How to start one run's agent. Nothing of the server's own environment reaches it but what stands here.

    `environment` comes on top of what every agent gets (HOME, TMPDIR, XDG_* below `home`, LANG, TERM …); `secrets`
    names those of its variables that must never be shown. `files` are written below `home` unless they exist.
    `sandbox` says how the agent is shut in, `loading` what to mind when it loads a session, `owner` which
    server it belongs to, so that the next one finds what a killed one left. `mcp_servers` are offered to the session.
    """

    run_id: str
    backend: str
    command: tuple[str, ...]
    space: Path
    home: Path
    environment: Mapping[str, str] = {}
    secrets: frozenset[str] = frozenset()
    files: Mapping[str, str] = {}
    model: str | None = None
    sandbox: Sandbox = Sandbox()
    loading: Loading = Loading()
    mode: str | None = None
    owner: str = ""
    mcp_servers: tuple[McpServer, ...] = ()

    @property
    def veil(self) -> Veil:
        """What hides the run's secrets in texts."""
        owners = ((self.environment, self.secrets), *((s.environment, s.secrets) for s in self.mcp_servers))
        return Veil(environment[name] for environment, secrets in owners for name in secrets)


class AgentProcess:
    """A running agent: its pipes, its log's end, and its end. Made by `spawning.spawn`; `close` must be awaited."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        run_id: str,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        stderr: asyncio.StreamReader,
        pipes: Collection[asyncio.BaseTransport],
        sandbox: Kind = "none",
    ) -> None:
        self.pid = popen.pid
        self.sandbox = sandbox
        self.stdin = stdin
        self.stdout = stdout
        self._popen = popen
        self._run_id = run_id
        self._pipes = pipes
        self._tail = bytearray()
        self._drain = asyncio.create_task(self._keep_tail(stderr))

    @property
    def stderr_tail(self) -> str:
        """The last 20 KB that the agent wrote to stderr."""
        return self._tail.decode(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """The exit code (negative: the signal that ended it), None while it runs."""
        return self._told(self._popen.poll())

    async def exited(self) -> int:
        """Wait for the agent's own process to exit; its children may live on and hold its pipes."""
        await _process_end(self.pid)
        while (code := self._popen.poll()) is None:  # noqa: ASYNC110 - where there are no process handles
            await asyncio.sleep(_POLL_SECONDS)
        return self._told(code) or 0

    async def close(self, *, exit_seconds: float = 3, term_seconds: float = 2) -> int:
        """End the agent and all it started: stdin closed, SIGTERM, SIGKILL, sweep. Returns its exit code."""
        self.stdin.close()
        for seconds, sign in ((exit_seconds, signal.SIGTERM), (term_seconds, signal.SIGKILL)):
            if await self._exits_within(seconds):
                break
            self._signal_group(sign)
        code = await self.exited()
        # The group and whoever left it: what still runs now would outlive the turn.
        self._signal_group(signal.SIGKILL)
        await sweep([self._run_id])
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._drain, 1)
        return code

    def release(self) -> None:
        """Let go of the pipes; nothing can be read afterwards."""
        self._drain.cancel()
        for pipe in self._pipes:
            pipe.close()

    async def _exits_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.exited(), seconds)
        except TimeoutError:
            return False
        return True

    def _told(self, code: int | None) -> int | None:
        # Bubblewrap's exit code tells of a signal as shells do.
        return _SIGNALLED - code if self.sandbox == "bubblewrap" and code is not None and code > _SIGNALLED else code

    def _signal_group(self, sign: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.sandbox == "bubblewrap" and sign != signal.SIGKILL:
                # Bubblewrap itself would die at once, and everything in it before it could say goodbye.
                for pid in group_of(self.pid) - {self.pid}:
                    os.kill(pid, sign)
            else:
                os.killpg(self.pid, sign)

    async def _keep_tail(self, stderr: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while chunk := await stderr.read(64 << 10):
                self._tail += chunk
                del self._tail[:-_STDERR_BYTES]


async def _process_end(pid: int) -> None:
    """Return once the child has exited (it need not be reaped yet)."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)
