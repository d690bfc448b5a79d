"""Real coding agents in the sandbox of a real server: what they can do there, what they cannot see, how they end."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.agents.model.script import Script
from tests.agents.real.conftest import at_work
from tests.agents.real.stage import Stage, until
from tests.agents.scenarios import BACKENDS
from tests.conftest import TOKEN

Staged = Callable[..., AbstractAsyncContextManager[Stage]]
SECRET = "the-captain-is-afraid"
READS_BY_SHELL = {"codex": "it has no tool that reads files"}


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
async def test_a_shut_in_agent_works_in_its_space_and_sees_nothing_of_the_others(
    backend: str, staged: Staged, data_dir: Path
) -> None:
    other = data_dir / "homes" / "018f0000-0000-7000-8000-000000000001"
    other.mkdir(parents=True)
    hidden = [data_dir / "secret.txt", other / "secret.txt"]
    for file in hidden:
        file.write_text(SECRET)
    async with staged(agent_idle_seconds=0) as stage:
        space = await stage.space()
        (space / "notes.txt").write_text("the hull is painted\n")
        # One agent refuses commands with a substitution in them.
        count = f"ls {data_dir}/homes | wc -l | sed 's/^/homes: /'"
        look = f"cat {hidden[0]} {hidden[1]}; {count}; cat notes.txt > copy.txt"
        stage.model.script = Script(read=str(space / "notes.txt"), command=look)
        mission = await stage.create(permission_policy="allow_all")
        assert await mission.said("read and look") == "All done."
        assert len(await mission.called()) == (1 if backend in READS_BY_SHELL else 2)
        told = "\n".join(stage.model.results())
        assert "homes: 1" in told
        assert ("the hull is painted" in told) is (backend not in READS_BY_SHELL)
        assert (space / "copy.txt").read_text() == "the hull is painted\n"
        for file in hidden:
            stage.model.script = Script(read=str(file), command=f"cat {file}; echo looked")
            assert await mission.said("read a secret") == "All done."
        assert any("looked" in result for result in stage.model.results())
        logged = json.dumps(await mission.events())
        assert (SECRET in "".join(stage.model.results()), SECRET in logged, TOKEN in logged) == (False, False, False)
        async with stage.server.core.database.reading() as connection:
            assert {row["sandbox"] for row in await connection.fetch("TABLE runs")} == {"bubblewrap"}
        await mission.gone()
        assert at_work(space) == []


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
async def test_a_turn_called_off_in_mid_tool_ends_with_everything_that_it_started(backend: str, staged: Staged) -> None:
    async with staged() as stage:
        space = await stage.space()
        stage.model.script = Script(command="echo started; (sleep 300 &); setsid sleep 301 & sleep 302")
        mission = await stage.create(permission_policy="allow_all")
        await mission.send("sleep")

        async def is_asleep() -> bool:
            return at_work(space).count("sleep") == 3

        await until(is_asleep)
        assert mission.processes()
        await mission.cancel()
        assert (await mission.end())["reason"] == "cancelled"
        await mission.gone()
        assert at_work(space) == []
        assert (await mission.get())["status"] == "interrupted"
        [result] = await mission.events("tool_result")
        assert result["tool_call_id"] == (await mission.called())[0]["tool_call_id"]
        stage.model.script = Script(answer="Here again.")
        assert await mission.said("and now?") == "Here again."
