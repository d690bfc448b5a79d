"""What a sound statement meets that the database cannot do for a moment: its caller repeats it later."""

from typing import Any

import asyncpg
import pytest
import uuid_utils.compat as uuids

from server.missions.control import KIND, Create
from server.missions.kinds import NO_SPACE
from server.missions.known import kinds
from storage import workspaces
from storage.pool import Database
from storage.queries import queries
from storage.writer import Writers
from streams.errors import Unavailable


async def test_a_database_that_only_reads_for_a_moment_is_unavailable_to_the_writer(
    connect: dict[str, Any], database: Database
) -> None:
    workspace_id = await workspaces.create(database, "default")
    admin = await asyncpg.connect(**connect)
    await admin.execute(f"ALTER DATABASE {connect['database']} SET default_transaction_read_only = on")
    await admin.close()
    standby = Database(connect)  # its connections are made after that, as after a fail-over
    await standby.open()
    writers = Writers(standby, kinds(), lambda workspace_id, events: None)
    mission_id = uuids.uuid7()
    try:
        with pytest.raises(Unavailable, match="nothing was stored"):
            await writers.execute(
                workspace_id, mission_id, KIND, Create(id=mission_id, backend="demo", space_id=NO_SPACE)
            )
    finally:
        await writers.close()
        await standby.close()


async def test_a_database_that_only_reads_for_a_moment_is_unavailable_to_the_rest(database: Database) -> None:
    with pytest.raises(Unavailable):
        async with database.reading() as connection, connection.transaction(readonly=True):
            await connection.execute(queries.runs.finish, uuids.uuid7(), uuids.uuid7(), "ended", 0, "{}", None)
