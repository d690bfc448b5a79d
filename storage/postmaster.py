"""One PostgreSQL server process: starting it, knowing it again, ending it and what it left behind."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

import structlog

from storage.datadir import PORT, DataDirectory
from storage.pgbinaries import Binaries
from storage.processes import Process, process, processes
from streams.errors import Unavailable

log = structlog.get_logger()

LOG_BYTES = 10 * 1024 * 1024
_TAIL_BYTES = 4096
_DEFAULTS = MappingProxyType(
    {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "port": str(PORT),
        "max_connections": "100",
        "shared_buffers": "128MB",
        "huge_pages": "off",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "wal_compression": "on",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "10min",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_destination": "stderr",
        "logging_collector": "off",
        "log_min_messages": "warning",
        "log_checkpoints": "off",
        "log_line_prefix": "%m [%p] ",
    }
)
# How to end the postmaster, the kinder first, with the seconds that each gets: fast, immediate, by force.
_STOPS = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
# Backends of a dead postmaster mostly notice and leave (signal 0); a busy one must be told, a stopped one killed.
_STRAY_STOPS = ((0, 0.5), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 5.0))


class DatabaseFailed(Unavailable):
    """The embedded database does not start; its log in the data directory (postgres.log) says why."""

    code = "database_failed"


def belongs(found: Process | None, directory: DataDirectory) -> bool:
    """Whether a process is PostgreSQL at work on this directory's cluster, and nothing else.

    Its working directory decides; where the kernel hides that, the mark that our start options put in its title.
    """
    if found is None or not directory.cluster.exists() or found.uid != directory.cluster.stat().st_uid:
        return False
    if found.folder is None or found.executable is None:
        return found.name == "postgres" and directory.mark in found.command
    program = Path(found.executable.removesuffix(" (deleted)")).name
    return program == "postgres" and found.folder == str(directory.cluster)


async def gone(is_alive: Callable[[], bool], within_seconds: float) -> bool:
    """Wait until `is_alive` is false; False when it still is after so many seconds."""
    deadline, pause = time.monotonic() + within_seconds, 0.005
    while is_alive():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return True


class Postmaster:
    """The server process of one data directory: our child, or one that an earlier server of ours left."""

    def __init__(self, directory: DataDirectory, pid: int, child: "subprocess.Popen[bytes] | None" = None) -> None:
        self.pid = pid
        self._directory = directory
        self._child = child

    @classmethod
    def launch(cls, directory: DataDirectory, binaries: Binaries, settings: Mapping[str, str]) -> "Postmaster":
        """Start PostgreSQL without waiting until it answers."""
        with open(_fresh_log(directory.log), "ab") as output:
            child = begin(directory, command(directory, binaries, settings), output)
        return cls(directory, child.pid, child)

    @classmethod
    def find(cls, directory: DataDirectory) -> "Postmaster | None":
        """The running server that PostgreSQL's pid file names, when it really is one of this directory."""
        pid = directory.postmaster_pid()
        return cls(directory, pid) if pid and belongs(process(pid), directory) else None

    def is_alive(self) -> bool:
        if self._child:
            return self._child.poll() is None
        return belongs(process(self.pid), self._directory)

    def runs_with(self, expected: Iterable[str]) -> bool:
        """Whether it was started with exactly this command, which PostgreSQL records."""
        program, *arguments = expected
        recorded = (self._directory.cluster / "postmaster.opts").read_text().rstrip("\n")
        return recorded == " ".join([program, *(f'"{argument}"' for argument in arguments)])

    async def stop(self) -> None:
        """End it: fast (clients are disconnected, everything is saved), and harder only if that takes too long."""
        for number, seconds in _STOPS:
            if not self.is_alive():
                return
            _send(self.pid, number)
            if await gone(self.is_alive, seconds):
                return
            log.warning("database_stop_slow", pid=self.pid, seconds=seconds)
        raise DatabaseFailed(f"PostgreSQL (process {self.pid}) cannot be ended; end it by hand.")


def begin(directory: DataDirectory, arguments: list[str], output: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start one of PostgreSQL's programs as the directory's account, in a session of its own: Ctrl-C is for us.

    Not through asyncio: uvloop cannot start a process as another user, and a child may outlive the loop.
    """
    try:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"LC_ALL": "C", "PATH": os.defpath},  # ours holds secrets and PG* variables
            cwd="/",
            start_new_session=True,
            **directory.account.process_options,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise DatabaseFailed(
            f"{arguments[0]} cannot be started as user {directory.account.name}: {error}. "
            "If its file system forbids programs (noexec), name another directory with --data-dir."
        ) from error


def command(directory: DataDirectory, binaries: Binaries, settings: Mapping[str, str]) -> list[str]:
    """The command that starts PostgreSQL here; `settings` win over our defaults, not over the socket's place."""
    folder = str(directory.run).replace('"', '""')
    fixed = {"unix_socket_directories": f'"{folder}"', "cluster_name": directory.mark}
    options = [f"--{name}={value}" for name, value in {**_DEFAULTS, **settings, **fixed}.items()]
    return [str(binaries.postgres), "-D", str(directory.cluster), *options]


async def clear_the_way(directory: DataDirectory) -> None:
    """End what a dead postmaster left of this cluster, then its traces. Raises DatabaseFailed.

    To be called only by the holder of the lock, when no postmaster of the cluster is to be kept.
    """

    def strays() -> list[int]:
        return [found.pid for found in processes() if belongs(found, directory)]

    for number, seconds in _STRAY_STOPS:
        for pid in strays() if number else ():
            log.warning("database_orphan_ended", pid=pid, signal=signal.Signals(number).name)
            _send(pid, number)
        if await gone(lambda: bool(strays()), seconds):
            directory.remove_traces()
            return
    raise DatabaseFailed(f"Processes {strays()} of an earlier PostgreSQL cannot be ended; end them by hand.")


def log_tail(path: Path, since: int = 0) -> str:
    """The last lines that PostgreSQL logged, from byte `since` on."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(since, path.stat().st_size - _TAIL_BYTES))
            return stream.read().decode(errors="replace").strip()
    except FileNotFoundError:
        return ""


def _fresh_log(path: Path) -> Path:
    """The log to append to; a large one is put aside, in the place of the one before."""
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.rename(path.with_name(f"{path.name}.1"))
    path.touch(0o600)
    return path


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
