"""kill -9 of the server in the middle of a crew's mission: it goes on where it was, and no task is done twice."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import ClientSession

from tests.crew.world import QUICK_AGENT
from tests.system.crews import a_crew, events_of, made
from tests.system.node import Node, marked_processes
from tests.system.wiretap import until

_ENVIRONMENT = {
    "MISSIONSTREAM_BACKEND_DEMO_COMMAND": QUICK_AGENT,
    "MISSIONSTREAM_AGENT_SANDBOX": "off",
    "MISSIONSTREAM_MAX_PARALLEL_MISSIONS": "3",
}
_LAYERS, _WIDTH = 6, 5


async def _mission(http: ClientSession, http_crew: str, lead: str) -> str:
    """A started mission of layers of tasks, each of which waits for two of the layer above."""
    path = f"/crews/{http_crew}/missions"
    mission: str = (await made(http, path, {"title": "thirty", "lead_agent_id": lead}))["id"]
    above: list[str] = []
    for layer in range(_LAYERS):
        tasks = []
        for place in range(_WIDTH):
            needs = [above[place], above[(place + 1) % _WIDTH]] if above else []
            body = {"title": f"{layer}.{place}", "description": "sleep 0.15", "depends_on": needs}
            tasks.append((await made(http, f"{path}/{mission}/tasks", body))["id"])
        above = tasks
    async with http.post(f"/api/v1{path}/{mission}/start") as answer:
        assert answer.status == 200, await answer.text()
    return f"{path}/{mission}"


async def test_a_mission_of_thirty_tasks_survives_kills_and_does_none_twice(new_node: Callable[..., Node]) -> None:
    node = new_node(_ENVIRONMENT)
    workspace_id, _ = await node.workspace()
    headers = {"X-Workspace-ID": str(workspace_id)}
    async with node.http() as http:
        http.headers.update(headers)
        mission = await _mission(http, *await a_crew(http))

        async def shown() -> dict[str, Any]:
            async with http.get(f"/api/v1{mission}") as answer:
                found: dict[str, Any] = await answer.json()
                return found

        async def done(count: int) -> bool:
            stats = (await shown())["task_stats"]
            return bool(stats["completed"] >= count and stats["in_progress"])

        for count in (6, 18):
            await until(lambda count=count: done(count), 60)  # type: ignore[misc]
            running = await until(lambda: _started(node))
            await node.killed_and_started()
            assert not _runs(node) & running

        await until(lambda: _is(shown, "REVIEW"), 120)
        events = await events_of(http, (await shown())["id"])
        ended = [event["metadata"] for event in events if event["event_type"] == "run_ended"]
        reasons = Counter(event["reason"] for event in ended if event["purpose"] == "task")
        assert reasons["end_turn"] == _LAYERS * _WIDTH
        assert reasons["crashed"] >= 2
        completed = Counter(
            event["metadata"]["task_id"]
            for event in events
            if event["event_type"] == "task_status_changed" and event["metadata"]["status"] == "COMPLETED"
        )
        assert set(completed.values()) == {1}
        assert len(completed) == _LAYERS * _WIDTH
        assert {task["iteration"] for task in (await shown())["tasks"]} == {1}
    assert await node.findings() == []


async def _is(shown: Callable[[], Any], status: str) -> bool:
    mission = await shown()
    assert mission["status"] != "FAILED", mission
    return bool(mission["status"] == status)


async def _started(node: Node) -> set[int]:
    return _runs(node)


def _runs(node: Node) -> set[int]:
    """The living processes of this server's agents."""
    found = marked_processes("MISSIONSTREAM_RUN_ID=")
    return {process.pid for process in found if process.environment.get("HOME", "").startswith(str(node.folder))}
