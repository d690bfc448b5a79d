"""Every bus: hints and signals come to the others, never back; hubs that share a log and a bus are one."""

import asyncio
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from streams.bus import Bus
from streams.bus.memory import MemoryBus, Room
from streams.event import Signal
from streams.hub import Hub
from tests.streams.test_follower import ALL, MISSIONS, WORKSPACE, MemoryLog, attach, received, settle

Members = Callable[[], Bus]


@pytest.fixture(params=["memory"])
def members(request: pytest.FixtureRequest) -> Members:
    """Makes members of one bus."""
    room = Room()
    return lambda: MemoryBus(room)


def a_signal(content: str) -> Signal:
    return Signal(
        workspace_id=WORKSPACE,
        stream_id=MISSIONS[0],
        type="text_delta",
        after=0,
        body={"content": content},
        run_id=UUID(int=1),
    )


async def test_what_is_sent_comes_to_the_others_only(members: Members) -> None:
    heard: list[list[object]] = [[], [], []]
    buses = [members() for _ in range(3)]
    for bus, ear in zip(buses, heard, strict=True):
        await bus.start(lambda workspace, position, ear=ear: ear.append(position), ear.append)  # type: ignore[misc]
    signal = a_signal("a")
    buses[0].hint(uuid4(), 7)
    buses[0].signal(signal)
    await settle(lambda: heard[1] == [7, signal] and heard[2] == [7, signal])
    assert heard[0] == []
    await buses[2].close()
    buses[0].hint(uuid4(), 8)
    await settle(lambda: heard[1] == [7, signal, 8])
    assert heard[2] == [7, signal]
    for bus in buses[:2]:
        await bus.close()


async def test_a_reader_of_one_hub_gets_what_another_published(members: Members) -> None:
    log = MemoryLog()
    one, two = Hub(log, bus=members(), gap_seconds=0), Hub(log, bus=members(), gap_seconds=0)
    await one.start()
    await two.start()
    wire, connection, task = await attach(two, ALL, 0)
    for _ in range(20):
        one.publish(WORKSPACE, [log.append() for _ in range(3)])
        await asyncio.sleep(0)
    await settle(lambda: received(wire, 0) == list(range(1, 61)))
    one.signal(a_signal("typed elsewhere"))
    await settle(lambda: b"signal text_delta\n" in wire.data)
    assert [signal.body["content"] for signal in two.signals.of(MISSIONS[0])] == ["typed elsewhere"]
    two.forget(connection)
    await task
    await one.close()
    await two.close()
