"""A whole mission over HTTP by demo agents, followed on the WebSocket by a client that is cut off again and again."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from server.dialects.crew.ids import spell
from tests.conftest import Serving
from tests.crew.conftest import NewWorld

CUTS = 3


class Follower:
    """A client as the documentation describes one: it keeps a cursor for each channel, and checks `prev`.

    `frames` holds the event frames of each channel. What belongs to an event whose last frame did not come is forgotten
    with the connection: it comes again.
    """

    def __init__(self, url: str, token: str, *channels: str) -> None:
        self.frames: dict[str, list[dict[str, Any]]] = {channel: [] for channel in channels}
        self.cursors: dict[str, str] = {}
        self.outcomes: list[str] = []
        self._session = ClientSession(url)
        self._token = token
        self._socket: ClientWebSocketResponse | None = None
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        self._socket = await self._session.ws_connect("/ws")
        await self._socket.send_json({"type": "auth", "token": self._token})
        for channel in self.frames:
            payload = {"since": self.cursors.get(channel)}
            await self._socket.send_json({"type": "subscribe", "channel": channel, "payload": payload})
        self._task = asyncio.create_task(self._read(self._socket))

    async def _read(self, socket: ClientWebSocketResponse) -> None:
        async for message in socket:
            assert message.type == WSMsgType.TEXT
            frame = message.json()
            channel, payload = frame["channel"], frame["payload"]
            if frame["type"] == "subscribed":
                self.outcomes.append(payload["outcome"])
                self.cursors[channel] = payload["cursor"]
            elif "seq" in frame:
                self._take(channel, frame)
            elif frame["type"] == "ping":
                self._move(channel, frame["through"])

    def _position(self, channel: str) -> int:
        return int(self.cursors[channel].partition(":")[2])

    def _move(self, channel: str, position: int) -> None:
        epoch = self.cursors[channel].partition(":")[0]
        self.cursors[channel] = f"{epoch}:{max(position, self._position(channel))}"

    def _take(self, channel: str, frame: dict[str, Any]) -> None:
        cursor = self._position(channel)
        assert frame["seq"] > cursor, f"{frame} came again"
        assert frame["prev"] <= cursor, f"something is missing before {frame}"
        self.frames[channel].append(frame)
        if frame["n"] == 0:
            self._move(channel, frame["seq"])

    async def cut(self) -> None:
        """Lose the connection, as a train in a tunnel does."""
        assert self._socket is not None
        assert self._task is not None
        connection = self._socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()
        with suppress(ConnectionError):
            await self._task
        for channel, frames in self.frames.items():
            self.frames[channel] = [frame for frame in frames if frame["seq"] <= self._position(channel)]

    async def until(self, is_true: Callable[[], bool], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not is_true():
                assert self._task is not None
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.01)

    def said(self, channel: str, type: str) -> list[dict[str, Any]]:
        return [frame["payload"] for frame in self.frames[channel] if frame["type"] == type]

    async def close(self) -> None:
        await self._session.close()
        if self._task is not None:
            with suppress(ConnectionError):
                await self._task


class Person:
    """Somebody with the REST API alone."""

    def __init__(self, serving: Serving) -> None:
        self._headers = serving.headers | {"X-Workspace-ID": spell(serving.workspace_id)}
        self.http = ClientSession(serving.url, headers=self._headers)

    async def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        async with self.http.request(method, f"/api/v1{path}", json=body) as answer:
            assert answer.status == status, (answer.status, await answer.text())
            return await answer.json()


async def test_a_client_that_is_cut_off_three_times_holds_every_frame(new_world: NewWorld) -> None:
    async with new_world(is_quick=False) as world:
        person = Person(world.serving)
        workspace = spell(world.workspace_id)
        crew = (await person.ask("POST", "/crews", {"name": "Boatyard", "slug": "boatyard"}, 201))["id"]
        agents = {}
        for name, role in (("Lead", "LEAD"), ("Ann", "AGENT"), ("Bob", "AGENT")):
            made = {"name": name, "slug": name.lower(), "crew_id": crew, "agent_role": role, "cli_adapter": "DEMO"}
            agents[name] = (await person.ask("POST", "/agents", made, 201))["id"]
        missions = f"/crews/{crew}/missions"
        begun = {"title": "Build a boat", "lead_agent_id": agents["Lead"]}
        mission = (await person.ask("POST", missions, begun, 201))["id"]
        tasks: dict[str, str] = {}

        async def task(name: str, *needs: str, **fields: Any) -> None:
            body = {"title": name, "depends_on": [tasks[needed] for needed in needs], **fields}
            tasks[name] = (await person.ask("POST", f"{missions}/{mission}/tasks", body, 201))["id"]

        token = world.serving.headers["Authorization"].removeprefix("Bearer ")
        here, everywhere = f"mission:{mission}", f"workspace:{workspace}"
        follower = Follower(world.serving.url, token, here, everywhere)
        await follower.connect()
        await follower.until(lambda: len(follower.cursors) == 2)
        first = dict(follower.cursors)

        await task("keel")
        await task("planks", "keel", description="fail 1 times", max_iterations=2)
        await task("mast", "keel", approval_required=True)
        await task("sails", "keel")
        await task("launch", "planks", "mast", "sails")
        await task("feast", "launch")
        await person.ask("POST", f"{missions}/{mission}/start")

        def moved(name: str, status: str) -> bool:
            return {"id": tasks[name], "status": status} in follower.said(here, "task.status")

        async def cut() -> None:
            await follower.cut()
            await asyncio.sleep(0.3)  # something happens meanwhile
            await follower.connect()

        await follower.until(lambda: moved("keel", "IN_PROGRESS"))
        await cut()
        await follower.until(lambda: moved("mast", "AWAITING_APPROVAL"))
        approval = {"task_id": tasks["mast"], "mission_id": mission}
        await follower.until(lambda: approval in follower.said(everywhere, "approval.required"))
        await cut()
        await person.ask("POST", f"{missions}/{mission}/tasks/{tasks['mast']}/approve", {"approved": True})
        await follower.until(lambda: moved("launch", "IN_PROGRESS"))
        await cut()
        reviewed = {"id": mission, "title": "Build a boat", "status": "REVIEW"}
        await follower.until(lambda: reviewed in follower.said(here, "mission.status"))
        await world.settled()
        await person.ask("PATCH", f"{missions}/{mission}", {"status": "COMPLETED"})
        await follower.until(lambda: {"id": mission, "status": "COMPLETED"} in follower.said(here, "mission.status"))

        assert follower.outcomes == ["fresh", "fresh"] + ["resumed"] * 2 * CUTS
        statuses = [
            payload["status"] for payload in follower.said(here, "task.status") if payload["id"] == tasks["planks"]
        ]
        assert statuses == ["PENDING", "IN_PROGRESS", "PENDING", "IN_PROGRESS", "COMPLETED"], "one failure, one retry"
        assert [payload["action"] for payload in follower.said(everywhere, "approval.resolved")] == ["approve"]

        again = Follower(world.serving.url, token, here, everywhere)
        again.cursors = first
        await again.connect()
        await again.until(lambda: again._position(everywhere) >= follower._position(everywhere))
        for channel in (here, everywhere):
            held, told = follower.frames[channel], again.frames[channel]
            assert [frame | {"prev": 0} for frame in held] == [frame | {"prev": 0} for frame in told]
        shown = await person.ask("GET", f"{missions}/{mission}")
        assert shown["status"] == "COMPLETED"
        assert {task["title"]: task["status"] for task in shown["tasks"]} == dict.fromkeys(tasks, "COMPLETED")
        assert shown["task_stats"]["completed"] == 6
        for client in (follower, again):
            await client.close()
        await person.http.close()
