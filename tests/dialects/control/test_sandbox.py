"""What a mission tells of its agent's sandbox, and how a server that requires one behaves without it."""

import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from server.agents.sandbox import Sandbox
from storage.pool import Database
from tests.conftest import serving_on
from tests.dialects.control.driving import create, events, get, send, until, until_status

KIND = "none" if Sandbox(policy="prefer", path=os.environ["PATH"]).look()[0] is None else "bubblewrap"


async def _runs(database: Database) -> list[str]:
    async with database.reading() as connection:
        return [row["sandbox"] for row in await connection.fetch("TABLE runs")]


async def test_the_running_list_and_the_runs_row_tell_the_sandbox(http: ClientSession, database: Database) -> None:
    mission = await create(http, title="shut in")
    await send(http, mission["id"], "sleep 30")
    [running] = await until(
        lambda: get(http, "/api/control/running"), lambda rows: rows and rows[0]["sandbox"] is not None
    )
    assert running["sandbox"] == KIND
    snapshot = await get(http, f"/api/control/missions/{mission['id']}/snapshot")
    assert snapshot["running"]["sandbox"] == KIND
    assert await _runs(database) == [KIND]
    async with http.post(f"/api/control/missions/{mission['id']}/cancel"):
        pass
    await until_status(http, mission["id"], "interrupted")


@pytest.mark.parametrize("policy", ["require", "prefer"])
async def test_a_server_without_bubblewrap(
    connect: dict[str, Any], database: Database, data_dir: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    monkeypatch.setenv("PATH", str(data_dir))
    async with (
        serving_on(connect, data_dir, agent_sandbox=policy) as server,
        ClientSession(server.url, headers=server.headers) as http,
    ):
        mission = await create(http, title="not shut in", backend="demo")
        await send(http, mission["id"], "say hello")
        if policy == "require":
            await until_status(http, mission["id"], "failed")
            [error] = await events(http, mission["id"], types="error")
            assert "apt-get install bubblewrap" in error["content"]
        else:
            await until_status(http, mission["id"], "completed")
        assert await _runs(database) == ["none"]
