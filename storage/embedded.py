"""The embedded PostgreSQL: one cluster in the data directory, run for as long as the server runs."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import asyncpg
import structlog

from storage import cluster, pgbinaries
from storage.cluster import NAME
from storage.datadir import PORT, DataDirectory, DataDirectoryInUse, DataDirectoryUnusable, Lock, NoDatabase
from storage.pgbinaries import Binaries
from storage.postmaster import DatabaseFailed, Postmaster, clear_the_way, command, log_tail
from storage.queries import queries
from streams.errors import MissionstreamError

log = structlog.get_logger()

READY_SECONDS = 900.0  # recovery after a crash replays at most max_wal_size, which takes minutes on a slow disk
ATTACH_SECONDS = 30.0
_PROGRESS_SECONDS = 5.0
_WATCH_SECONDS = 0.25
_CONNECTION_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)  # TimeoutError is an OSError
_RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
QUICK = MappingProxyType({"fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB"})  # for throwaway data


class _Answer(Enum):
    READY = "it is our cluster and takes our password"
    NOT_YET = "it does not answer yet"
    DENIED = "it refuses our password"
    FOREIGN = "another cluster answers"


class EmbeddedPostgres:
    """PostgreSQL with its data in `data_dir`, reached only through a socket there and with a random password.

    start() makes the cluster when there is none, takes over one that a killed server left running, and returns when the
    database `missionstream` takes connections. `settings` are PostgreSQL settings that win over our defaults. With
    `create=False` a missing cluster is an error. Exactly one process can have a data directory started.
    start() and stop() may run in different event loops.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: Mapping[str, str] = MappingProxyType({}),
        create: bool = True,
        binaries: Binaries | None = None,
    ) -> None:
        self._directory = DataDirectory(data_dir)
        self._settings = settings
        self._create = create
        self._binaries = binaries
        self._password = ""
        self._lock: Lock | None = None
        self._postmaster: Postmaster | None = None
        self._changing = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The postmaster's pid, or None while there is none."""
        return self._postmaster.pid if self._postmaster and self._postmaster.is_alive() else None

    @property
    def connect_kwargs(self) -> dict[str, Any]:
        """For asyncpg.connect and create_pool: host (the socket's folder), port, user, database, password."""
        return {
            "host": str(self._directory.run),
            "port": PORT,
            "user": NAME,
            "database": NAME,
            "password": self._password,
        }

    async def start(self) -> None:
        """Run the database.

        Raises DataDirectoryInUse, DataDirectoryUnusable, NoDatabase, NoBinaries or DatabaseFailed.
        """
        binaries = self._binaries or pgbinaries.locate()
        await asyncio.to_thread(self._directory.prepare)
        async with self._changing:
            self._lock = self._directory.lock()
            try:
                await self._start(binaries)
            except BaseException:
                await self._stop()
                raise

    async def stop(self) -> None:
        """End the database that we started or took over; nothing for one that attach() found running.

        Cancel watch() first, or this waits for the restart that it may be busy with.
        """
        async with self._changing:
            await self._stop()

    async def watch(self) -> None:
        """Start the database again whenever its postmaster has died; runs until cancelled."""
        failures = 0
        while True:
            await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS)) - 1] if failures else _WATCH_SECONDS)
            async with self._changing:
                if self._lock is None or self.pid:
                    failures = 0
                    continue
                log.error("database_died", data_directory=str(self._directory.top))
                try:
                    await self._bring_up()
                except (MissionstreamError, OSError) as error:
                    failures += 1
                    log.error("database_restart_failed", error=str(error), failures=failures)

    async def __aenter__(self) -> Self:
        if self.pid is None:
            await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start(self, binaries: Binaries) -> None:
        directory, durable = self._directory, self._settings.get("fsync") != "off"
        self._binaries = await asyncio.to_thread(pgbinaries.reachable, binaries, directory.account, directory.top)
        await cluster.ensure(directory, self._binaries, create=self._create, durable=durable)
        self._password = directory.password()
        await self._bring_up()
        await asyncio.to_thread(pgbinaries.forget_others, self._binaries, directory.top)

    async def _stop(self) -> None:
        if self._lock is None:
            return
        try:
            if self._postmaster:
                await self._postmaster.stop()
                log.info("database_stopped", pid=self._postmaster.pid)
        finally:
            self._postmaster = None
            self._lock.release()
            self._lock = None

    async def _bring_up(self) -> None:
        """From whatever is running or left to a database that answers."""
        binaries = self._binaries
        assert binaries is not None
        self._postmaster = await self._adopt(binaries)
        if self._postmaster is None:
            await clear_the_way(self._directory)
            since = self._directory.log.stat().st_size if self._directory.log.exists() else 0
            self._postmaster = Postmaster.launch(self._directory, binaries, self._settings)
            await self._until_ready(self._postmaster, since)
        log.info("database_ready", pid=self._postmaster.pid, data_directory=str(self._directory.top))
        await self._ensure_database()

    async def _adopt(self, binaries: Binaries) -> Postmaster | None:
        """The postmaster that a killed server of ours left, if it is to be kept."""
        found = Postmaster.find(self._directory)
        if found is None:
            return None
        answer = await self._until_answer(found)
        if answer is _Answer.DENIED:
            raise self._wrong_password()
        if answer is None:
            return None
        same_command = found.runs_with(command(self._directory, binaries, self._settings))
        if answer is _Answer.READY and same_command:
            log.info("database_adopted", pid=found.pid)
            return found
        log.info("database_replaced", pid=found.pid, answer=answer.value, same_command=same_command)
        await found.stop()
        return None

    async def _until_ready(self, postmaster: Postmaster, since: int) -> None:
        answer = await self._until_answer(postmaster)
        if answer is _Answer.READY:
            return
        if answer is _Answer.DENIED:
            raise self._wrong_password()
        tail = log_tail(self._directory.log, since)
        reason = answer.value if answer else "it ended"
        raise DatabaseFailed(f"PostgreSQL does not start ({reason}). The end of {self._directory.log}:\n{tail}")

    async def _until_answer(self, postmaster: Postmaster) -> _Answer | None:
        """Ask until it answers or READY_SECONDS are over (NOT_YET); None when the postmaster ended."""
        begun, said, pause = time.monotonic(), 0.0, 0.01
        while True:
            answer = await self._ask("postgres")
            if answer is not _Answer.NOT_YET:
                return answer
            if not postmaster.is_alive():
                return None
            waited = time.monotonic() - begun
            if waited > READY_SECONDS:
                return answer
            if waited - said > _PROGRESS_SECONDS:
                said = waited
                log.info("database_recovering", pid=postmaster.pid, waited_seconds=round(waited))
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, 0.25)

    async def _ask(self, database: str) -> _Answer:
        """Who answers at our socket."""
        try:
            async with self._connection(database) as connection:
                served = await connection.fetchval(queries.embedded.data_directory)
        except asyncpg.InvalidAuthorizationSpecificationError:
            return _Answer.DENIED
        except _CONNECTION_ERRORS:
            return _Answer.NOT_YET
        return _Answer.READY if served == str(self._directory.cluster) else _Answer.FOREIGN

    @contextlib.asynccontextmanager
    async def _connection(self, database: str) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(**{**self.connect_kwargs, "database": database}, timeout=10)
        try:
            yield connection
        finally:
            await connection.close(timeout=5)

    async def _ensure_database(self) -> None:
        try:
            async with self._connection("postgres") as connection:
                if not await connection.fetchval(queries.embedded.has_database):
                    await connection.execute(queries.embedded.create_database)
        except _CONNECTION_ERRORS as error:
            raise DatabaseFailed(f"PostgreSQL started and then failed: {error}. See {self._directory.log}.") from error

    def _wrong_password(self) -> DataDirectoryUnusable:
        return DataDirectoryUnusable(
            f"The database refuses the password in {self._directory.password_file}. Restore that file from a backup."
        )

    async def _visit(self) -> bool:
        """Use the running postmaster without owning it; False when none takes our password now."""
        found = Postmaster.find(self._directory)
        if found is None:
            return False
        self._password = self._directory.password()
        answer = await self._ask(NAME)
        if answer is _Answer.DENIED:
            raise self._wrong_password()
        self._postmaster = found if answer is _Answer.READY else None
        return self._postmaster is not None


