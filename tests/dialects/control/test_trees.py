"""The tree of a mission, what is told of its changes, and how far missions are by their tasks and children."""

from typing import Any

import pytest
from aiohttp import ClientSession

from server.dialects.control import trees
from tests.dialects.control.driving import (
    MISSIONS,
    ask,
    create,
    get,
    post,
    send,
    stream,
    until,
    until_status,
)  # fmt: skip

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def add_task(http: ClientSession, mission: dict[str, Any], title: str, status: str | None = None) -> str:
    made = await post(http, f"{MISSIONS}/{mission['id']}/tasks", {"title": title, "description": f"to {title}"})
    if status is not None:
        path = f"{MISSIONS}/{mission['id']}/tasks/{made['id']}"
        assert (await ask(http, "PATCH", path, json={"status": status})).status == 200
    return str(made["id"])


async def tree_of(http: ClientSession, mission: dict[str, Any]) -> Any:
    return await get(http, f"{MISSIONS}/{mission['id']}/tree")


def shape(node: dict[str, Any]) -> Any:
    """Type, name or title, status, and the same of everything below."""
    return (node["type"], node["description"], node["status"], [shape(child) for child in node["children"]])


async def test_a_tree_holds_tasks_and_child_missions_at_every_level(owner: ClientSession) -> None:
    root = await create(owner, title="the ship", agent="planner")
    await add_task(owner, root, "paint", "completed")
    await add_task(owner, root, "caulk", "running")
    hull = await create(owner, title="the hull", parent_mission_id=root["id"])
    await add_task(owner, hull, "plank", "failed")
    keel = await create(owner, title="the keel", parent_mission_id=hull["id"])
    mast = await create(owner, title="the mast", parent_mission_id=root["id"])
    await post(owner, f"{MISSIONS}/{mast['id']}/status", {"status": "interrupted"})
    tree = await tree_of(owner, root)
    assert shape(tree) == (
        "Root", "the ship", "pending", [
            ("Task", "to paint", "completed", []),
            ("Task", "to caulk", "running", []),
            ("Subagent", "the hull", "pending", [
                ("Task", "to plank", "failed", []),
                ("Subagent", "the keel", "pending", []),
            ]),
            ("Subagent", "the mast", "failed", []),
        ],
    )  # fmt: skip
    assert (tree["name"], tree["truncated"]) == ("planner", False)
    assert (await tree_of(owner, keel))["children"] == []
    assert shape(await tree_of(owner, hull)) == ("Root", *shape(tree["children"][2])[1:])


async def test_a_deleted_child_leaves_the_tree(owner: ClientSession) -> None:
    root = await create(owner, title="the ship")
    child = await create(owner, title="the hull", parent_mission_id=root["id"])
    assert (await ask(owner, "DELETE", f"{MISSIONS}/{child['id']}")).status == 200
    assert (await tree_of(owner, root))["children"] == []


async def test_a_tree_is_cut_at_its_depth_and_says_so(owner: ClientSession) -> None:
    above = root = await create(owner, title="0")
    for level in range(1, trees.MAX_LEVELS + 1):
        above = await create(owner, title=str(level), parent_mission_id=above["id"])
    assert (await tree_of(owner, root))["truncated"] is False
    await create(owner, title="too deep", parent_mission_id=above["id"])
    node, depth = await tree_of(owner, root), 0
    assert node["truncated"] is True
    while node["children"]:
        [node] = node["children"]
        depth += 1
    assert (depth, node["description"]) == (trees.MAX_LEVELS, str(trees.MAX_LEVELS))


