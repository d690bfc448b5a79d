"""kill -9 of the server in the middle of agents' turns: nothing stays stuck, nothing said is lost, nothing lives on."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.system.node import Node, marked_processes
from tests.system.wiretap import until

_LONG = "It goes on and on, a dozen characters at a time, and never comes to its end. " * 20


async def _mission(http: ClientSession, *messages: str) -> str:
    async with http.post("/api/control/missions", json={"title": "to be killed"}) as answer:
        mission_id: str = (await answer.json())["id"]
    for message in messages:
        body = {"content": message, "mission_id": mission_id}
        async with http.post("/api/control/message", json=body) as answer:
            assert answer.status == 200, await answer.text()
    return mission_id


async def _events(http: ClientSession, mission_id: str) -> list[dict[str, Any]]:
    async with http.get(f"/api/control/missions/{mission_id}/events") as answer:
        found: list[dict[str, Any]] = await answer.json()
        return found


async def _partial(http: ClientSession, mission_id: str) -> str | None:
    """The text of the turn that is going on, as the snapshot shows it."""
    signal = await _signal(http, mission_id, "text_delta")
    return signal and signal["content"]


async def _signal(http: ClientSession, mission_id: str, type: str) -> dict[str, Any] | None:
    async with http.get(f"/api/control/missions/{mission_id}/snapshot") as answer:
        signals = (await answer.json())["signals"]
    return next((signal for signal in signals if signal["event_type"] == type), None)


async def _status(http: ClientSession, mission_id: str, wanted: str) -> dict[str, Any]:
    async def ask() -> dict[str, Any] | None:
        async with http.get(f"/api/control/missions/{mission_id}") as answer:
            mission: dict[str, Any] = await answer.json()
        return mission if mission["status"] == wanted else None

    found: dict[str, Any] = await until(ask)
    return found


async def test_turns_that_a_kill_cut_off_are_interrupted_and_their_queues_go_on(node: Node) -> None:
    async with node.http() as http:
        talking = await _mission(http, f"slow\nsay {_LONG}")
        silent = await _mission(http, "sleep 60")
        # a command that the agent started must not outlive it either
        queued = await _mission(http, "run sleep 60", "say I come after the restart")
        said = await until(lambda: _partial(http, talking))
        await until(lambda: _has(http, queued, "tool_call"))
        running = _runs(node)
        assert len(running) == 3
        await asyncio.sleep(1.6)  # the lease keeps the text once a second
        await node.killed_and_started()

        mission = await _status(http, talking, "interrupted")
        assert mission["resumable"] is True
        events = await _events(http, talking)
        [last_words] = [event for event in events if event["event_type"] == "assistant_message"]
        assert last_words["content"].startswith(said)
        assert len(last_words["content"]) > len(said)
        assert _LONG.startswith(last_words["content"])
        assert last_words["metadata"]["success"] is False
        assert "restart" in _last_status(events)["content"]
        assert _last_status(events)["metadata"] == {"status": "interrupted", "terminal_reason": "crashed"}

        await _status(http, silent, "interrupted")
        events = await _events(http, silent)
        assert "assistant_message" not in {event["event_type"] for event in events}
        assert "restart" in _last_status(events)["content"]

        await _status(http, queued, "completed")
        events = await _events(http, queued)
        spoken = [event["content"] for event in events if event["event_type"] == "assistant_message"]
        assert spoken[-1] == "I come after the restart"

        assert not _runs(node) & running
        async with http.get("/api/control/running") as answer:
            assert await answer.json() == []
    assert await node.findings() == []


async def test_what_a_killed_turn_had_used_is_counted_and_its_session_goes_on(node: Node) -> None:
    async with node.http() as http:
        spending = await _mission(http, "spend 700 2.5\nsleep 60")
        await until(lambda: _signal(http, spending, "usage"))
        await asyncio.sleep(1.6)  # the lease keeps it once a second
        await node.killed_and_started()
        mission = await _status(http, spending, "interrupted")
        assert (mission["usage"]["total_tokens"], mission["usage"]["cost_cents"]) == (700, 2.5)
        assert 1 < mission["usage"]["seconds"] < 30
        body = {"content": "spend 100 1\nrecall", "mission_id": spending}
        async with http.post("/api/control/message", json=body) as answer:
            assert answer.status == 200
        mission = await _status(http, spending, "completed")
        assert mission["usage"]["cost_cents"] == 3.5
        assert mission["history"][-1]["content"].startswith("I remember 2 ")
    assert await node.findings() == []


async def test_a_question_that_a_kill_left_open_is_closed_and_its_mission_can_be_resumed(node: Node) -> None:
    async with node.http() as http:
        mission_id = await _mission(http, "ask May I go on?")
        await until(lambda: _has(http, mission_id, "tool_call"))
        await node.killed_and_started()

        await _status(http, mission_id, "interrupted")
        events = await _events(http, mission_id)
        kinds = [event["event_type"] for event in events if event["event_type"].startswith("tool_")]
        assert kinds == ["tool_call", "tool_call", "tool_result"]
        question, result = (event for event in events if event["tool_name"] == "AskUserQuestion")
        assert result["tool_call_id"] == question["tool_call_id"]
        assert "restarted while this question was open" in result["content"]
        assert result["metadata"]["status"] == "cancelled"
        answer = {"tool_call_id": question["tool_call_id"], "name": "AskUserQuestion", "result": "allow"}
        async with http.post("/api/control/tool_result", json=answer) as reply:
            assert await reply.json() == {"ok": True, "delivered": False}
        async with http.post(f"/api/control/missions/{mission_id}/resume") as reply:
            assert reply.status == 200, await reply.text()
        await _status(http, mission_id, "completed")
    assert await node.findings() == []


@pytest.mark.parametrize("policy", ["prefer", "off"])
async def test_a_kill_while_agents_are_idle_leaves_nothing_alive(new_node: Callable[..., Node], policy: str) -> None:
    node = new_node({"MISSIONSTREAM_AGENT_SANDBOX": policy})
    async with node.http() as http:
        # in a session of its own, it lives on when its agent notices the server's end
        daemon = "setsid sh -c 'touch up; exec sleep 300' > /dev/null 2>&1 &"
        idle = await _mission(http, f"run {daemon} while [ ! -e up ]; do sleep 0.01; done\nsay ready")
        await _status(http, idle, "completed")
        left = _agents(node)
        assert len(left) > 1
        await node.killed_and_started()
        assert not {pid for pid in _agents(node) if pid in left}
        await _send(http, idle, "recall")
        await until(lambda: _spoken(http, idle, "I remember 2 messages, this one included."))


async def _send(http: ClientSession, mission_id: str, content: str) -> None:
    async with http.post("/api/control/message", json={"content": content, "mission_id": mission_id}) as answer:
        assert answer.status == 200, await answer.text()


async def _spoken(http: ClientSession, mission_id: str, content: str) -> bool:
    return any(event["content"] == content for event in await _events(http, mission_id))


def _agents(node: Node) -> set[int]:
    """The living processes of this server's agents."""
    found = marked_processes("MISSIONSTREAM_RUN_OWNER=")
    return {process.pid for process in found if process.environment.get("HOME", "").startswith(str(node.folder))}


def _runs(node: Node) -> set[str]:
    """The runs of this server that have a living process: an agent, or something that it started."""
    found = [process.environment for process in marked_processes("MISSIONSTREAM_RUN_ID=")]
    return {
        environment["MISSIONSTREAM_RUN_ID"]
        for environment in found
        if environment.get("HOME", "").startswith(str(node.folder))
    }


async def _has(http: ClientSession, mission_id: str, kind: str) -> bool:
    return any(event["event_type"] == kind for event in await _events(http, mission_id))


def _last_status(events: list[dict[str, Any]]) -> dict[str, Any]:
    return [event for event in events if event["event_type"] == "mission_status_changed"][-1]
