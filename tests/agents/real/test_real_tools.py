"""Real coding agents with this server's own MCP server: how each spells its tools, and that nobody is asked about them."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import pytest

from tests.agents.model.script import McpCall, Script
from tests.agents.real.stage import Mission, Stage, until

Staged = Callable[..., AbstractAsyncContextManager[Stage]]
TITLE = "paint the hull"
SIGNED = "eyJ"
"""How every token that we sign begins."""


_OF_CLAUDE = "mcp__missionstream__create_task"


class Spelling(NamedTuple):
    """A backend's names for create_task: `offered` to its model, `shown` to us as the title of the call, `logged`.

    One that is not `asking` calls it without a permission. A `late` one takes messages before it has the tools: its
    model has them from the next request on.
    """

    backend: str
    offered: tuple[str | None, str] | None
    shown: str
    logged: str = "Tool"
    is_asking: bool = True
    is_late: bool = False


SPELLINGS = (
    Spelling("claudecode", (None, _OF_CLAUDE), _OF_CLAUDE, _OF_CLAUDE),
    Spelling("codex", ("mcp__missionstream", "create_task"), "mcp.missionstream.create_task", _OF_CLAUDE, is_late=True),
    Spelling("gemini", (None, "mcp_missionstream_create_task"), "create_task (missionstream MCP Server)"),
    # Its model knows one tool for all, `use_tool`, and finds out their names.
    Spelling("grok", None, "missionstream__create_task", is_late=True),
    Spelling("opencode", (None, "missionstream_create_task"), "missionstream_create_task", is_asking=False),
)


async def until_done(stage: Stage, mission: Mission, spelling: Spelling) -> int:
    """Let the model create the task; how many messages it took."""
    messages = 0

    async def is_done() -> bool:
        nonlocal messages
        messages += 1
        call = McpCall(server="missionstream", tool="create_task", arguments={"title": TITLE})
        stage.model.script = Script(mcp=call)
        assert await mission.said(f"make a task, {messages}") == "All done."
        return bool(await mission.get("/tasks"))

    await until(is_done)
    assert messages == 1 or spelling.is_late
    return messages


@pytest.mark.parametrize(
    ("backend", "spelling"),
    [(each.backend, each) for each in SPELLINGS],
    ids=[each.backend for each in SPELLINGS],
    indirect=["backend"],
)
async def test_a_real_agent_creates_a_task_by_our_tool_and_nobody_is_asked(
    backend: str, spelling: Spelling, staged: Staged
) -> None:
    async with staged() as stage:
        mission = await stage.create()
        assert (await mission.get())["permission_policy"] == "ask"
        await until_done(stage, mission, spelling)
        [task] = await mission.get("/tasks")
        assert (task["title"], task["status"]) == (TITLE, "pending")
        [created] = await mission.events("task_created")
        assert created["actor"] == f"agent:{backend}"
        offers = {(offer.namespace, offer.name) for asked in stage.model.asked for offer in asked.offers}
        assert spelling.offered in offers if spelling.offered else (None, "use_tool") in offers
        call = (await mission.called())[-1]
        assert (call["metadata"]["title"], call["tool_name"]) == (spelling.shown, spelling.logged)
        result = next(e for e in await mission.events("tool_result") if e["tool_call_id"] == call["tool_call_id"])
        assert (result["metadata"]["status"], TITLE in result["content"]) == ("completed", True)
        assert TITLE in stage.model.results()[-1]
        assert await mission.questions() == []
        granted = [(grant["allowed_by"], grant["option"]) for grant in await mission.grants()]
        assert granted == [("own_tool", "allow_once")] * (len(await mission.called()) if spelling.is_asking else 0)
        assert SIGNED not in json.dumps(await mission.events())
    assert mission.processes() == set()
