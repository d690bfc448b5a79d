"""Agents between the turns of missions of a real server: kept, bounded, ended with their mission and the server."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.conftest import Serving, serving_on
from tests.dialects.control.driving import create, events, send, until, until_status
from tests.system.node import marked_processes


def agents_of(home: Path) -> set[int]:
    """The living processes with this home."""
    return {process.pid for process in marked_processes(f"HOME={home}") if process.environment.get("HOME") == str(home)}


async def said(http: ClientSession, mission_id: str, content: str) -> str:
    """Send, wait for the end of the turn; the answer."""
    before = len(await events(http, mission_id, types="run_ended"))
    await send(http, mission_id, content)
    await until(lambda: events(http, mission_id, types="run_ended"), lambda rows: len(rows) > before)
    answer: str = (await events(http, mission_id, types="assistant_message"))[-1]["content"]
    return answer


async def gone(home: Path) -> None:
    async with asyncio.timeout(10):
        while agents_of(home):
            await asyncio.sleep(0.02)


async def test_the_second_turn_has_the_agent_of_the_first(serving: Serving, http: ClientSession) -> None:
    mission = await create(http, title="warm")
    home = serving.core.spaces.home(mission["id"])
    assert (await said(http, mission["id"], "recall")).startswith("I remember 1 ")
    before = agents_of(home)
    assert before
    assert (await said(http, mission["id"], "recall")).startswith("I remember 2 ")
    assert agents_of(home) == before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert (await said(http, mission["id"], "recall")).startswith("I remember 3 ")
    assert agents_of(home)
    assert not agents_of(home) & before


async def test_deleting_a_mission_ends_its_agent_and_removes_its_home(serving: Serving, http: ClientSession) -> None:
    mission = await create(http, title="to be deleted")
    home = serving.core.spaces.home(mission["id"])
    await said(http, mission["id"], "run touch $HOME/kept")
    assert agents_of(home)
    assert (home / "kept").exists()
    async with http.delete(f"/api/control/missions/{mission['id']}") as answer:
        assert answer.status == 200
    await gone(home)
    async with asyncio.timeout(10):
        while home.exists():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("seconds", [0, 0.3])
async def test_an_idle_agent_is_ended_and_remembers_when_it_comes_back(
    connect: dict[str, Any], data_dir: Path, seconds: float
) -> None:
    async with (
        serving_on(connect, data_dir, agent_idle_seconds=seconds) as server,
        ClientSession(server.url, headers=server.headers) as http,
    ):
        mission = await create(http, title="idle")
        home = server.core.spaces.home(mission["id"])
        await said(http, mission["id"], "recall")
        await gone(home)
        assert (await said(http, mission["id"], "recall")).startswith("I remember 2 ")


async def test_a_stopped_server_leaves_no_idle_agent_and_the_next_one_brings_its_memory(
    connect: dict[str, Any], data_dir: Path
) -> None:
    async with (
        serving_on(connect, data_dir) as server,
        ClientSession(server.url, headers=server.headers) as http,
    ):
        mission = await create(http, title="over a restart")
        home = server.core.spaces.home(mission["id"])
        await said(http, mission["id"], "recall")
        assert agents_of(home)
    assert not agents_of(home)
    async with (
        serving_on(connect, data_dir) as server,
        ClientSession(server.url, headers=server.headers) as http,
    ):
        assert (await said(http, mission["id"], "recall")).startswith("I remember 2 ")
        await until_status(http, mission["id"], "completed")
