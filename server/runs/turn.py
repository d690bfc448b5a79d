"""One running turn: the sink that turns an agent's updates into events and signals of its mission."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog

from server.agents.budgets import Use
from server.agents.policy import Policy
from server.agents.sandbox import Kind
from server.runs.metering import Meter
from storage.runs import NO_SESSION, AgentSession
from storage.writer import Writers
from streams.errors import KeyReused, MissionstreamError, NotFound, Unavailable
from streams.event import Draft, Event, Signal
from streams.hub import Hub

_RETRY_SECONDS = (0.1, 2.0)
log = structlog.get_logger()


class Turn:
    """A turn of this process: the agents' Sink over the log and the hub.

    `partial` is the text of the open block, which a turn that is cut off still stores; `session` is the agent's.
    `prompt` is what the agent is asked, `marks` stand in the metadata of whatever it does. `seat` names the agent's place
    among those of the mission, which has a home of its own; None where the mission has one agent, who remembers.
    `is_ending`: its work is over, and nothing but its end is left to be stored.
    `sandbox` is what its agent got around it, None until that is known; `note_sandbox` hears of it.
    """

    def __init__(
        self, workspace_id: UUID, mission_id: UUID, kind: str, started: Event, writers: Writers, hub: Hub
    ) -> None:
        self.workspace_id = workspace_id
        self.mission_id = mission_id
        self.kind = kind
        self.started = started
        self.run_id = UUID(started.data()["run_id"])
        self.prompt = started.content
        self.marks: dict[str, Any] = {}
        self.seat: str | None = None
        self.agent_id: UUID | None = None
        self.task_id: UUID | None = None
        self.seconds: float | None = None
        self.cancel = asyncio.Event()
        self.partial = ""
        self.actor = "agent"
        self.policy: Policy | None = None
        self.meter = Meter()
        self.session = NO_SESSION
        self.task: asyncio.Task[None] | None = None
        self.sequence = started.sequence
        self.is_claimed = False
        self.is_ending = False
        self.has_parent = False
        self.sandbox: Kind | None = None
        self.note_sandbox: Callable[[Kind], Awaitable[None]] = _nothing
        self._writers = writers
        self._hub = hub
        self._answers: dict[str, asyncio.Future[Any]] = {}

    async def record(self, drafts: Sequence[Draft]) -> None:
        """Append; while the database is away, wait: the agent is not read from meanwhile."""
        named = [
            msgspec.structs.replace(draft, actor=self.actor, metadata={**draft.metadata, **self.marks})
            for draft in drafts
        ]
        try:
            await self._append(named)
        except KeyReused:  # a person's answer came first; theirs stands
            for draft in named:
                with suppress(KeyReused):
                    await self._append([draft])
        if any(draft.type == "assistant_message" for draft in drafts):
            self.partial = ""

    async def _append(self, drafts: Sequence[Draft]) -> None:
        appended = await patiently(
            lambda: self._writers.record(self.workspace_id, self.mission_id, drafts, is_patient=True)
        )
        self.sequence = max([self.sequence, *(row.sequence for row in appended)])

    def signal(self, type: str, body: dict[str, Any]) -> None:
        if type == "text_delta":
            self.partial = body["content"]
        self._hub.signal(
            Signal(
                workspace_id=self.workspace_id,
                stream_id=self.mission_id,
                type=type,
                after=self.sequence,
                body={**body, **self.marks} if self.marks else body,
                run_id=self.run_id,
            )
        )

    async def sandboxed(self, sandbox: Kind) -> None:
        self.sandbox = sandbox
        try:
            await self.note_sandbox(sandbox)
        except MissionstreamError as error:  # no reason to fail the turn
            log.warning("run.sandbox_not_noted", run_id=str(self.run_id), reason=error.message)

    def opened(self, session_id: str, session_at: datetime, cost: float) -> None:
        self.session = AgentSession(session_id, session_at, cost)

    def used(self, use: Use, session_cost: float | None) -> None:
        self.meter.take(use)
        if session_cost is not None:
            self.session = self.session._replace(cost=session_cost)

    async def answer(self, tool_call_id: str) -> Any:
        return await self._answer(tool_call_id)

    def answered(self, tool_call_id: str, result: Any) -> None:
        """Hear of a committed answer; the first one counts, also when it comes before anybody waits."""
        future = self._answer(tool_call_id)
        if not future.done():
            future.set_result(result)

    def _answer(self, tool_call_id: str) -> "asyncio.Future[Any]":
        if tool_call_id not in self._answers:
            self._answers[tool_call_id] = asyncio.get_running_loop().create_future()
        return self._answers[tool_call_id]

    def over(self, is_idle: bool) -> None:
        """Tell the streams that the mission rests, unless its next turn follows."""
        if is_idle:
            self._hub.signal(
                Signal(
                    workspace_id=self.workspace_id,
                    stream_id=self.mission_id,
                    type="status",
                    after=self.sequence,
                    body={"state": "idle", "queue_len": 0},
                )
            )


async def _nothing(sandbox: Kind) -> None:
    """Nobody wants to know."""


async def patiently(work: Callable[[], Any], tries: int = 1) -> Any:
    """Repeat `work` until the database is there; Unavailable means that nothing was stored. It may fail otherwise
    `tries` times, unless by NotFound."""
    pause, longest = _RETRY_SECONDS
    while True:
        try:
            return await work()
        except Unavailable:
            pass
        except NotFound:
            raise
        except Exception:
            tries -= 1
            if tries < 1:
                raise
            log.warning("run.tried_again", exc_info=True)
        await asyncio.sleep(pause)
        pause = min(pause * 2, longest)
