"""The port through which a turn reaches the log, the streams and the people who answer its questions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from server.agents.budgets import Use
from server.agents.sandbox import Kind
from streams.event import Draft


class Sink(Protocol):
    """Where a turn's updates go. Calls of `record` never overlap and come in the order of the events."""

    async def record(self, drafts: Sequence[Draft]) -> None:
        """Append durable events in this order; returns after COMMIT."""

    def signal(self, type: str, body: dict[str, Any]) -> None:
        """A signal's whole current value."""

    async def sandboxed(self, sandbox: Kind) -> None:
        """The turn has an agent, with this around it: as its process got it, whatever the setting gives by now."""

    def opened(self, session_id: str, session_at: datetime, cost: float) -> None:
        """The agent's session is open: when it was begun or loaded, and what it had cost before, as the agent counts."""

    def used(self, use: Use, session_cost: float | None) -> None:
        """What the turn has used so far, and what its session has cost in all; None while the agent tells no cost."""

    async def answer(self, tool_call_id: str) -> Any:
        """Wait for the result that a client posts for this question. Cancelled when nobody waits any more."""
