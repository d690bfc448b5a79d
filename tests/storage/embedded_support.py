"""What the tests of the embedded database share: prepared data directories and servers to kill."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from storage.datadir import DataDirectory
from storage.embedded import QUICK, EmbeddedPostgres, attach, temporary_folder
from storage.pgbinaries import Binaries, locate
from storage.postmaster import belongs, gone
from storage.processes import processes

ROOT = Path(__file__).parents[2]
SERVER = Path(__file__).with_name("embedded_server.py")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")


class Server:
    """A process of ours with its database, in a session of its own."""

    def __init__(
        self, folder: Path, packages: str = "", *, settings: Mapping[str, str] = QUICK, through: Sequence[str] = ()
    ) -> None:
        self.child = subprocess.Popen(
            [*through, sys.executable, "-P", str(SERVER), str(folder), json.dumps(dict(settings)), packages],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(ROOT), "PATH": os.defpath},
            start_new_session=True,
        )

    def until_up(self) -> int:
        """The postmaster's pid, once the database is up."""
        assert self.child.stdout
        line = self.child.stdout.readline()
        assert line, self.child.communicate()[1]
        return int(line)

    def end_when_up(self) -> None:
        self.until_up()
        self.end()

    def end(self, number: int = signal.SIGTERM) -> str:
        """Send a signal and wait for the end; what the server logged."""
        self.child.send_signal(number)
        return self.child.communicate()[1]


def copy_of(template: Path, folder: Path) -> Path:
    """Fill a folder with a prepared data directory, owners and modes kept."""
    subprocess.run(["cp", "-a", f"{template}/.", folder], check=True)
    return folder


def renamed(folder: Path, name: str) -> Path:
    return folder.rename(folder.with_name(name))


def give_to_root(folder: Path) -> None:
    """What a restore by root does to owners."""
    subprocess.run(["chown", "-R", "root:root", folder], check=True)


def kill_left(folder: Path) -> None:
    """End what a test left running in a data directory."""
    directory = DataDirectory(folder)
    left = [found.pid for found in processes() if belongs(found, directory)]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    asyncio.run(until(lambda: not any(is_running(pid) for pid in left)))


def is_running(pid: int) -> bool:
    """Whether the process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition: Callable[[], object], within_seconds: float = 20) -> None:
    """Wait for a condition; an AssertionError when it does not come true in time."""
    assert await gone(lambda: not condition(), within_seconds)


async def until_replaced(database: EmbeddedPostgres, dead: int) -> None:
    """Wait until another postmaster than the dead one takes connections."""
    await until(lambda: database.pid not in (None, dead))
    async with await attach(Path(database.connect_kwargs["host"]).parent) as visitor:
        assert visitor.pid == database.pid


@contextlib.asynccontextmanager
async def connected(database: EmbeddedPostgres, **changes: Any) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(**{**database.connect_kwargs, **changes})
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


@contextlib.contextmanager
def folder_removed_afterwards() -> Iterator[Path]:
    folder = temporary_folder()
    try:
        yield folder
    finally:
        kill_left(folder)
        shutil.rmtree(folder)


def with_initdb(folder: Path, script: str) -> Binaries:
    """The installed PostgreSQL, but `initdb` is this shell script, in which $INITDB is the real one."""
    real, wrapped = locate(), Binaries(folder, locate().version)
    wrapped.initdb.parent.mkdir(parents=True)
    for place in (folder, *wrapped.initdb.parents[:3]):
        place.chmod(0o755)
    for name in ("lib", "share", "bin/postgres"):
        (wrapped.install / name).symlink_to(real.install / name)
    wrapped.initdb.write_text(f"#!/bin/sh\nINITDB='{real.initdb}'\n{script}\n")
    wrapped.initdb.chmod(0o755)
    return wrapped


@contextlib.contextmanager
def bystander(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of PostgreSQL's user that works in the cluster's folder and is not PostgreSQL."""
    directory = DataDirectory(folder)
    child = subprocess.Popen(["sleep", "60"], cwd=directory.cluster, **directory.account.process_options)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
