"""Progress and tasks over HTTP, by people and by the agent of a run, and what an agent may make."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from uuid import UUID

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from server.auth.authenticator import RUN_ENDED
from tests.conftest import Serving, serving_on
from tests.dialects.control.driving import (
    MISSIONS,
    NIL,
    UNKNOWN,
    ask,
    create,
    events,
    get,
    post,
    send,
    stream,
    until,
    until_status,
)  # fmt: skip

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def patch(http: ClientSession, path: str, **body: Any) -> Any:
    answer = await ask(http, "PATCH", path, json=body)
    assert answer.status == 200, answer
    return answer.json


def tasks_of(mission: dict[str, Any]) -> str:
    return f"{MISSIONS}/{mission['id']}/tasks"


async def test_a_task_is_an_event_and_listed(owner: ClientSession) -> None:
    mission = await create(owner, title="with tasks")
    made = await post(owner, tasks_of(mission), {"title": "  paint  ", "description": "the hull"})
    assert (made["title"], made["description"], made["status"]) == ("paint", "the hull", "pending")
    changed = await patch(owner, f"{tasks_of(mission)}/{made['id']}", status="running")
    assert (changed["status"], changed["description"], changed["created_at"]) == (
        "running", "the hull", made["created_at"],
    )  # fmt: skip
    assert await get(owner, tasks_of(mission)) == [changed]
    logged = await events(owner, mission["id"], types="task_created,task_updated")
    assert [(event["event_type"], event["content"], event["metadata"]["status"]) for event in logged] == [
        ("task_created", "paint", "pending"),
        ("task_updated", "paint", "running"),
    ]
    assert {event["metadata"]["task_id"] for event in logged} == {made["id"]}


async def test_tasks_and_progress_are_seen_live_with_their_fields(owner: ClientSession) -> None:
    mission = await create(owner, title="watched")
    async with stream(owner, mission=mission["id"]) as live:
        await live.named("status")
        made = await post(owner, tasks_of(mission), {"title": "paint"})
        frame = await live.named("task_created")
        assert frame.id is not None
        assert frame.data["task"] == {"id": made["id"], "title": "paint", "description": "", "status": "pending"}
        said = {"total_subtasks": 4, "completed_subtasks": 2, "current_subtask": "paint", "depth": 1}
        assert await post(owner, f"{MISSIONS}/{mission['id']}/progress", said) == said
        frame = await live.named("progress")
    assert {name: frame.data[name] for name in (*said, "mission_id")} == {**said, "mission_id": mission["id"]}
    assert frame.data["sequence"] == 3


async def test_a_repeated_key_makes_one_task_and_gets_the_first_answer(owner: ClientSession) -> None:
    mission = await create(owner, title="repeats")
    headers = {"Idempotency-Key": "the same"}
    first = await ask(owner, "POST", tasks_of(mission), json={"title": "once"}, headers=headers)
    again = await ask(owner, "POST", tasks_of(mission), json={"title": "once"}, headers=headers)
    assert (first.status, first.text) == (again.status, again.text)
    assert (await ask(owner, "POST", tasks_of(mission), json={"title": "other"}, headers=headers)).status == 422
    path = f"{tasks_of(mission)}/{first.json['id']}"
    for status in ("running", "completed"):
        await patch(owner, path, status=status)
    ran = await ask(owner, "PATCH", path, json={"status": "running"}, headers={"Idempotency-Key": "run"})
    await patch(owner, path, status="completed")
    assert (await ask(owner, "PATCH", path, json={"status": "running"}, headers={"Idempotency-Key": "run"}))[:2] == ran[
        :2
    ]
    [task] = await get(owner, tasks_of(mission))
    assert task["status"] == "completed"


@pytest.mark.parametrize(
    ("method", "tail", "body", "status", "text"),
    [
        ("POST", "/tasks", {"title": "  "}, 400, "a task's title has 1 to 200 characters"),
        ("POST", "/tasks", {}, 422, "title"),
        ("POST", "/tasks", {"title": "x" * 201}, 422, "title"),
        ("POST", "/tasks", {"title": "x", "description": "x" * 4001}, 422, "description"),
        ("PATCH", f"/tasks/{UNKNOWN}", {"status": "running"}, 404, f"Task {UNKNOWN} not found"),
        ("PATCH", "/tasks/xyz", {"status": "running"}, 400, "'xyz' is not a UUID"),
        ("PATCH", f"/tasks/{UNKNOWN}", {"status": "done"}, 422, "one of pending, running, completed, failed"),
        ("POST", "/progress", {"total_subtasks": 1, "completed_subtasks": 2}, 422, "cannot be more than"),
        ("POST", "/progress", {"total_subtasks": -1, "completed_subtasks": 0}, 422, "total_subtasks"),
        ("POST", "/progress", {"total_subtasks": 1}, 422, "completed_subtasks"),
        ("POST", "/progress", {"total_subtasks": 1, "completed_subtasks": 0, "depth": 101}, 422, "depth"),
    ],
)
async def test_what_is_not_right_is_refused_and_leaves_nothing(
    owner: ClientSession, method: str, tail: str, body: dict[str, Any], status: int, text: str
) -> None:
    mission = await create(owner, title="untouched")
    answer = await ask(owner, method, f"{MISSIONS}/{mission['id']}{tail}", json=body)
    assert answer.status == status, answer
    assert text in answer.text
    assert len(await events(owner, mission["id"])) == 1
    assert (await ask(owner, method, f"{MISSIONS}/{UNKNOWN}{tail}", json=body)).status in (status, 404)


async def test_a_mission_has_at_most_two_hundred_tasks(owner: ClientSession) -> None:
    mission = await create(owner, title="full")
    for number in range(200):
        await post(owner, tasks_of(mission), {"title": f"task {number}"})
    answer = await ask(owner, "POST", tasks_of(mission), json={"title": "one more"})
    assert (answer.status, answer.text[:34]) == (409, "a mission has at most 200 tasks; c")
    assert len(await get(owner, tasks_of(mission))) == 200


async def test_progress_and_tasks_survive_a_restart(connect: dict[str, Any], data_dir: Any) -> None:
    said = {"total_subtasks": 4, "completed_subtasks": 2, "current_subtask": "paint"}
    async with serving_on(connect, data_dir) as server, ClientSession(server.url, headers=server.headers) as http:
        mission = await create(http, title="lasting")
        made = await post(http, tasks_of(mission), {"title": "paint"})
        await post(http, f"{MISSIONS}/{mission['id']}/progress", said)
    async with serving_on(connect, data_dir) as server, ClientSession(server.url, headers=server.headers) as http:
        assert await get(http, tasks_of(mission)) == [made]
        assert await get(http, "/api/control/progress") == {**said, "current_depth": 0}


# agents


class Agent(NamedTuple):
    """An agent in its turn, and the mission that it works on."""

    http: ClientSession
    mission: dict[str, Any]


async def token_of(shared: Serving, mission: dict[str, Any]) -> str:
    """The token of the run that goes on on a mission."""
    run_id = (await shared.core.missions.get(shared.workspace_id, UUID(mission["id"]))).run_id
    assert run_id is not None
    token = shared.core.authenticator.run_token(shared.workspace_id, UUID(mission["id"]), run_id)
    async with ClientSession(shared.url, headers={"Authorization": f"Bearer {token}"}) as http:
        await until(lambda: ask(http, "GET", tasks_of(mission)), lambda answer: answer.status == 200)
    return token


@pytest_asyncio.fixture(loop_scope="module")
async def agent(shared: Serving, owner: ClientSession) -> AsyncIterator[Agent]:
    mission = await create(owner, title="at work", agent="planner")
    await send(owner, mission["id"], "sleep 60")
    headers = {"Authorization": f"Bearer {await token_of(shared, mission)}"}
    async with ClientSession(shared.url, headers=headers) as http:
        yield Agent(http, mission)
    if (await get(owner, f"{MISSIONS}/{mission['id']}"))["status"] == "active":
        await post(owner, f"{MISSIONS}/{mission['id']}/cancel")
        await until_status(owner, mission["id"], "interrupted")


async def test_what_an_agent_says_has_it_as_its_author(owner: ClientSession, agent: Agent) -> None:
    await post(agent.http, tasks_of(agent.mission), {"title": "paint"})
    await post(agent.http, f"{MISSIONS}/{agent.mission['id']}/progress", {"total_subtasks": 1, "completed_subtasks": 0})
    logged = await events(owner, agent.mission["id"], types="task_created,progress")
    assert [event["actor"] for event in logged] == ["agent:demo", "agent:demo"]


async def test_an_agent_makes_children_of_its_mission_that_open_on_nobodys_screen(
    owner: ClientSession, agent: Agent
) -> None:
    child = await post(agent.http, MISSIONS, {"title": "a part", "parent_mission_id": agent.mission["id"]})
    assert (child["parent_mission_id"], child["backend"], child["status"]) == (agent.mission["id"], "demo", "pending")
    assert (await get(owner, f"{MISSIONS}/current"))["id"] == agent.mission["id"]
    assert [
        row["id"] for row in (await get(agent.http, f"{MISSIONS}/{agent.mission['id']}/snapshot"))["child_missions"]
    ] == [child["id"]]
    answer = await ask(agent.http, "GET", f"{MISSIONS}/{child['id']}/events")
    assert (answer.status, answer.text) == (404, f"Mission {child['id']} not found")


async def test_an_agents_child_works_in_its_parents_space(shared: Serving, owner: ClientSession, agent: Agent) -> None:
    other = await post(owner, "/api/workspaces", {"name": "elsewhere"})
    body = {"parent_mission_id": agent.mission["id"], "workspace_id": other["id"]}
    answer = await ask(agent.http, "POST", MISSIONS, json=body)
    assert (answer.status, answer.text[:40]) == (403, "A child mission of an agent works in the")
    assert (await post(agent.http, MISSIONS, {**body, "workspace_id": NIL}))["workspace_id"] == NIL


async def test_an_agent_allows_its_children_no_more_than_itself(owner: ClientSession, agent: Agent) -> None:
    body = {"title": "a part", "parent_mission_id": agent.mission["id"]}
    answer = await ask(agent.http, "POST", MISSIONS, json={**body, "permission_policy": "allow_all"})
    assert (answer.status, answer.text) == (
        403, "An agent may not allow its children more than itself: its permission_policy is ask.",
    )  # fmt: skip
    assert (await post(agent.http, MISSIONS, body))["permission_policy"] == "ask"


async def test_an_agent_makes_at_most_fifty_children(owner: ClientSession, agent: Agent) -> None:
    body = {"title": "a part", "parent_mission_id": agent.mission["id"]}
    for _ in range(50):
        await post(agent.http, MISSIONS, body)
    answer = await ask(agent.http, "POST", MISSIONS, json=body)
    assert (answer.status, answer.text) == (409, "This mission has 50 children; an agent may not make more of them.")
    assert (await create(owner, **body))["parent_mission_id"] == agent.mission["id"]


async def test_a_runs_token_is_refused_once_the_run_is_over(owner: ClientSession, agent: Agent) -> None:
    await post(owner, f"{MISSIONS}/{agent.mission['id']}/cancel")
    await until_status(owner, agent.mission["id"], "interrupted")
    for method, path in (("GET", tasks_of(agent.mission)), ("POST", tasks_of(agent.mission))):
        answer = await ask(agent.http, method, path, json={"title": "too late"})
        assert (answer.status, answer.text) == (401, RUN_ENDED)
    assert await get(owner, tasks_of(agent.mission)) == []
