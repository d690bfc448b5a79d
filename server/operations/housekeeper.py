"""Does the housekeeping now and then, while the server runs."""

import asyncio
from contextlib import suppress

import structlog

from storage import housekeeping
from storage.pool import Database
from streams.errors import Unavailable

EVERY_SECONDS = 5.0
_RARELY = 720
log = structlog.get_logger()


class Housekeeper:
    """Erases deleted missions within seconds; forgets old answers, and old events where asked to, each hour."""

    def __init__(self, database: Database, *, retention_days: int | None) -> None:
        self._database = database
        self._retention_days = retention_days
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="housekeeper")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        turn = 0
        while True:
            try:
                await self.work(is_rare=turn % _RARELY == 0)
                turn += 1
            except Unavailable as error:
                log.info("housekeeping.waiting", reason=error.message)
            except Exception:
                log.exception("housekeeping.failed")
            await asyncio.sleep(EVERY_SECONDS)

    async def work(self, *, is_rare: bool) -> None:
        """One round."""
        erased = await housekeeping.erase_deleted(self._database)
        if erased:
            log.info("housekeeping.erased", missions=erased)
        if is_rare:
            await housekeeping.forget_answers(self._database)
            if self._retention_days is not None:
                removed = await housekeeping.retain(self._database, self._retention_days)
                log.info("housekeeping.retained", workspaces=removed, days=self._retention_days)
