"""What the client's tests share: a server that can go wrong, and a client with small times."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from missionstream_client import Client, Follow, Timing
from missionstream_client.follow import T
from tests.client.fake_server import TOKEN, FakeServer

TIMING = Timing(
    base_seconds=0.001,
    cap_seconds=0.05,
    silence_seconds=0.25,
    poll_wait_seconds=0.1,
    poll_pause_seconds=0.01,
    attempts=4,
)


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    fake = FakeServer()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[Client]:
    async with Client(server.url, TOKEN, timing=TIMING) as client:
        yield client


@pytest.fixture
async def mission(client: Client) -> str:
    return (await client.create_mission("one")).id


@pytest.fixture(params=["sse", "ws", "poll"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def take(follow: Follow[T], count: int, within_seconds: float = 5.0) -> list[T]:
    """The next `count` things of a follow."""
    async with asyncio.timeout(within_seconds):
        return [await anext(follow) for _ in range(count)]


async def until(condition: Callable[[], object], within_seconds: float = 5.0) -> None:
    """Wait for something that announces itself to nobody."""
    async with asyncio.timeout(within_seconds):
        while not condition():
            await asyncio.sleep(0.001)
