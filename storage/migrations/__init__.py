"""Brings a database's schema to this release's; plain SQL steps, run by Alembic under an advisory lock."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from streams.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

HEAD = "0001"
_LOCK = 7_233_104_771
_WAIT_SECONDS = 120.0
log = structlog.get_logger()


class SchemaTooNew(Conflict):
    """The database was migrated by a newer Missionstream; upgrade this one."""

    code = "schema_too_new"


async def current(connection: asyncpg.Connection) -> str | None:
    """The schema's revision, or None for an empty database."""
    if await connection.fetchval("SELECT to_regclass('public.alembic_version')") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return revision


async def migrate(connect: dict[str, Any]) -> str | None:
    """Bring the schema to HEAD; give the revision it came from, or HEAD when nothing was to do.

    Raises SchemaTooNew for a database that a newer release has migrated, Unavailable when another migration
    does not end. `connect` holds the keyword arguments of asyncpg.connect.
    """
    connection = await asyncpg.connect(**connect)
    try:
        before = await current(connection)
        if before == HEAD:
            return before
        async with asyncio.timeout(_WAIT_SECONDS):
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                log.info("migration.waiting", reason="another process is migrating")
                await asyncio.sleep(0.25)
        before = await current(connection)
        if before != HEAD:
            await _upgrade(connect, before)
        return before
    except TimeoutError:
        raise Unavailable("another process has been migrating this database for two minutes; look at it") from None
    finally:
        await connection.close()


async def _upgrade(connect: dict[str, Any], before: str | None) -> None:
    # Alembic and SQLAlchemy cost 0.4 s to import and are needed only here.
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    script = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in script.walk_revisions()}
    if before is not None and before not in known:
        raise SchemaTooNew(f"the database has schema {before}, this Missionstream knows {HEAD}: upgrade Missionstream")

    def steps(connection: "Connection") -> None:
        from alembic.operations import Operations

        def upgrades(revision: Any, _context: Any) -> Any:
            return script._upgrade_revs("head", revision)

        context = MigrationContext.configure(connection, opts={"fn": upgrades})
        with Operations.context(context), context.begin_transaction():
            context.run_migrations()

    engine = create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda: asyncpg.connect(**connect)
    )
    async with engine.begin() as connection:
        await connection.run_sync(steps)
    await engine.dispose()
    log.info("migration.done", before=before, after=HEAD)
