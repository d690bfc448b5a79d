"""A real server whose missions have real coding agents, with a scripted model: what a test does on it and sees of it."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from aiohttp import ClientSession

from server.missions.kinds import NO_SPACE
from tests.agents.model.server import Model
from tests.agents.recording import Recorder
from tests.conftest import Serving
from tests.dialects.control.driving import MISSIONS, create, events, get, post, send
from tests.system.node import marked_processes

SECONDS = 90
"""The longest that a test waits for one thing."""


class Stage:
    """The server, its owner, the model, and whatever passes between the server and its agents."""

    def __init__(self, backend: str, server: Serving, http: ClientSession, model: Model, wire: Recorder) -> None:
        self.backend = backend
        self.server = server
        self.http = http
        self.model = model
        self.wire = wire

    async def space(self) -> Path:
        """Where the missions' agents work."""
        return await self.server.core.spaces.directory(self.server.workspace_id, NO_SPACE)

    async def create(self, **fields: Any) -> "Mission":
        row = await create(self.http, title="on stage", backend=self.backend, **fields)
        return Mission(self, UUID(row["id"]))

    def sent(self, method: str) -> list[dict[str, Any]]:
        """What the server asked its agents for by this method, in order."""
        told = (entry["message"] for entry in self.wire.entries if entry["from"] == "client")
        return [message for message in told if message.get("method") == method]

    def answers(self, method: str) -> list[dict[str, Any]]:
        """What the agents answered to requests by this method, in order. Each agent's requests are numbered anew."""
        messages = [entry["message"] for entry in self.wire.entries]
        return [
            next(each for each in messages[place:] if each.get("id") == message["id"] and "method" not in each)
            for place, message in enumerate(messages)
            if message.get("method") == method
        ]


class Mission:
    """A mission on the stage."""

    def __init__(self, stage: Stage, id: UUID) -> None:
        self.id = str(id)
        self.home = stage.server.core.spaces.home(id)
        self._stage = stage
        self._path = f"{MISSIONS}/{id}"

    async def send(self, content: str) -> None:
        await send(self._stage.http, self.id, content)

    async def said(self, content: str) -> str:
        """Send, and wait for the end of the turn, which must be a good one; the agent's last words."""
        end = await self.ended(content)
        assert end["reason"] == "end_turn", await self.events()
        return str((await self.events("assistant_message"))[-1]["content"])

    async def ended(self, content: str) -> dict[str, Any]:
        """Send, and wait for the end of the turn; what the log says of it."""
        before = len(await self.events("run_ended"))
        await self.send(content)
        return await self.end(before)

    async def end(self, before: int = 0) -> dict[str, Any]:
        """The end of the turn after so many others, once it is there."""

        async def is_there() -> bool:
            return len(await self.events("run_ended")) > before

        await until(is_there)
        metadata: dict[str, Any] = (await self.events("run_ended"))[-1]["metadata"]
        return metadata

    async def events(self, types: str | None = None) -> list[dict[str, Any]]:
        return await events(self._stage.http, self.id, limit=1000, **({"types": types} if types else {}))

    async def get(self, what: str = "") -> Any:
        return await get(self._stage.http, self._path + what)

    async def cancel(self) -> None:
        await post(self._stage.http, f"{self._path}/cancel")

    async def called(self) -> list[dict[str, Any]]:
        """The agent's tool calls; none of them is a question."""
        return [event for event in await self.events("tool_call") if event["tool_name"] != "AskUserQuestion"]

    async def questions(self) -> list[dict[str, Any]]:
        return [event for event in await self.events("tool_call") if event["tool_name"] == "AskUserQuestion"]

    async def grants(self) -> list[dict[str, Any]]:
        """What was allowed without a question."""
        return [e["metadata"] for e in await self.events("agent_event") if e["metadata"]["kind"] == "permission"]

    def processes(self) -> set[int]:
        """Everything that lives with this mission's home: the agent, its sandbox, its tools."""
        home = str(self.home)
        return {found.pid for found in marked_processes(home) if found.environment.get("HOME") == home}

    def agent(self) -> int:
        """The process that the server started for the agent."""
        [pid] = [pid for pid in self.processes() if _parent(pid) == os.getpid()]
        return pid

    async def gone(self) -> None:
        """Wait until nothing of it lives."""

        async def is_gone() -> bool:
            return not self.processes()

        await until(is_gone, seconds=15)


async def until(is_true: Callable[[], Awaitable[bool]], seconds: float = SECONDS) -> None:
    """Look again and again until it is true."""
    async with asyncio.timeout(seconds):
        while not await is_true():
            await asyncio.sleep(0.05)


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])
