"""Connections to PostgreSQL: how they are made, and what their failures mean."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg

from storage.queries import queries
from streams.errors import BadRequest, Unavailable

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""Everything that asyncpg raises."""

_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


_OVERLOADED = (
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InsufficientResourcesError,
)


def is_lost(error: BaseException) -> bool:
    """Whether the connection, or the server behind it, is gone (and not the statement at fault)."""
    # asyncpg's complaint about an argument is both an InterfaceError and a ValueError
    return isinstance(error, _LOST) and not isinstance(error, ValueError)


def is_passing(error: BaseException) -> bool:
    """Whether the server could not do a sound statement just now, and may do the very same one later."""
    return isinstance(error, (*_OVERLOADED, asyncpg.PostgresSystemError, asyncpg.ReadOnlySQLTransactionError))


COMMAND_SECONDS = 40.0
"""Above the server's own time-outs: an answer that is later than this comes from a connection that is lost."""
_WRITER_SETTINGS = {
    "application_name": "missionstream writer",
    "default_transaction_isolation": "read committed",  # a serialization failure then has one meaning: ours
    "idle_in_transaction_session_timeout": "15s",
    "lock_timeout": "10s",
    "statement_timeout": "30s",
}
_WATCHER_SETTINGS = {"application_name": "missionstream watcher", "statement_timeout": "2s"}
_READER_SETTINGS = {
    "application_name": "missionstream reader",
    "statement_timeout": "30s",
    "default_transaction_read_only": "off",
}


class Session(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """A pooled connection. Nothing here changes session state, so a return to the pool resets nothing."""

    __slots__ = ()

    def get_reset_query(self) -> str:
        return ""


class Database:
    """Two pools over one database: appends never wait behind reads."""

    def __init__(self, connect: Mapping[str, Any], *, writers: int = 8, readers: int = 10) -> None:
        self.connect = dict(connect)
        self._sizes = {"writer": writers, "reader": readers}
        self._writers: asyncpg.Pool | None = None
        self._readers: asyncpg.Pool | None = None
        self._watchers: asyncpg.Pool | None = None

    async def open(self) -> None:
        """Make the pools; raise Unavailable when the database cannot be reached."""
        try:
            self._writers = await self._pool(_WRITER_SETTINGS, self._sizes["writer"])
            self._readers = await self._pool(_READER_SETTINGS, self._sizes["reader"])
            self._watchers = await self._pool(_WATCHER_SETTINGS, 1)
        except FAILURES as error:
            raise Unavailable(f"the database cannot be reached: {error}") from error

    async def _pool(self, settings: dict[str, str], size: int) -> asyncpg.Pool:
        return await asyncpg.create_pool(
            **self.connect,
            min_size=1,
            max_size=size,
            connection_class=Session,
            server_settings=settings,
            max_inactive_connection_lifetime=60.0,
            timeout=10,
            command_timeout=COMMAND_SECONDS,
        )

    async def close(self) -> None:
        """Give connections five seconds to come home, then cut them."""
        for pool in (self._writers, self._readers, self._watchers):
            if pool is not None:
                try:
                    async with asyncio.timeout(5):
                        await pool.close()
                except FAILURES:
                    pool.terminate()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for the writer; its errors are asyncpg's own, since the writer tells them apart."""
        assert self._writers is not None
        async with self._writers.acquire(timeout=5) as connection:
            yield connection

    def reading(self) -> AbstractAsyncContextManager[asyncpg.Connection]:
        """A connection for everything else; a lost one raises Unavailable."""
        assert self._readers is not None
        return self._from(self._readers, 5)

    def watching(self) -> AbstractAsyncContextManager[asyncpg.Connection]:
        """The connection that is kept for looking at heads, however busy the others are."""
        assert self._watchers is not None
        return self._from(self._watchers, 2)

    @asynccontextmanager
    async def _from(self, pool: asyncpg.Pool, seconds: float) -> AsyncIterator[asyncpg.Connection]:
        try:
            async with pool.acquire(timeout=seconds) as connection:
                yield connection
        except FAILURES as error:
            if is_lost(error):
                raise Unavailable("the database cannot be reached right now; repeat later") from error
            if is_passing(error):
                raise Unavailable("the database cannot do this right now; repeat later") from error
            raise

    async def ping(self) -> None:
        """Raise Unavailable unless the database answers."""
        async with self.reading() as connection:
            await connection.fetchval(queries.workspaces.ping)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[asyncpg.Connection]:
        """One consistent reading: everything inside sees the same moment."""
        async with self.reading() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection


def connect_arguments(url: str) -> dict[str, Any]:
    """asyncpg's arguments for a database URL; BadRequest for one of another form, without repeating its password."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise BadRequest("MISSIONSTREAM_DATABASE_URL looks like postgresql://user:password@host/database")
    return {"dsn": url}
