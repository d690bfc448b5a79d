"""What turns cost whose agents report the running total of their session, over processes and restarts."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.conftest import serving_on
from tests.dialects.control.driving import MISSIONS, create, events, get, post, send, until, until_status
from tests.system.node import marked_processes


@asynccontextmanager
async def cold_server(connect: dict[str, Any], data_dir: Path) -> AsyncIterator[ClientSession]:
    """A server that keeps no agent between turns: each turn loads the session of the one before."""
    async with (
        serving_on(connect, data_dir, agent_idle_seconds=0) as server,
        ClientSession(server.url, headers=server.headers) as http,
    ):
        yield http


async def costs(http: ClientSession, mission_id: str, turns: int) -> list[float]:
    """What so many turns have cost, in cents."""
    rows = await until(lambda: events(http, mission_id, types="run_ended"), lambda found: len(found) >= turns)
    return [row["metadata"]["use"]["cost_micros"] / 10_000 for row in rows]


async def reported(http: ClientSession, mission_id: str) -> None:
    """Wait until the turn that goes on has told a cost."""
    await until(lambda: get(http, f"{MISSIONS}/{mission_id}/snapshot"), lambda shot: "'usage'" in str(shot["signals"]))


async def test_a_session_that_is_loaded_again_is_not_paid_again(connect: dict[str, Any], data_dir: Path) -> None:
    async with cold_server(connect, data_dir) as http:
        mission = await create(http, backend="demo")
        for number, cents in enumerate((2.5, 3, 1), 1):
            await send(http, mission["id"], f"spend 100 {cents}\nrecall")
            await costs(http, mission["id"], number)
        said = await events(http, mission["id"], types="assistant_message")
        assert [row["content"][:12] for row in said] == ["I remember 1", "I remember 2", "I remember 3"]
        assert await costs(http, mission["id"], 3) == [2.5, 3, 1]
        assert (await get(http, f"{MISSIONS}/{mission['id']}"))["usage"]["cost_cents"] == 6.5


async def test_a_turn_that_was_called_off_is_paid_once(connect: dict[str, Any], data_dir: Path) -> None:
    async with cold_server(connect, data_dir) as http:
        mission = await create(http, backend="demo")
        await send(http, mission["id"], "spend 100 2.5\nsleep 60")
        await reported(http, mission["id"])
        await post(http, f"{MISSIONS}/{mission['id']}/cancel")
        await until_status(http, mission["id"], "interrupted")
        await send(http, mission["id"], "spend 100 3")
        assert await costs(http, mission["id"], 2) == [2.5, 3]


@pytest.mark.parametrize("end", ["crash", "kill -9"])
async def test_an_agent_that_died_is_paid_what_it_had_told(connect: dict[str, Any], data_dir: Path, end: str) -> None:
    async with cold_server(connect, data_dir) as http:
        mission = await create(http, backend="demo")
        await send(http, mission["id"], "spend 700 2.5\n" + ("crash" if end == "crash" else "sleep 60"))
        if end == "kill -9":
            await reported(http, mission["id"])
            for process in marked_processes(f"HOME={data_dir}"):
                os.kill(process.pid, signal.SIGKILL)
        assert await costs(http, mission["id"], 1) == [2.5]
        failed = await until_status(http, mission["id"], "failed")
        assert failed["usage"]["total_tokens"] == 700
        [error] = await events(http, mission["id"], types="error")
        assert error["content"].startswith("The agent stopped unexpectedly")


async def test_a_turn_that_a_restart_cut_off_is_paid_once_and_remembered(
    connect: dict[str, Any], data_dir: Path
) -> None:
    async with cold_server(connect, data_dir) as http:
        mission = await create(http, backend="demo")
        await send(http, mission["id"], "spend 100 2.5\nsleep 60")
        await reported(http, mission["id"])
    async with cold_server(connect, data_dir) as http:
        await send(http, mission["id"], "spend 100 3\nrecall")
        assert await costs(http, mission["id"], 2) == [2.5, 3]
        assert (await events(http, mission["id"], types="assistant_message"))[-1]["content"].startswith("I remember 2")
