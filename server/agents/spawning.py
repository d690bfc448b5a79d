"""Starting an agent: an environment of our own, a home, a sandbox, bounds on what its processes may use."""

import asyncio
import contextlib
import json
import os
import resource
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import structlog

from server.agents.process import AgentProcess, Launch
from server.agents.programs import folders_of
from server.agents.sandbox import Kind, wrapped
from server.agents.survivors import OWNER_MARKER, RUN_MARKER
from streams.errors import AgentFailed

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

log = structlog.get_logger()


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
        **({OWNER_MARKER: launch.owner} if launch.owner else {}),
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


async def spawn(launch: Launch) -> AgentProcess:
    """Start the agent in its space, in a session and a sandbox of its own.

    AgentFailed, with a text for people, if it cannot.
    """
    bubblewrap = await launch.sandbox.program()
    try:
        popen, gate = _start(launch, bubblewrap)
    except (OSError, ValueError) as error:
        raise AgentFailed(f"The agent could not be started: {error}. Check the backend's command.") from error
    try:
        if gate is not None:
            await _shut_in(popen, gate)
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
    kind: Kind = "bubblewrap" if bubblewrap else "none"
    log.debug("agent started", run_id=launch.run_id, backend=launch.backend, pid=popen.pid, sandbox=kind)
    return AgentProcess(popen, launch.run_id, stdin, stdout, stderr, (writing, reading, draining), kind)


class _Gate(NamedTuple):
    """Our ends of two pipes: what bubblewrap tells about its first process, and the word that lets it go on."""

    told: int
    opening: int


def _start(launch: Launch, bubblewrap: str | None) -> tuple[subprocess.Popen[bytes], _Gate | None]:
    # In the event loop's thread: started in another, a process could get lost when the caller is cancelled.
    _prepare_home(launch)
    environment = environment_of(launch)
    if bubblewrap is None:
        return _popen(launch, launch.command, environment), None
    told, telling = os.pipe()
    waiting, opening = os.pipe()
    try:
        line = wrapped(
            bubblewrap,
            launch.command,
            space=launch.space,
            home=launch.home,
            readable=[*launch.sandbox.readable, *_programs(launch, environment["PATH"])],
            hidden=launch.sandbox.hidden,
            options=("--info-fd", str(telling), "--block-fd", str(waiting)),
        )
        return _popen(launch, line, environment, telling, waiting), _Gate(told, opening)
    except BaseException:
        os.close(told)
        os.close(opening)
        raise
    finally:
        os.close(telling)
        os.close(waiting)


def _programs(launch: Launch, path: str) -> Iterator[Path]:
    """The folders of the agent's own program and of the MCP servers that it starts."""
    yield from folders_of(launch.command[0], path)
    for server in launch.mcp_servers:
        yield from folders_of(server.command, path)
        yield from map(Path, filter(None, server.environment.get("PYTHONPATH", "").split(os.pathsep)))


def _popen(
    launch: Launch, command: Sequence[str], environment: Mapping[str, str], *handles: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=launch.space,
        env=environment,
        start_new_session=True,
        pass_fds=handles,
    )


async def _shut_in(popen: subprocess.Popen[bytes], gate: _Gate) -> None:
    """Set the bounds of the sandbox's first process, of which the agent has them, and let it start the agent."""
    try:
        told = await asyncio.to_thread(_all_of, gate.told)
        try:
            _limit(json.loads(told)["child-pid"])
        except (ValueError, KeyError):
            assert popen.stderr is not None
            said = (await asyncio.to_thread(popen.stderr.read)).decode(errors="replace").strip()[:500]
            raise AgentFailed(f"The agent's sandbox could not be made: {said}. See `missionstream doctor`.") from None
    finally:
        os.close(gate.opening)


def _all_of(handle: int) -> bytes:
    with os.fdopen(handle, "rb") as pipe:
        return pipe.read()


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
