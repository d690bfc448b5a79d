"""Reaching a server's database for the time of one command, whether the server runs or not."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from server import logs
from storage import migrations, workspaces
from storage.embedded import attach
from storage.pool import Database, connect_arguments
from storage.workspaces import Workspace
from streams.errors import Conflict, NotFound

if TYPE_CHECKING:
    from server.cli.output import Output
    from server.settings import Settings

T = TypeVar("T")


class SchemaTooOld(Conflict):
    """The database has no schema of this release."""

    code = "schema_too_old"


def run(work: Coroutine[Any, Any, T], output: "Output") -> T:
    """Run a command's coroutine; of the log only warnings are shown, unless it is debugged."""
    logs.configure("console", "debug" if output.is_debug else "warning")
    return asyncio.run(work)


@asynccontextmanager
async def reached(settings: "Settings", output: "Output", *, create: bool = False) -> AsyncIterator[dict[str, Any]]:
    """How to connect to the database: the given one, or the data directory's, started unless it runs."""
    if settings.database_url is not None:
        yield connect_arguments(settings.database_url.get_secret_value())
        return
    with output.waiting(f"Opening the database in {settings.data_dir} …"):
        embedded = await attach(settings.data_dir, create=create)
    async with embedded:
        yield embedded.connect_kwargs


@asynccontextmanager
async def opened(settings: "Settings", output: "Output") -> AsyncIterator[Database]:
    """The database, at this release's schema: SchemaTooOld otherwise. Raises as attach() and Database.open() do."""
    async with reached(settings, output) as connect:
        database = Database(connect, writers=1, readers=2)
        try:
            await database.open()
            await _check_schema(database)
            yield database
        finally:
            await database.close()


async def _check_schema(database: Database) -> None:
    async with database.reading() as connection:
        current = await migrations.current(connection)
    if current != migrations.HEAD:
        has = f"schema {current}" if current else "no schema"
        raise SchemaTooOld(
            f"the database has {has}, this release needs {migrations.HEAD}; `missionstream migrate` brings it there"
        )


async def workspace_named(database: Database, name: str) -> Workspace:
    """The workspace with this slug or id; NotFound."""
    for workspace in await workspaces.every(database):
        if name in (workspace.slug, str(workspace.id)):
            return workspace
    raise NotFound(f"there is no workspace {name}; `missionstream workspace list` shows all")


def as_uuid(text: str) -> UUID | None:
    """The text as a UUID, None when it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None
