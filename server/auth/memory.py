"""A short memory: what was just looked up, for a few seconds, one look-up at a time for each key."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class ShortMemory(Generic[V]):
    """Values at most `ttl_seconds` old, counted from the start of their look-up; failures are not remembered.

    Callers that want the same key at the same time share one look-up. After forget() no value is given that was looked
    up before it, even by a look-up that had not ended.
    """

    def __init__(
        self, ttl_seconds: float = 5.0, *, capacity: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ttl_seconds = ttl_seconds
        self._capacity = capacity
        self._clock = clock
        self._known: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()
        self._pending: dict[Hashable, asyncio.Task[V]] = {}
        self._running: set[asyncio.Task[V]] = set()

    async def get(self, key: Hashable, load: Callable[[], Awaitable[V]]) -> V:
        """The value under the key, from memory or from `load`, whose errors every waiting caller gets."""
        known = self._known.get(key)
        if known is not None and self._clock() < known[0] + self._ttl_seconds:
            return known[1]
        task = self._pending.get(key)
        if task is None:
            task = asyncio.ensure_future(self._load(key, load))
            self._pending[key] = task
            self._running.add(task)
            task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def _load(self, key: Hashable, load: Callable[[], Awaitable[V]]) -> V:
        begun = self._clock()
        ourselves = asyncio.current_task()
        try:
            value = await load()
            if self._pending.get(key) is ourselves:
                self._known[key] = (begun, value)
                self._known.move_to_end(key)
                while len(self._known) > self._capacity:
                    self._known.popitem(last=False)
            return value
        finally:
            if self._pending.get(key) is ourselves:
                del self._pending[key]

    def forget(self, is_gone: Callable[[V], bool]) -> None:
        """Drop the values that `is_gone` picks, and whatever is being looked up."""
        for key in [key for key, (_, value) in self._known.items() if is_gone(value)]:
            del self._known[key]
        self._pending.clear()

    async def close(self) -> None:
        """End the look-ups that still run."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[V]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # every caller may have left; an error that nobody waits for is not worth a warning

    def __len__(self) -> int:
        return len(self._known)
