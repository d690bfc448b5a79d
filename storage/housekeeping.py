"""What time takes away: the content of deleted missions, old idempotency answers, and, if asked, old events.

The rows themselves are the work list, so every step is safe to repeat and nothing is lost by a crash.
"""

from storage.pool import Database
from storage.queries import queries

ANSWER_DAYS = 30
_AT_A_TIME = 1_000


async def erase_deleted(database: Database) -> int:
    """Empty the events and rows of deleted missions in place; give how many missions."""
    async with database.reading() as connection:
        deleted = await connection.fetch(queries.housekeeping.erasable, 100)
    for mission in deleted:
        key = (mission["workspace_id"], mission["id"])
        for after in range(0, mission["head"], _AT_A_TIME):
            async with database.reading() as connection:
                await connection.execute(queries.housekeeping.erase_events, *key, after, after + _AT_A_TIME)
        async with database.reading() as connection, connection.transaction():
            await connection.execute(queries.housekeeping.erase_tasks, *key)
            await connection.execute(queries.housekeeping.erase_runs, *key)
            await connection.execute(queries.housekeeping.erase_mission, *key)
    return len(deleted)


async def forget_answers(database: Database, days: int = ANSWER_DAYS) -> None:
    """Forget first answers that nobody will ask for again."""
    async with database.reading() as connection:
        while await connection.execute(queries.housekeeping.forget_answers, days, _AT_A_TIME) != "DELETE 0":
            pass


async def retain(database: Database, days: int) -> int:
    """Remove whole prefixes of workspaces that are older than `days`; give how many workspaces that moved.

    Never past the first event of a mission that has not ended. The floor rises first, so that a reader below it is
    told so instead of meeting a hole.
    """
    async with database.reading() as connection:
        removable = await connection.fetch(queries.housekeeping.removable, days)
    for row in removable:
        async with database.reading() as connection:
            await connection.execute(queries.housekeeping.raise_floor, row["workspace_id"], row["through"])
            while await connection.execute(queries.housekeeping.remove, row["workspace_id"], _AT_A_TIME) != "DELETE 0":
                pass
    return len(removable)
