"""Agent processes: started with an environment of our own, ended with everything they started."""

import asyncio
import contextlib
import os
import resource
import select
import signal
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO

import msgspec
import structlog

from server.agents.secrecy import Veil
from server.agents.tooling import McpServer
from streams.errors import AgentFailed

RUN_MARKER = "MISSIONSTREAM_RUN_ID"

_STDERR_BYTES = 20 << 10
_POLL_SECONDS = 0.02
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
_HOME_FOLDERS = {
    "TMPDIR": "tmp",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
    "XDG_CACHE_HOME": ".cache",
    "XDG_RUNTIME_DIR": ".run",
}
_LIMITS = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_NOFILE: 16384,
    resource.RLIMIT_FSIZE: 1 << 30,
}
_MAX_PROCESSES = 4096
_MAX_SWEEPS = 20
_DEATH_MILLISECONDS = 1000

log = structlog.get_logger()


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """How to start one run's agent. Nothing of the server's own environment reaches it but what stands here.

    `environment` comes on top of what every agent gets (HOME, TMPDIR, XDG_* below `home`, LANG, TERM …); `secrets`
    names those of its variables that must never be shown. `mcp_servers` are offered to the session. `files` are written below `home` unless they exist.
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
    mcp_servers: tuple[McpServer, ...] = ()

    @property
    def veil(self) -> Veil:
        """What hides the run's secrets in texts."""
        owners = ((self.environment, self.secrets), *((s.environment, s.secrets) for s in self.mcp_servers))
        return Veil(environment[name] for environment, secrets in owners for name in secrets)


def environment_of(launch: Launch) -> dict[str, str]:
    """The agent's whole environment."""
    return {
        "PATH": _DEFAULT_PATH,
        "HOME": str(launch.home),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
        **{name: str(launch.home / folder) for name, folder in _HOME_FOLDERS.items()},
        **launch.environment,
        RUN_MARKER: launch.run_id,
    }


def _prepare_home(launch: Launch) -> None:
    launch.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in _HOME_FOLDERS.values():
        (launch.home / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in launch.files.items():
        target = launch.home / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not target.exists():
            target.write_text(text)


class AgentProcess:
    """A running agent: its pipes, its log's end, and its end. Made by `spawn`; `close` must be awaited."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        run_id: str,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        stderr: asyncio.StreamReader,
        pipes: Collection[asyncio.BaseTransport],
    ) -> None:
        self.pid = popen.pid
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
        return self._popen.poll()

    async def exited(self) -> int:
        """Wait for the agent's own process to exit; its children may live on and hold its pipes."""
        await _process_end(self.pid)
        while (code := self._popen.poll()) is None:  # noqa: ASYNC110 - where there are no process handles
            await asyncio.sleep(_POLL_SECONDS)
        return code

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

    def _signal_group(self, sign: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, sign)

    async def _keep_tail(self, stderr: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while chunk := await stderr.read(64 << 10):
                self._tail += chunk
                del self._tail[:-_STDERR_BYTES]


async def spawn(launch: Launch) -> AgentProcess:
    """Start the agent in its space, in a session of its own. AgentFailed, with a text for people, if it cannot."""
    try:
        popen = _start(launch)
    except (OSError, ValueError) as error:
        raise AgentFailed(f"The agent could not be started: {error}. Check the backend's command.") from error
    try:
        _limit(popen.pid)
        assert popen.stdin is not None
        assert popen.stdout is not None
        assert popen.stderr is not None
        stdin, writing = await _writer(popen.stdin)
        stdout, reading = await _reader(popen.stdout)
        stderr, draining = await _reader(popen.stderr)
    except BaseException:
        popen.kill()
        popen.wait()
        raise
    log.debug("agent started", run_id=launch.run_id, backend=launch.backend, pid=popen.pid)
    return AgentProcess(popen, launch.run_id, stdin, stdout, stderr, (writing, reading, draining))


def _start(launch: Launch) -> subprocess.Popen[bytes]:
    # In the event loop's thread: started in another, a process could get lost when the caller is cancelled.
    _prepare_home(launch)
    return subprocess.Popen(
        launch.command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=launch.space,
        env=environment_of(launch),
        start_new_session=True,
    )


def _limit(pid: int) -> None:
    # Set from outside, at once: the agent waits for our first line, and code between fork and exec is not safe
    # in a process with threads.
    limits = _LIMITS if os.geteuid() == 0 else {**_LIMITS, resource.RLIMIT_NPROC: _MAX_PROCESSES}
    for what, wanted in limits.items():
        with contextlib.suppress(OSError, ValueError):
            hard = resource.prlimit(pid, what)[1]
            bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.prlimit(pid, what, (bound, bound))


async def _reader(pipe: IO[bytes]) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader, transport


async def _writer(pipe: IO[bytes]) -> tuple[asyncio.StreamWriter, asyncio.BaseTransport]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), pipe
    )
    return asyncio.StreamWriter(transport, protocol, None, loop), transport


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


async def sweep(run_ids: Collection[str]) -> int:
    """Kill every process that carries one of these runs' markers, wherever it moved; returns how many."""
    marks = frozenset(f"{RUN_MARKER}={run_id}".encode() for run_id in run_ids)
    return await asyncio.to_thread(_sweep, marks) if marks else 0


def _sweep(marks: frozenset[bytes]) -> int:
    killed: set[int] = set()
    # A process may fork while we look: look again until nothing new is found.
    for _ in range(_MAX_SWEEPS):
        pids = {int(entry) for entry in os.listdir("/proc") if entry.isdigit()} - killed - {os.getpid()}
        found = {pid for pid in pids if _kill_if_marked(pid, marks)}
        killed |= found
        if not found:
            break
    return len(killed)


def _kill_if_marked(pid: int, marks: frozenset[bytes]) -> bool:
    try:
        # The handle keeps the number from meaning another process between the look and the kill.
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        if marks.isdisjoint(environ.split(b"\0")):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        dying = select.poll()
        dying.register(handle, select.POLLIN)
        dying.poll(_DEATH_MILLISECONDS)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
