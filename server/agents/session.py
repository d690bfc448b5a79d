"""An agent that is up: its process, its wire, its dialogue, and who hears what it says."""

import asyncio
import contextlib
from typing import Any, Protocol

from acp import RequestError
from acp.connection import Connection
from msgspec import structs

from server.agents.acp_transport import AgentTransport
from server.agents.clocks import TurnLimits
from server.agents.content import as_object
from server.agents.conversation import Conversation
from server.agents.memory import Past
from server.agents.policy import DEFAULT, Policy, covers
from server.agents.process import AgentProcess, Launch
from server.agents.spawning import spawn
from streams.errors import AgentFailed


class Hearer(Protocol):
    """Who hears an agent. `update` and `stirred` must not wait: the order of what comes depends on it."""

    def stirred(self) -> None:
        """Anything at all has come."""

    def update(self, update: Any) -> None:
        """A `session/update`."""

    async def ask(self, params: Any) -> dict[str, Any]:
        """The reply to a `session/request_permission`."""


class Session:
    """A running agent. Made by `start`; `close` must be awaited. `hearer` may be changed at any time.

    `cost` is what the session had cost at the end of its last turn, as the agent counts it, `widest` the most that
    its turns were allowed.
    """

    def __init__(self, launch: Launch, process: AgentProcess, hearer: Hearer, limits: TurnLimits) -> None:
        self.launch = launch
        self.process = process
        self.hearer = hearer
        self.cost = 0.0
        self.widest: Policy = DEFAULT
        self._has_left_its_mode = False
        self._cost_told: float | None = None
        self.transport = AgentTransport(
            process.stdout,
            process.stdin,
            line_bytes=limits.line_bytes,
            wire_bytes=limits.wire_bytes,
            veil=launch.veil,
        )
        self._connection = Connection(self._handle, self.transport)
        self.conversation = Conversation(self._connection, launch, load_seconds=limits.load_seconds)

    @classmethod
    async def start(cls, launch: Launch, hearer: Hearer, limits: TurnLimits) -> "Session":
        """Start the agent. AgentFailed, with a text for people, if it cannot; a cancelled start leaves nothing."""
        spawning = asyncio.create_task(spawn(launch))
        try:
            process = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            with contextlib.suppress(AgentFailed):
                process = await spawning
                await process.close(exit_seconds=0, term_seconds=limits.term_seconds)
                process.release()
            raise
        return cls(launch, process, hearer, limits)

    async def open(self, past: Past) -> None:
        """Open the mission's session. What it had cost before is known by the agent's word while it loads, else by ours."""
        await self.conversation.open(past)
        if self.conversation.is_loaded:
            self.cost = past.session_cost if self._cost_told is None else self._cost_told

    @property
    def is_alive(self) -> bool:
        """Whether it can be spoken to."""
        return self.process.exit_code is None and self.transport.fault is None and not self.transport.ended.is_set()

    def is_fit(self, launch: Launch, policy: Policy = DEFAULT) -> bool:
        """Whether an agent started for another run, under this policy, would be the same.

        One that has left its mode, or may remember what a wider policy granted for ever, would not.
        """
        ours = self.launch
        is_same = structs.replace(launch, run_id=ours.run_id, mcp_servers=ours.mcp_servers) == ours
        return is_same and not self._has_left_its_mode and covers(policy, self.widest)

    def _follow(self, update: dict[str, Any]) -> None:
        """Keep in mind what a later turn must know of the session: its mode, and what it had cost when it was loaded."""
        kind = update.get("sessionUpdate")
        if kind == "current_mode_update":
            self._has_left_its_mode = update.get("currentModeId") != self.launch.mode
        elif kind == "usage_update" and self.conversation.is_loading:
            amount = as_object(update.get("cost")).get("amount")
            self._cost_told = float(amount) if isinstance(amount, int | float) else self._cost_told

    async def close(self, *, exit_seconds: float, term_seconds: float) -> None:
        """End the agent and everything that it started; what it says meanwhile is still heard."""
        await self.process.close(exit_seconds=exit_seconds, term_seconds=term_seconds)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.transport.ended.wait(), 1)
        await self._connection.close()
        self.process.release()

    async def _handle(self, method: str, params: Any, is_notification: bool) -> Any:
        # The SDK runs each message as a task of its own: order holds only up to the first await.
        self.hearer.stirred()
        if method == "session/update":
            fields = as_object(params)
            update = as_object(fields.get("update"))
            self._follow(update)
            if self.conversation.is_past(fields.get("sessionId")):
                self.conversation.retold(update)
                self.transport.settle()  # nothing of it waits to be recorded
            else:
                self.hearer.update(fields.get("update"))
            return None
        if is_notification:
            self.transport.settle()
            return None
        if method == "session/request_permission":
            return await self.hearer.ask(params)
        self.transport.settle()
        raise RequestError.method_not_found(method)
