"""A diamond worked by demo agents, as a client sees it on the WebSocket that is cut off three times."""

from typing import Any

from aiohttp import ClientSession

from tests.system.crews import a_crew, made
from tests.system.node import Node
from tests.system.wiretap import SocketTap, until

_SECONDS = 90.0


async def _shown(http: ClientSession, path: str) -> dict[str, Any]:
    async with http.get(f"/api/v1{path}") as answer:
        found: dict[str, Any] = await answer.json()
        return found


def _events(tap: SocketTap) -> list[Any]:
    return [frame for frame in tap.frames if "seq" in frame]


async def test_a_client_that_is_cut_off_three_times_holds_every_frame_of_a_diamond(node: Node) -> None:
    workspace_id, epoch = await node.workspace()
    async with node.http() as http:
        http.headers.update({"X-Workspace-ID": str(workspace_id)})
        crew, lead = await a_crew(http)
        missions = f"/crews/{crew}/missions"
        mission = (await made(http, missions, {"title": "diamond", "lead_agent_id": lead}))["id"]
        path, channel = f"{missions}/{mission}", f"mission:{mission}"
        tap = await SocketTap.open(http, channel, {"since": f"{epoch}:0"})
        ids: dict[str, str] = {}
        for title, needs, fields in (
            ("a", "", {"description": "handoff: tight [high]"}),
            ("b", "a", {"description": "fail 1 times", "max_iterations": 2}),
            ("c", "a", {"approval_required": True, "description": "say c"}),
            ("d", "a", {"description": "say d"}),
            ("e", "bcd", {"description": "say e"}),
            ("f", "e", {"description": "say f"}),
        ):
            body = {"title": title, "depends_on": [ids[need] for need in needs], **fields}
            ids[title] = (await made(http, f"{path}/tasks", body))["id"]
        await made(http, f"{path}/start", {})

        held: list[Any] = []

        def is_done(frame: Any, title: str) -> bool:
            return bool(frame.get("payload") == {"id": ids[title], "status": "COMPLETED"})

        for title in ("a", "d"):  # cut off in the middle, twice
            await tap.until(lambda frame, title=title: is_done(frame, title), _SECONDS)
            await tap.close()
            held += _events(tap)
            tap = await SocketTap.open(http, channel, {"since": f"{epoch}:{held[-1]['seq']}"})

        async def waits() -> bool:
            return bool((await _shown(http, path))["task_stats"]["awaiting_approval"])

        await until(waits, _SECONDS)
        await tap.close()
        held += _events(tap)
        await made(http, f"{path}/tasks/{ids['c']}/approve", {"approved": True})
        tap = await SocketTap.open(http, channel, {"since": f"{epoch}:{held[-1]['seq']}"})

        async def is_reviewed() -> bool:
            return (await _shown(http, path))["status"] == "REVIEW"

        await until(is_reviewed, _SECONDS)
        async with http.patch(f"/api/v1{path}", json={"status": "COMPLETED"}) as answer:
            assert answer.status == 200, await answer.text()
        done = {"id": mission, "status": "COMPLETED"}
        await tap.until(lambda frame: done.items() <= (frame.get("payload") or {}).items())
        await tap.close()
        held += _events(tap)

        again = await SocketTap.open(http, channel, {"since": f"{epoch}:0"})
        await again.until(lambda frame: frame.get("seq") == held[-1]["seq"] and frame["n"] == 0)
        assert held == _events(again)
        await again.close()

        last = 0
        for frame in held:
            assert frame["prev"] == last or frame["seq"] == last  # messages of one event share its numbers
            last = frame["seq"]
        statuses = [frame["payload"]["status"] for frame in held if frame["payload"]["id"] == ids["b"]]
        assert statuses == ["BLOCKED", "PENDING", "IN_PROGRESS", "PENDING", "IN_PROGRESS", "COMPLETED"]
        order = [frame["payload"]["id"] for frame in held if frame["payload"].get("status") == "COMPLETED"]
        assert order.index(ids["a"]) < order.index(ids["e"]) < order.index(ids["f"]) < order.index(mission)
    assert await node.findings() == []
