"""How one batch becomes durable, whatever happens to the connection: a statement alone, or a transaction."""

import asyncio
from contextlib import suppress
from uuid import UUID

import asyncpg
import structlog

from storage.batch import Batch
from storage.pool import FAILURES, Database, is_lost, is_passing
from storage.statements import settled
from storage.states import HeadCache

_FIRST_PAUSE_SECONDS = 0.05
log = structlog.get_logger()


class Committer:
    """Stores the batches of one workspace, one after another. `heads` are the streams' as they were last stored or foreseen."""

    def __init__(self, workspace_id: UUID, database: Database) -> None:
        self.heads = HeadCache()
        self._workspace_id = workspace_id
        self._database = database

    def foresee(self, batch: Batch) -> bool:
        """Decide the batch on what is known, if that will do. While the one before it is on its way it counts on that one."""
        try:
            return batch.foresee(self.heads)
        except Exception:  # a defect, and half a decision; its transaction will tell the callers
            log.exception("writer.foresight_failed", workspace_id=str(self._workspace_id))
            self.heads.forget(batch.streams)
            return False

    async def store(self, batch: Batch) -> bool:
        """Store the batch; False when it has to be decided anew, and nothing was stored.

        Raises asyncpg's errors only when nothing was stored, and nothing of what was sent can be stored any more.
        """
        if not batch.is_foreseen:
            return await self._transact(batch)
        try:
            is_stored = await self._send(batch)
        except BaseException:
            self.heads.forget(batch.streams)
            raise
        if not is_stored:
            self.heads.forget(batch.streams)
        return is_stored

    async def _send(self, batch: Batch) -> bool:
        """Store a foreseen batch by one statement.

        When the connection breaks the very same statement is sent again: it and the lost one both compare the heads,
        so that at most one of them is stored. Until the heads have spoken, no other failure ends the matter.
        """
        if not batch.has_writes:
            batch.number(0)
            return True
        is_sent = is_cut = False
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._database.writing() as connection:
                    is_sent = True
                    await batch.save(connection)
                return True
            except asyncpg.SerializationError:
                return is_cut and await self._look_up(batch)
            except FAILURES as error:
                if batch.results:
                    log.warning("writer.release_failed", error=repr(error))  # the pool's trouble: it is stored
                    return True
                if not ((is_sent and is_lost(error)) or (is_cut and is_passing(error))):
                    raise
                is_cut = True
                log.warning("writer.append_cut_off", workspace_id=str(self._workspace_id), error=repr(error))
            pause = await _rested(pause)

    async def _transact(self, batch: Batch) -> bool:
        """Store the batch by a transaction; False when its COMMIT was cut off and nothing was stored."""
        is_committed: bool | None = None
        try:
            async with self._database.writing() as connection:
                await connection.execute("BEGIN")
                try:
                    await batch.apply(connection)
                except BaseException:
                    with suppress(*FAILURES):
                        await connection.execute("ROLLBACK")
                    raise
                is_committed = await self._committed(connection, batch)
        except FAILURES as error:
            if is_committed is None:
                raise
            log.warning("writer.release_failed", error=repr(error))  # the pool's trouble, not the transaction's
        return is_committed or await self._look_up(batch)

    async def _committed(self, connection: asyncpg.Connection, batch: Batch) -> bool:
        """COMMIT; False when the connection was lost in it, so that its outcome has to be looked up."""
        try:
            await connection.execute("COMMIT")
        except FAILURES as error:
            if not is_lost(error):
                raise
            if not batch.has_writes:
                return True
            log.warning("writer.commit_cut_off", workspace_id=str(self._workspace_id), error=repr(error))
            return False
        return True

    async def _look_up(self, batch: Batch) -> bool:
        """Ask until the database says whether the batch was stored; meanwhile nothing else is appended."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            with suppress(*FAILURES):
                async with self._database.writing() as connection:
                    await settled(connection, self._workspace_id)
                    is_stored = await batch.is_stored(connection)
                    log.info("writer.looked_up", workspace_id=str(self._workspace_id), is_stored=is_stored)
                    return is_stored
            pause = await _rested(pause)


async def _rested(pause: float) -> float:
    """Rest, and tell the next pause, of a second at the most."""
    await asyncio.sleep(pause)
    return min(pause * 2, 1.0)
