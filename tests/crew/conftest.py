"""Servers whose crews' agents start at once, and a crew of a LEAD and two agents."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import serving_on
from tests.crew.world import QUICK_AGENT, World

NewWorld = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def new_world(connect: dict[str, Any], data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> NewWorld:
    """Makes a server and its world; settings of the server by keyword."""

    @asynccontextmanager
    async def make(*, is_quick: bool = True, **settings: Any) -> AsyncIterator[World]:
        if is_quick:
            monkeypatch.setenv("MISSIONSTREAM_BACKEND_DEMO_COMMAND", QUICK_AGENT)
        async with serving_on(connect, data_dir, agent_sandbox="off", **settings) as serving:
            yield World(serving)

    return make


@pytest.fixture
async def world(new_world: NewWorld) -> AsyncIterator[World]:
    """A server with a crew: Lead, Ann and Bob."""
    async with new_world() as world:
        await world.crew()
        await world.agent("Lead", is_lead=True)
        await world.agent("Ann")
        await world.agent("Bob")
        yield world
