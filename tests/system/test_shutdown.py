"""SIGTERM: everybody is told to come back, turns are stored, and the process is gone within ten seconds."""

import asyncio
import json
import re
import time

from aiohttp import ClientError, ClientSession

from tests.conftest import Serving
from tests.system.crowd import Member, crowd
from tests.system.node import HEADERS, Node
from tests.system.wiretap import SocketTap, Tap, until

_CLOSED = re.compile(rb"event: closed\ndata: (.*)\n\n$")


async def test_a_thousand_streams_get_a_last_frame_and_the_process_exits_in_time(node: Node) -> None:
    members = [Member(node.port) for _ in range(1_000)]
    stalled = members[:20]
    workspace_id, _ = await node.workspace()
    async with node.http() as http, crowd(members):
        for member in members[len(stalled) :]:
            member.listen(keep=True)
        socket = await SocketTap.open(http, f"timeline:{workspace_id}", {"since": "none:0"})
        await socket.frame("subscribed")
        mission_id, running = await _running_turn(http)

        began = time.monotonic()
        assert await node.stopped(within_seconds=15) == 0
        assert time.monotonic() - began < 10

        farewells = []
        await until(lambda: _all_ended(members[len(stalled) :]))
        for member in members[len(stalled) :]:
            last = _CLOSED.search(bytes(member.text))
            assert last, bytes(member.text[-200:])
            farewells.append(json.loads(last[1]))
        assert {farewell["code"] for farewell in farewells} == {4503}
        retries = [farewell["retry_ms"] for farewell in farewells]
        thirds = [sum(low <= retry < low + 1_700 for retry in retries) for low in (0, 1_700, 3_400)]
        assert sum(thirds) == len(retries)
        assert min(thirds) > 200  # spread over the window, not all at once
        closing = await socket.frame("closing")
        assert closing["payload"]["retry_ms"] < 5_100
        await socket.close()

    await asyncio.to_thread(node.start)
    async with node.http() as http:
        async with http.get(f"/api/control/missions/{mission_id}") as answer:
            mission = await answer.json()
        assert (mission["status"], mission["terminal_reason"]) == ("interrupted", "shutdown")
        async with http.get(f"/api/control/missions/{mission_id}/events") as answer:
            events = await answer.json()
        [said] = [event for event in events if event["event_type"] == "assistant_message"]
        assert said["content"].startswith(running)
        assert said["metadata"]["success"] is False
    assert await node.findings() == []


async def _all_ended(members: list[Member]) -> bool:
    return all(member.is_ended for member in members)


async def _running_turn(http: ClientSession) -> tuple[str, str]:
    """A mission whose agent is talking, and what it has said."""
    async with http.post("/api/control/missions", json={"title": "to be shut down"}) as answer:
        mission_id = (await answer.json())["id"]
    body = {"content": "slow\nsay " + "a long story without an end " * 40, "mission_id": mission_id}
    async with http.post("/api/control/message", json=body) as answer:
        assert answer.status == 200

    async def partial() -> str | None:
        async with http.get(f"/api/control/missions/{mission_id}/snapshot") as answer:
            signals = (await answer.json())["signals"]
        return next((signal["content"] for signal in signals if signal["event_type"] == "text_delta"), None)

    return mission_id, await until(partial)


async def test_a_draining_server_is_not_ready_and_ends_its_streams(serving: Serving) -> None:
    tap = await Tap.open(int(serving.url.rpartition(":")[2]))
    await tap.event("status")
    async with ClientSession(serving.url) as http:
        async with http.get("/readyz") as answer:
            assert answer.status == 200
        await serving.core.drain.run()
        async with http.get("/readyz") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    await tap.end()
    assert tap.blocks[-1].event == "closed"
    await tap.close()


async def test_a_server_that_is_leaving_says_so_to_its_balancer_first(node: Node) -> None:
    """Readiness must be seen false while requests are still answered, or a balancer sends clients into a closed door."""
    seen: list[int | None] = []

    async def ask() -> None:
        async with ClientSession(node.url, headers=HEADERS) as http:
            while None not in seen:
                try:
                    async with http.get("/readyz") as answer:
                        seen.append(answer.status)
                except (ClientError, OSError):
                    seen.append(None)

    asking = [asyncio.create_task(ask()) for _ in range(4)]
    await until(lambda: _has_some(seen))
    assert await node.stopped() == 0
    await asyncio.gather(*asking)
    assert 503 in seen


async def _has_some(seen: list[int | None]) -> bool:
    return len(seen) > 10