async def test_a_tree_is_cut_in_its_width_and_says_so(owner: ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    root = await create(owner, title="wide")
    for number in range(4):
        await create(owner, title=str(number), parent_mission_id=root["id"])
    for number in range(4):
        await add_task(owner, root, f"task {number}")
    monkeypatch.setattr(trees, "MAX_MISSIONS", 3)
    tree = await tree_of(owner, root)
    assert [node["type"] for node in tree["children"]] == ["Task"] * 4 + ["Subagent"] * 3
    assert tree["truncated"] is True
    monkeypatch.setattr(trees, "MAX_MISSIONS", 4)
    monkeypatch.setattr(trees, "MAX_NODES", 6)
    tree = await tree_of(owner, root)
    assert [node["type"] for node in tree["children"]] == ["Task"] + ["Subagent"] * 4
    assert tree["truncated"] is True


async def test_a_changed_tree_is_told_to_its_mission_and_to_those_above(owner: ClientSession) -> None:
    root = await create(owner, title="the ship")
    async with stream(owner, mission=root["id"]) as live:
        child = await create(owner, title="the hull", parent_mission_id=root["id"])
        frame = await live.named("agent_tree", mission_id=root["id"])
        assert frame.id is None
        assert [node["id"] for node in frame.data["tree"]["children"]] == [child["id"]]
        task = await add_task(owner, child, "plank")
        while not frame.data["tree"]["children"][0]["children"]:
            frame = await live.named("agent_tree", mission_id=root["id"])
    [hull] = frame.data["tree"]["children"]
    assert [node["id"] for node in hull["children"]] == [task]
    assert frame.data["tree"] == await tree_of(owner, root)


async def test_a_mission_without_parts_has_no_tree_to_tell(owner: ClientSession) -> None:
    lone = await create(owner, title="lone")
    async with stream(owner) as live:
        await post(owner, f"{MISSIONS}/{lone['id']}/title", {"title": "still lone"})
        family = await create(owner, title="a family")
        await add_task(owner, family, "paint")
        frame = await live.named("agent_tree")
    assert frame.data["mission_id"] == family["id"]


# how far it is


async def row_of(http: ClientSession, mission: dict[str, Any]) -> Any:
    return next(row for row in await get(http, "/api/control/running") if row["mission_id"] == mission["id"])


def parts(row: dict[str, Any]) -> tuple[int, int, int, str | None]:
    return (row["subtask_total"], row["subtask_completed"], row["expected_deliverables"], row["current_activity"])


async def test_what_runs_counts_tasks_and_children_until_somebody_reports(owner: ClientSession) -> None:
    mission = await create(owner, title="at work")
    await add_task(owner, mission, "paint", "completed")
    await add_task(owner, mission, "caulk", "running")
    done = await create(owner, title="done", parent_mission_id=mission["id"])
    await post(owner, f"{MISSIONS}/{done['id']}/status", {"status": "completed"})
    await create(owner, title="to do", parent_mission_id=mission["id"])
    await post(owner, f"{MISSIONS}/{mission['id']}/load")
    await send(owner, mission["id"], "sleep 60")
    row = await until(lambda: row_of(owner, mission), lambda row: row["state"] == "running")
    assert parts(row) == (4, 2, 4, "caulk")
    progress = await get(owner, "/api/control/progress")
    assert progress == {"total_subtasks": 4, "completed_subtasks": 2, "current_subtask": "caulk", "current_depth": 0}
    said = {"total_subtasks": 9, "completed_subtasks": 3, "current_subtask": "sand", "depth": 2}
    await post(owner, f"{MISSIONS}/{mission['id']}/progress", said)
    assert parts(await row_of(owner, mission)) == (9, 3, 4, "sand")
    assert (await get(owner, "/api/control/progress"))["current_depth"] == 2
    assert (await get(owner, f"{MISSIONS}/{mission['id']}/snapshot"))["running"]["subtask_total"] == 9
    await post(owner, f"{MISSIONS}/{mission['id']}/cancel")
    await until_status(owner, mission["id"], "interrupted")


async def question_of(http: ClientSession, mission: dict[str, Any]) -> str | None:
    calls = await get(http, f"{MISSIONS}/{mission['id']}/events", types="tool_call")
    return next((call["tool_call_id"] for call in calls if call["tool_name"] == "AskUserQuestion"), None)


async def test_a_report_takes_the_place_of_the_agents_plan_and_a_newer_plan_its_place(owner: ClientSession) -> None:
    mission = await create(owner, title="planned")
    path = f"{MISSIONS}/{mission['id']}/progress"
    await send(owner, mission["id"], "plan one; two; three\nask go on?\nplan one; two; three; four\nsleep 60")
    question = await until(lambda: question_of(owner, mission), bool)
    row = await until(lambda: row_of(owner, mission), lambda row: row["subtask_completed"] == 3)
    assert row["subtask_total"] == 3
    await post(owner, path, {"total_subtasks": 8, "completed_subtasks": 5})
    assert parts(await row_of(owner, mission))[:2] == (8, 5)
    answer = {"tool_call_id": question, "name": "AskUserQuestion", "result": "allow"}
    await post(owner, "/api/control/tool_result", answer)
    row = await until(lambda: row_of(owner, mission), lambda row: row["subtask_completed"] == 4)
    assert row["subtask_total"] == 4
    await post(owner, f"{MISSIONS}/{mission['id']}/cancel")
    await until_status(owner, mission["id"], "interrupted")
    assert (await get(owner, "/api/control/progress"))["total_subtasks"] == 8
