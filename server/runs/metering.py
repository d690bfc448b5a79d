"""What a running turn has used, held against its mission's budget, and told when a share of that is crossed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import structlog

from server.agents.budgets import WARNING_PERCENT, Budget, Limit, Spent, Use
from streams.errors import MissionstreamError

Tell = Callable[[Use], Awaitable[object]]

_SHARES = (WARNING_PERCENT, 100)
log = structlog.get_logger()


class Meter:
    """The use of one turn so far. What it leads to is decided by the mission's rules: this only knows when to ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_at = clock()
        self._use = Use()
        self._budget: Budget | None = None
        self._spent = Spent()
        self._below: Spent | None = None
        self._changed = asyncio.Event()

    @property
    def use(self) -> Use:
        """What the turn has used so far, at least."""
        return msgspec.structs.replace(self._use, milliseconds=self._milliseconds())

    def total(self, use: Use) -> Use:
        """The turn's use in the end: never less than what was seen on the way, and with its time."""
        is_least = use.tokens >= self._use.tokens and use.cost_micros >= self._use.cost_micros
        final = use if is_least or use.source == "reported" else self._use  # an estimate never beats the agent's word
        return msgspec.structs.replace(final, milliseconds=self._milliseconds())

    def take(self, use: Use) -> None:
        """Hear what the agent has used so far."""
        self._use = use
        self._changed.set()

    def allow(self, budget: Budget) -> None:
        """Hold the use against another budget from now on."""
        self._budget = budget
        self._changed.set()

    def count_below(self, spent: Spent) -> None:
        """Hear of a newer sum of what the missions below have used."""
        self._below = spent
        self._changed.set()

    @asynccontextmanager
    async def watching(
        self, budget: Budget, spent: Spent, tell: Tell, below: Spent | None = None
    ) -> AsyncIterator[None]:
        """Call `tell` whenever a share of the budget is newly crossed, until left.

        `spent` is what was used before, `below` what the missions below have used.
        """
        self._spent = spent
        self._below = self._below or below
        if self._budget is None:  # a change that came meanwhile is newer
            self._budget = budget
        watch = asyncio.create_task(self._watch(tell), name="budget")
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    async def _watch(self, tell: Tell) -> None:
        told: set[tuple[Limit, int, int]] = set()
        while True:
            self._changed.clear()
            crossed = self._crossed()
            if not crossed <= told:
                try:
                    await tell(self.use)
                    told |= crossed
                except MissionstreamError as error:
                    log.info("budget.waiting", reason=error.message)
                    await asyncio.sleep(1)
                    continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._seconds_left())

    def _crossed(self) -> set[tuple[Limit, int, int]]:
        """Every limit, with the amount that it allows, and each share of it that is used."""
        assert self._budget is not None
        spent, limits = self._before().plus(self.use), self._budget.limits()
        return {(limit, limits[limit], share) for share in _SHARES for limit in self._budget.beyond(spent, share)}

    def _seconds_left(self) -> float | None:
        """The time until the next share of the allowed time is used."""
        if self._budget is None or self._budget.seconds is None:
            return None
        used = (self._before().milliseconds + self._milliseconds()) / 1000
        ahead = [left for share in _SHARES if (left := self._budget.seconds * share / 100 - used) > 0]
        return min(ahead) + 0.002 if ahead else None

    def _before(self) -> Spent:
        return self._spent if self._below is None else self._spent.joined(self._below)

    def _milliseconds(self) -> int:
        return round((self._clock() - self._began_at) * 1000)
