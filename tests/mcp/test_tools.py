"""The MCP server as a process, called by the SDK's client, over a real server of ours."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from mcp import Client, StdioServerParameters

from tests.conftest import TOKEN, Serving
from tests.dialects.control.driving import MISSIONS, UNKNOWN, append, create, events, get, post

ROOT = Path(__file__).resolve().parents[2]
CODE = os.pathsep.join(str(ROOT / part) for part in ("clients/mcp", "clients/python"))


@asynccontextmanager
async def connected(url: str, mission_id: str | None = None, token: str = TOKEN) -> AsyncIterator[Client]:
    environment = {"PYTHONPATH": CODE, "MISSIONSTREAM_URL": url, "MISSIONSTREAM_TOKEN": token}
    if mission_id is not None:
        environment["MISSIONSTREAM_MISSION_ID"] = mission_id
    process = StdioServerParameters(
        command=sys.executable, args=["-P", "-m", "missionstream_mcp"], env=environment, cwd="/"
    )
    async with Client(process) as client:
        yield client


async def ask(client: Client, tool: str, **arguments: Any) -> Any:
    """What a tool answers; an error's text as str."""
    answer = await client.call_tool(tool, arguments)
    [content] = answer.content
    assert content.type == "text"
    assert len(content.text) < 60_000
    assert TOKEN not in content.text
    return content.text if answer.is_error else json.loads(content.text)


async def test_every_tool_is_described_and_does_what_it_says(serving: Serving, http: ClientSession) -> None:
    mission = await create(http, title="at work", backend="demo")
    async with connected(serving.url, mission["id"]) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {
            "report_progress", "list_tasks", "create_task", "update_task", "create_child_mission", "read_events",
        }  # fmt: skip
        assert all(len(tool.description or "") > 60 for tool in tools.values())
        told = client.instructions or ""
        assert [name for name in tools if name not in told] == []
        assert len(told) < 1_000  # it is in every session's context
        made = await ask(client, "create_task", title="paint", description="the hull")
        assert made == {"id": made["id"], "title": "paint", "description": "the hull", "status": "pending"}
        changed = await ask(client, "update_task", task_id=made["id"], status="running")
        assert changed == {**made, "status": "running"}
        assert await ask(client, "list_tasks") == {"tasks": [changed]}
        said = {"total_subtasks": 3, "completed_subtasks": 1, "current_subtask": "paint", "depth": 0}
        assert await ask(client, "report_progress", **said) == said
        child = await ask(client, "create_child_mission", title="the mast")
        page = await ask(client, "read_events")
    assert (await get(http, f"{MISSIONS}/{child['id']}"))["parent_mission_id"] == mission["id"]
    assert (await get(http, f"{MISSIONS}/{mission['id']}/tasks"))[0]["status"] == "running"
    assert [event["event_type"] for event in await events(http, mission["id"])] == [
        "mission_created", "task_created", "task_updated", "progress",
    ]  # fmt: skip
    assert [(event["sequence"], event["type"]) for event in page["events"]] == [
        (1, "mission_created"), (2, "task_created"), (3, "task_updated"), (4, "progress"),
    ]  # fmt: skip
    assert (page["next_since_seq"], page["has_more"]) == (4, False)


async def test_events_come_in_bounded_pages_that_lose_nothing(serving: Serving, http: ClientSession) -> None:
    mission = await create(http, title="talkative")
    drafts = [{"event_type": "x_note", "content": f"{number} " + "y" * 3_000} for number in range(60)]
    for start in range(0, 60, 20):
        for draft in drafts[start : start + 20]:
            await append(http, mission["id"], {**draft, "event_id": draft["content"][:3]})
    seen: list[int] = []
    async with connected(serving.url, mission["id"]) as client:
        since, has_more = 0, True
        while has_more:
            page = await ask(client, "read_events", since_seq=since, limit=200)
            assert 0 < len(page["events"]) < 40
            seen += [event["sequence"] for event in page["events"]]
            since, has_more = page["next_since_seq"], page["has_more"]
        assert page["events"][-1]["cut_characters"] > 1_000
        rest = await ask(client, "read_events", since_seq=since)
    assert seen == list(range(1, 62))
    assert rest == {"events": [], "next_since_seq": 61, "has_more": False}


async def test_an_error_says_the_servers_words_and_the_next_step(serving: Serving, http: ClientSession) -> None:
    mission = await create(http, title="at work")
    async with connected(serving.url, mission["id"]) as client:
        text = await ask(client, "update_task", task_id=UNKNOWN, status="running")
        assert f"Task {UNKNOWN} not found" in text
        assert "list_tasks gives those of tasks" in text
        text = await ask(client, "report_progress", total_subtasks=1, completed_subtasks=2)
        assert "completed_subtasks cannot be more than total_subtasks. Change what you ask for" in text
        assert "status" in await ask(client, "update_task", task_id=UNKNOWN, status="done")
    async with connected(serving.url) as client:
        assert "Give mission_id" in await ask(client, "list_tasks")
        assert await ask(client, "list_tasks", mission_id=mission["id"]) == {"tasks": []}
    async with connected(serving.url, mission["id"], token="wrong") as client:
        text = await ask(client, "list_tasks")
        assert "Invalid or expired token" in text
        assert "Do not repeat this" in text


async def test_a_person_and_an_agent_see_one_list(serving: Serving, http: ClientSession) -> None:
    mission = await create(http, title="shared")
    await post(http, f"{MISSIONS}/{mission['id']}/tasks", {"title": "from a person"})
    async with connected(serving.url, mission["id"]) as client:
        await ask(client, "create_task", title="from an agent")
        titles = [task["title"] for task in (await ask(client, "list_tasks"))["tasks"]]
    assert titles == ["from a person", "from an agent"]


@pytest.mark.parametrize("environment", [{}, {"MISSIONSTREAM_URL": "http://127.0.0.1:1"}])
async def test_without_a_server_it_says_what_to_set(environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "missionstream_mcp",
        env={"PYTHONPATH": CODE, "PATH": os.environ["PATH"], **environment},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out) == (1, b"")
    assert b"MISSIONSTREAM_TOKEN" in err
    assert b"Traceback" not in err
