"""When a running turn's meter tells what is used: at each share of the budget that is newly crossed, and once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.agents.budgets import Budget, Spent, Use
from server.runs.metering import Meter
from streams.errors import Unavailable


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Ear:
    """Hears what the meter tells."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.failures = 0
        self._changed = asyncio.Event()

    async def __call__(self, use: Use) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("the database is away")
        self.heard.append(use.tokens)
        self._changed.set()

    async def until(self, count: int) -> list[int]:
        async with asyncio.timeout(5):
            while len(self.heard) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.heard


@asynccontextmanager
async def watched(meter: Meter, budget: Budget, spent: int = 0) -> AsyncIterator[Ear]:
    ear = Ear()
    async with meter.watching(budget, Spent(input=spent), ear):
        yield ear


async def rest() -> None:
    """Let the meter do whatever it can do now."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_it_tells_at_eighty_percent_and_at_the_whole_and_not_between() -> None:
    meter = Meter()
    async with watched(meter, Budget(tokens=100), spent=50) as ear:
        for tokens in (10, 29, 30, 40, 49, 50, 60):
            meter.take(Use(input=tokens))
            await rest()
        assert ear.heard == [30, 50]


async def test_without_a_budget_it_tells_nothing() -> None:
    meter = Meter()
    async with watched(meter, Budget()) as ear:
        meter.take(Use(input=10**9))
        await rest()
        assert ear.heard == []


async def test_a_new_budget_is_looked_at_at_once() -> None:
    meter = Meter()
    async with watched(meter, Budget()) as ear:
        meter.take(Use(input=100))
        await rest()
        meter.allow(Budget(tokens=90))
        assert await ear.until(1) == [100]


async def test_a_budget_that_came_before_the_watch_is_newer_than_the_missions_row() -> None:
    meter = Meter()
    meter.allow(Budget(tokens=10))
    async with watched(meter, Budget(tokens=1000)) as ear:
        meter.take(Use(input=10))
        assert await ear.until(1) == [10]


async def test_what_missions_below_have_used_counts_with_it_and_newer_sums_are_looked_at_at_once() -> None:
    meter, ear = Meter(), Ear()
    async with meter.watching(Budget(tokens=100), Spent(input=30), ear, Spent(input=40)):
        meter.take(Use(input=9))
        await rest()
        assert ear.heard == []
        meter.take(Use(input=10))
        assert await ear.until(1) == [10]
        meter.count_below(Spent(input=60))
        assert await ear.until(2) == [10, 10]


async def test_time_is_told_though_the_agent_says_nothing() -> None:
    async with watched(Meter(), Budget(seconds=1)) as ear:
        started = asyncio.get_running_loop().time()
        await ear.until(2)
        assert asyncio.get_running_loop().time() - started == pytest.approx(1, abs=0.5)


async def test_what_could_not_be_told_is_told_again() -> None:
    meter = Meter()
    async with watched(meter, Budget(tokens=100)) as ear:
        ear.failures = 1
        meter.take(Use(input=100))
        assert await ear.until(1) == [100]


async def test_the_end_counts_no_less_than_was_seen_on_the_way() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.take(Use(input=100, cost_micros=5, source="reported"))
    clock.now = 2.5
    assert meter.total(Use()) == Use(input=100, cost_micros=5, source="reported", milliseconds=2500)
    final = Use(input=50, cached=70, output=9, cost_micros=8, source="reported")
    assert meter.total(final).tokens == 129
    assert meter.use.milliseconds == 2500
