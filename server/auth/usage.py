"""When each token was last used, noted about once a minute and never in a request's way."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import structlog

from storage import identity
from storage.pool import Database
from streams.errors import MissionstreamError

log = structlog.get_logger()


class Usage:
    """Writes tokens.last_used_at in the background. A write that fails is lost: the next minute's makes up for it."""

    def __init__(
        self,
        database: Database,
        *,
        every_seconds: float = 60.0,
        capacity: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._every_seconds = every_seconds
        self._capacity = capacity
        self._clock = clock
        self._noted: OrderedDict[UUID, float] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, token_id: UUID, used_at: datetime) -> None:
        """Remember that the token was used; at most one write a minute comes of it."""
        now, before = self._clock(), self._noted.get(token_id)
        if before is not None and now < before + self._every_seconds:
            return
        self._noted[token_id] = now
        self._noted.move_to_end(token_id)
        while len(self._noted) > self._capacity:
            self._noted.popitem(last=False)
        task = asyncio.get_running_loop().create_task(self._write(token_id, used_at))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, token_id: UUID, used_at: datetime) -> None:
        try:
            await identity.touch_token(self._database, token_id, used_at)
        except MissionstreamError as error:
            log.info("token.use_not_noted", token_id=str(token_id), error=error.code)

    async def close(self) -> None:
        """Wait for the writes under way, five seconds at most."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=5)
            for task in late:
                task.cancel()
