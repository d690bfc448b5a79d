"""The whole chain: a message, the agent's process, its MCP server's process, HTTP, the log, and who follows it."""

import json
from typing import Any

import pytest
import structlog
from aiohttp import ClientSession

from tests.conftest import Serving
from tests.dialects.control.driving import MISSIONS, create, events, get, send, stream, until_status

pytestmark = pytest.mark.asyncio(loop_scope="module")
SIGNED = "eyJ"
"""How every token that we sign begins."""


async def results(http: ClientSession, mission: dict[str, Any]) -> list[Any]:
    """What the agent's tool calls gave, in order."""
    return [json.loads(event["content"]) for event in await events(http, mission["id"], types="tool_result")]


async def test_what_an_agent_reports_by_its_tools_is_in_the_log_and_on_the_stream(
    shared: Serving, owner: ClientSession
) -> None:
    mission = await create(owner, title="with tools", backend="demo")
    script = (
        'tool report_progress {"total_subtasks": 3, "completed_subtasks": 1, "current_subtask": "paint"}\n'
        'tool create_task {"title": "paint the hull"}\n'
        'tool create_child_mission {"title": "the mast"}\n'
        "tool read_events\n"
        "say all told"
    )
    with structlog.testing.capture_logs() as lines:
        async with stream(owner, mission=mission["id"]) as live:
            await send(owner, mission["id"], script)
            progress = await live.named("progress", total_subtasks=3)
            task = await live.named("task_created")
        await until_status(owner, mission["id"], "completed")
    assert progress.id is not None
    assert (progress.data["current_subtask"], progress.data["mission_id"]) == ("paint", mission["id"])
    assert task.data["task"]["title"] == "paint the hull"
    logged = await events(owner, mission["id"])
    assert {event["actor"] for event in logged if event["event_type"] in ("progress", "task_created")} == {"agent:demo"}
    assert [task["title"] for task in await get(owner, f"{MISSIONS}/{mission['id']}/tasks")] == ["paint the hull"]
    tree = await get(owner, f"{MISSIONS}/{mission['id']}/tree")
    assert [(node["type"], node["status"]) for node in tree["children"]] == [
        ("Task", "pending"),
        ("Subagent", "pending"),
    ]
    page = json.loads((await results(owner, mission))[-1])
    assert "progress" in [event["type"] for event in page["events"]]
    assert SIGNED not in json.dumps(logged)
    assert SIGNED not in str(lines)


async def test_an_agents_tools_do_not_reach_another_mission(owner: ClientSession) -> None:
    other = await create(owner, title="another", backend="demo")
    mission = await create(owner, title="curious", backend="demo")
    given = json.dumps({"mission_id": other["id"]})
    await send(owner, mission["id"], f'tool read_events {given}\ntool create_task {{"title": "x", {given[1:]}')
    await until_status(owner, mission["id"], "completed")
    refusals = await results(owner, mission)
    assert len(refusals) == 2
    assert all(f"Mission {other['id']} not found" in text for text in refusals)
    assert len(await events(owner, other["id"])) == 1
