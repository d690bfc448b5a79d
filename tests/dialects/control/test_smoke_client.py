"""A client that behaves like the real ones: sign in, list, open, send, watch, reconnect, answer, resume, clean up."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.conftest import Serving
from tests.dialects.conftest import PASSWORD
from tests.dialects.control.driving import MISSIONS

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Dashboard:
    """Parses as the web client does: normalises line ends, joins data lines without a newline, dedupes by id."""

    def __init__(self, http: ClientSession, token: str) -> None:
        self.http = http
        self.headers = {"Authorization": f"Bearer {token}", "Origin": "http://localhost:3001"}
        self.seen: dict[str, dict[str, Any]] = {}
        self.frames: list[tuple[str, dict[str, Any]]] = []
        self.tools: dict[str, str] = {}
        self.retries = 3
        self.viewing: str | None = None

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        options = {} if body is None else {"json": body}
        async with self.http.request(method, path, headers=self.headers, **options) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert answer.status == 200, await answer.text()
            return await answer.json()

    def take(self, block: str) -> None:
        name, data = "message", ""
        for line in block.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
            if line.startswith("event:"):
                name = line[6:].strip()
            elif line.startswith("data:"):
                data += line[5:].strip()
        if not data:
            return
        body = json.loads(data)
        if name == "status":
            self.retries = 0
        elif self.viewing is not None and body.get("mission_id") != self.viewing:
            return
        self.frames.append((name, body))
        if name in ("user_message", "assistant_message"):
            self.seen[body["id"]] = body
        if name == "tool_call":
            self.tools[body["tool_call_id"]] = "open"
        if name == "tool_result":
            self.tools[body["tool_call_id"]] = "done"
        if name == "mission_status_changed" and body["status"] != "active":
            self.tools = {call: "cancelled" if state == "open" else state for call, state in self.tools.items()}

    async def watch(self, opened: asyncio.Event) -> None:
        buffer = b""
        async with self.http.get("/api/control/stream", headers=self.headers) as answer:
            assert answer.status == 200
            async for chunk in answer.content.iter_any():
                buffer += chunk
                *blocks, buffer = buffer.split(b"\n\n")
                for block in blocks:
                    self.take(block.decode())
                opened.set()

    async def until(self, event: str, /, **fields: Any) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                for kind, body in self.frames:
                    if kind == event and all(body.get(key) == value for key, value in fields.items()):
                        return body
                await asyncio.sleep(0.02)


async def test_a_dashboards_whole_visit(shared: Serving, nobody: ClientSession) -> None:
    async with nobody.get("/api/health") as answer:
        health = await answer.json()
    assert (health["auth_required"], health["auth_mode"]) == (True, "single_tenant")
    async with nobody.get(MISSIONS) as answer:
        assert answer.status == 401  # which opens the login dialog
    async with nobody.post("/api/auth/login", json={"password": PASSWORD}) as answer:
        login = await answer.json()
    dash = Dashboard(nobody, login["token"])

    # the first paint
    assert await dash.call("GET", "/api/control/missions?limit=5") == []
    assert await dash.call("GET", "/api/control/missions/current") is None
    assert await dash.call("GET", "/api/control/running") == []
    workspace = (await dash.call("GET", "/api/workspaces"))[0]
    for backend in ("opencode", "claudecode", "codex"):
        assert (await dash.call("GET", f"/api/backends/{backend}/config"))["id"] == backend
        assert await dash.call("GET", f"/api/backends/{backend}/agents")
    opened = asyncio.Event()
    watching = asyncio.create_task(dash.watch(opened))
    await opened.wait()
    assert dash.retries == 0

    # a new mission, opened and spoken to
    mission = await dash.call("POST", MISSIONS, {"title": "Visit", "workspace_id": workspace["id"], "backend": "demo"})
    dash.viewing = mission["id"]
    loaded = await dash.call("POST", f"{MISSIONS}/{mission['id']}/load")
    assert loaded["history"] == []
    assert await dash.call("GET", "/api/control/queue") == []
    body = {"content": "run echo hello\nask Go on?\nsay bye", "mission_id": mission["id"]}
    sent = await dash.call("POST", "/api/control/message", body)
    assert sent["queued"] is False
    question = await dash.until("tool_call", name="AskUserQuestion")
    assert (await dash.call("GET", "/api/control/running"))[0]["state"] == "waiting_for_tool"
    queued = await dash.call("POST", "/api/control/message", {"content": "say second", "mission_id": mission["id"]})
    assert queued["queued"] is True
    assert [row["id"] for row in await dash.call("GET", "/api/control/queue")] == [queued["id"]]
    answer_body = {"tool_call_id": question["tool_call_id"], "name": question["name"], "result": "allow_once"}
    assert (await dash.call("POST", "/api/control/tool_result", answer_body))["ok"] is True
    await dash.until("assistant_message", content="second")
    await dash.until("mission_status_changed", status="completed")
    await dash.until("status", state="idle")
    assert set(dash.tools.values()) == {"done"}

    # the stream is cut: pages with types, limit and offset until nothing new comes; what was seen live is the same
    watching.cancel()
    types = "user_message,assistant_message,tool_call,tool_result,text_delta,thinking,error"
    rows: dict[int, dict[str, Any]] = {}
    while True:
        page = await dash.call("GET", f"{MISSIONS}/{mission['id']}/events?types={types}&limit=3&offset={len(rows)}")
        if not {row["id"] for row in page} - set(rows):
            break
        rows |= {row["id"]: row for row in page}
    spoken = {row["event_id"]: row["content"] for row in rows.values() if row["event_type"].endswith("_message")}
    assert spoken == {identity: body["content"] for identity, body in dash.seen.items()}

    # interrupted, and taken up again with the user's own words
    await dash.call("POST", "/api/control/message", {"content": "sleep 30", "mission_id": mission["id"]})
    await dash.call("POST", "/api/control/cancel")
    async with asyncio.timeout(20):
        while (now := await dash.call("GET", f"{MISSIONS}/{mission['id']}"))["status"] != "interrupted":
            await asyncio.sleep(0.05)
    assert now["resumable"] is True
    await dash.call("POST", f"{MISSIONS}/{mission['id']}/resume", {"skip_message": True})
    await dash.call("POST", "/api/control/message", {"content": "say resumed", "mission_id": mission["id"]})
    async with asyncio.timeout(20):
        while (now := await dash.call("GET", f"{MISSIONS}/{mission['id']}"))["status"] != "completed":
            await asyncio.sleep(0.05)
    assert now["history"][-1] == {"role": "assistant", "content": "resumed"}
    assert (await dash.call("DELETE", f"{MISSIONS}/{mission['id']}"))["deleted"] == mission["id"]
    assert await dash.call("GET", f"{MISSIONS}/current") is None


async def test_a_phone_goes_on_from_its_snapshot(owner: ClientSession) -> None:
    """Reads bytes, splits on two line feeds only, needs history, updated_at and whole running rows."""
    async with owner.post(MISSIONS, json={}) as answer:
        mission = await answer.json()
    async with owner.post(f"{MISSIONS}/{mission['id']}/load", json={}) as answer:
        assert {"history", "created_at", "updated_at"} <= set(await answer.json())
    async with owner.get(f"{MISSIONS}/{mission['id']}/snapshot") as answer:
        snapshot = await answer.json()
    async with owner.post(
        "/api/control/message", json={"content": "say caf\u00e9", "mission_id": mission["id"]}
    ) as answer:
        assert answer.status == 200
    url = f"{MISSIONS}/{mission['id']}/events"
    rows: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        while not any(row["event_type"] == "assistant_message" for row in rows):
            async with owner.get(url, params={"since_seq": snapshot["latest_sequence"]}) as answer:
                rows = await answer.json()
    async with owner.get(
        "/api/control/stream", params={"mission": mission["id"], "since": snapshot["cursor"]}
    ) as answer:
        raw = b""
        async with asyncio.timeout(20):
            while b"event: assistant_message" not in raw or not raw.endswith(b"\n\n"):
                raw += await answer.content.readany()
    assert raw.isascii()
    frames = [block for block in raw.split(b"\n\n") if b"\nid: " in block and block.startswith(b"event:")]
    sequences = [json.loads(block.split(b"data: ")[1])["sequence"] for block in frames]
    assert sequences[: len(rows)] == [row["sequence"] for row in rows][: len(sequences)]
    assert sequences[0] == snapshot["latest_sequence"] + 1
    async with asyncio.timeout(20):
        while True:
            async with owner.get(f"{MISSIONS}/{mission['id']}") as answer:
                if (await answer.json())["status"] == "completed":
                    break
