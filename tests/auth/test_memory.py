"""The short memory: how old its values get, and who shares a look-up."""

import asyncio

import pytest

from server.auth.memory import ShortMemory
from streams.errors import Unavailable
from tests.auth.world import Clock


class Source:
    """Counts its readings; holds them back while `gate` is closed."""

    def __init__(self) -> None:
        self.value, self.readings, self.gate = "first", 0, asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()

    async def read(self) -> str:
        self.readings += 1
        value = self.value
        self.begun.set()
        await self.gate.wait()
        return value


async def test_a_value_is_read_again_after_its_time(clock: Clock) -> None:
    memory, source = ShortMemory[str](5, clock=clock), Source()
    assert await memory.get("k", source.read) == "first"
    source.value = "second"
    clock.forward(4.9)
    assert await memory.get("k", source.read) == "first"
    clock.forward(0.1)
    assert await memory.get("k", source.read) == "second"


async def test_its_age_counts_from_the_start_of_the_reading(clock: Clock) -> None:
    memory, source = ShortMemory[str](5, clock=clock), Source()
    source.gate.clear()
    reading = asyncio.create_task(memory.get("k", source.read))
    await source.begun.wait()
    clock.forward(4)
    source.gate.set()
    await reading
    clock.forward(1)
    await memory.get("k", source.read)
    assert source.readings == 2


async def test_many_callers_share_one_reading(clock: Clock) -> None:
    memory, source = ShortMemory[str](clock=clock), Source()
    assert set(await asyncio.gather(*(memory.get("k", source.read) for _ in range(100)))) == {"first"}
    assert source.readings == 1


async def test_a_caller_that_leaves_takes_nothing_from_the_others(clock: Clock) -> None:
    memory, source = ShortMemory[str](clock=clock), Source()
    source.gate.clear()
    leaver = asyncio.create_task(memory.get("k", source.read))
    stayer = asyncio.create_task(memory.get("k", source.read))
    await source.begun.wait()
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    source.gate.set()
    assert await stayer == "first"


async def test_what_was_being_read_when_forgetting_is_not_remembered(clock: Clock) -> None:
    memory, source = ShortMemory[str](clock=clock), Source()
    source.gate.clear()
    early = asyncio.create_task(memory.get("k", source.read))
    await source.begun.wait()
    source.value = "second"
    memory.forget(lambda _: True)
    late = asyncio.create_task(memory.get("k", source.read))
    await asyncio.sleep(0)
    source.gate.set()
    assert (await early, await late) == ("first", "second")
    assert await memory.get("k", source.read) == "second"
    assert source.readings == 2


async def test_forgetting_picks_by_value(clock: Clock) -> None:
    memory, source = ShortMemory[str](clock=clock), Source()
    await memory.get("a", source.read)
    source.value = "other"
    await memory.get("b", source.read)
    memory.forget(lambda value: value == "other")
    await memory.get("a", source.read)
    assert source.readings == 2
    await memory.get("b", source.read)
    assert source.readings == 3


async def test_a_failure_reaches_all_and_is_not_remembered(clock: Clock) -> None:
    memory, source = ShortMemory[str](clock=clock), Source()

    async def fail() -> str:
        await asyncio.sleep(0)
        raise Unavailable

    outcomes = await asyncio.gather(*(memory.get("k", fail) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
    assert await memory.get("k", source.read) == "first"


async def test_its_size_is_bounded(clock: Clock) -> None:
    memory, source = ShortMemory[str](capacity=10, clock=clock), Source()
    for number in range(30):
        await memory.get(number, source.read)
    assert len(memory) == 10


async def test_closing_ends_what_still_runs(clock: Clock) -> None:
    memory, source = ShortMemory[str](clock=clock), Source()
    source.gate.clear()
    reading = asyncio.create_task(memory.get("k", source.read))
    await source.begun.wait()
    memory.forget(lambda _: True)
    await memory.close()
    with pytest.raises(asyncio.CancelledError):
        await reading