async def attach(
    data_dir: Path, *, settings: Mapping[str, str] = MappingProxyType({}), create: bool = False
) -> EmbeddedPostgres:
    """The database of a data directory, for one command: `async with await attach(folder) as database`.

    A running one is used and left running. Else it is started, and stopped with the command. A data directory without
    a database is NoDatabase, unless `create`. A server that holds the lock gets ATTACH_SECONDS to have its database up.
    """
    deadline = time.monotonic() + ATTACH_SECONDS
    database = EmbeddedPostgres(data_dir, settings=settings, create=create)
    directory = DataDirectory(data_dir)
    while True:
        if directory.has_cluster() and await database._visit():
            return database
        if not create and not directory.lock_file.exists():
            raise NoDatabase(
                f"There is no database in {directory.top}. Start the server once, or name another --data-dir."
            )
        try:
            await database.start()
        except DataDirectoryInUse as error:
            if time.monotonic() > deadline:
                raise DatabaseFailed(
                    f"Process {error.holder} holds {directory.top}, but its database does not answer. "
                    f"See {directory.log}, or repeat later."
                ) from error
            await asyncio.sleep(0.1)
        else:
            return database


@contextlib.asynccontextmanager
async def throwaway(settings: Mapping[str, str] = QUICK) -> AsyncIterator[EmbeddedPostgres]:
    """A database in a temporary folder, quick because it would not survive a power cut; gone afterwards."""
    folder = temporary_folder()
    try:
        async with EmbeddedPostgres(folder, settings=settings) as database:
            yield database
    finally:
        await asyncio.to_thread(shutil.rmtree, folder)


def temporary_folder() -> Path:
    """A new folder that can be a data directory; who asks for it removes it."""
    folder = Path(tempfile.mkdtemp(prefix="missionstream-"))
    folder.chmod(0o711)  # mkdtemp lets only ourselves in, and root's PostgreSQL is another user
    return folder
