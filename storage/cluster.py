"""Making the database cluster, whole or not at all, and refusing one of another PostgreSQL."""

import asyncio
import os
import secrets
import shutil
import signal
import tempfile
from pathlib import Path

import structlog

from storage.datadir import DataDirectory, DataDirectoryUnusable, NoDatabase
from storage.pgbinaries import Binaries
from storage.postmaster import DatabaseFailed, begin, gone

log = structlog.get_logger()

NAME = "missionstream"  # of the role and of its database
_SECONDS = 600.0  # it takes one, and many on a slow disk
_OPTIONS = (
    f"--username={NAME}",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
    "--no-instructions",
)


async def ensure(directory: DataDirectory, binaries: Binaries, *, create: bool, durable: bool) -> None:
    """Have a cluster that these binaries can run; only for the holder of the lock.

    A new one is made beside its place and moved there when complete, so that one cut short is never taken for it.
    Raises NoDatabase (there is none and `create` is false), DataDirectoryUnusable or DatabaseFailed.
    """
    for leftover in directory.top.glob("postgres.new-*"):
        log.warning("database_creation_repeated", leftover=str(leftover))
        await asyncio.to_thread(shutil.rmtree, leftover, ignore_errors=True)
    if directory.has_cluster():
        _check_major(directory, binaries)
    elif create:
        await _make(directory, binaries, durable=durable)
    else:
        raise NoDatabase(f"There is no database in {directory.top}. Start the server once, or name another --data-dir.")


async def _make(directory: DataDirectory, binaries: Binaries, *, durable: bool) -> None:
    directory.ensure_password()
    draft = directory.make_folder(f"postgres.new-{secrets.token_hex(4)}")
    try:
        await _initdb(directory, binaries, draft, durable=durable)
        draft.rename(directory.cluster)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
        raise
    directory.sync()
    log.info("database_created", data_directory=str(directory.top), version=binaries.version)


async def _initdb(directory: DataDirectory, binaries: Binaries, place: Path, *, durable: bool) -> None:
    arguments = [str(binaries.initdb), f"--pgdata={place}", f"--pwfile={directory.password_file}", *_OPTIONS]
    if not durable:
        arguments.append("--no-sync")
    with tempfile.TemporaryFile() as output:
        child = begin(directory, arguments, output)
        try:
            await gone(lambda: child.poll() is None, _SECONDS)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)  # with the backend that it runs
                child.wait()
        if child.returncode:
            output.seek(0)
            tail = output.read()[-2000:].decode(errors="replace").strip()
            raise DatabaseFailed(f"PostgreSQL's initdb failed in {directory.top}:\n{tail}")


def _check_major(directory: DataDirectory, binaries: Binaries) -> None:
    made_by = (directory.cluster / "PG_VERSION").read_text().strip()
    if made_by != binaries.major:
        raise DataDirectoryUnusable(
            f"The database in {directory.top} was made by PostgreSQL {made_by}; this Missionstream brings "
            f"{binaries.major}. Dump it with PostgreSQL {made_by} (pg_dump), start with another --data-dir and restore the dump there; "
            f"or serve it with PostgreSQL {made_by} and set MISSIONSTREAM_DATABASE_URL."
        )
