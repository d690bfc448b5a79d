"""What a mission tells of its agent's sandbox, and how a server that requires one behaves without it."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from server.agents.sandbox import Sandbox
from storage.pool import Database
from tests.conftest import serving_on
from tests.dialects.control.driving import create, events, get, post, send, until, until_status

KIND = "none" if Sandbox(policy="prefer", path=os.environ["PATH"]).look()[0] is None else "bubblewrap"


async def _runs(database: Database) -> list[str | None]:
    async with database.reading() as connection:
        return [row["sandbox"] for row in await connection.fetch("SELECT sandbox FROM runs ORDER BY started_at")]


async def test_the_running_list_and_the_runs_row_tell_the_sandbox(http: ClientSession, database: Database) -> None:
    mission = await create(http, title="shut in")
    await send(http, mission["id"], "sleep 30")
    [running] = await until(
        lambda: get(http, "/api/control/running"), lambda rows: rows and rows[0]["sandbox"] is not None
    )
    assert running["sandbox"] == KIND
    snapshot = await get(http, f"/api/control/missions/{mission['id']}/snapshot")
    assert snapshot["running"]["sandbox"] == KIND
    assert (await until_status(http, mission["id"], "active"))["sandbox"] == KIND
    await until(lambda: _runs(database), lambda rows: rows == [KIND])
    async with http.post(f"/api/control/missions/{mission['id']}/cancel"):
        pass
    assert (await until_status(http, mission["id"], "interrupted"))["sandbox"] == KIND
    [changed] = await events(http, mission["id"], types="sandbox_changed")
    assert changed["metadata"]["sandbox"] == KIND


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
        assert "sandbox" not in mission
        await send(http, mission["id"], "say hello")
        if policy == "require":
            assert "sandbox" not in await until_status(http, mission["id"], "failed")
            [error] = await events(http, mission["id"], types="error")
            assert "apt-get install bubblewrap" in error["content"]
        else:
            assert (await until_status(http, mission["id"], "completed"))["sandbox"] == "none"
        assert await _runs(database) == [None if policy == "require" else "none"]


@pytest.mark.skipif(KIND == "none", reason="needs bubblewrap")
async def test_an_agent_that_stays_up_keeps_the_sandbox_that_it_was_started_with(
    connect: dict[str, Any], database: Database, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shutil.which("bwrap")
    assert found is not None
    programs = data_dir / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    async with (
        serving_on(connect, data_dir, agent_sandbox="prefer") as server,
        ClientSession(server.url, headers=server.headers) as http,
    ):
        mission = await create(http, title="installed meanwhile", backend="demo")
        await send(http, mission["id"], "say hello")
        await until_status(http, mission["id"], "completed")
        (programs / "bwrap").symlink_to(found)
        await send(http, mission["id"], "sleep 30")
        [running] = await until(
            lambda: get(http, "/api/control/running"), lambda rows: rows and rows[0]["sandbox"] is not None
        )
        assert running["sandbox"] == "none"
        await post(http, f"/api/control/missions/{mission['id']}/cancel")  # which ends the agent, too
        assert (await until_status(http, mission["id"], "interrupted"))["sandbox"] == "none"
        await send(http, mission["id"], "say hello again")
        assert (await until_status(http, mission["id"], "completed"))["sandbox"] == "bubblewrap"
        changes = await events(http, mission["id"], types="sandbox_changed")
        assert [row["metadata"]["sandbox"] for row in changes] == ["none", "bubblewrap"]
        assert await _runs(database) == ["none", "none", "bubblewrap"]
