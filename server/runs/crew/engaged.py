"""What the engine remembers of a mission that it looks after."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime


class Engaged:
    """A mission that the engine looks after: at most one coroutine at a time does."""

    def __init__(self) -> None:
        self.is_dirty = False
        self.is_resumed = False
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        return self.task is not None and not self.task.done()

    def wake(self, at: datetime | None, stir: Callable[[], None]) -> None:
        """Look again at this time, in place of the one before."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None
        if at is not None:
            seconds = max(0.0, (at - datetime.now(UTC)).total_seconds())
            self.timer = asyncio.get_running_loop().call_later(seconds, stir)
