"""What any transport hands to the tracker: one small vocabulary for SSE, WebSocket and polling."""

from dataclasses import dataclass
from typing import Protocol

import msgspec

from missionstream_client.cursor import Cursor
from missionstream_client.model import Event, Signal


@dataclass(frozen=True, slots=True)
class Opened:
    """The feed is open; the server `resumed`, began `fresh`, or `reset` to `cursor` because of `reason`."""

    outcome: str
    cursor: Cursor
    reason: str | None = None


class Opening(msgspec.Struct, frozen=True):
    """The same as the server writes it."""

    outcome: str
    cursor: str
    reason: str | None = None

    def item(self) -> Opened:
        """Read it; ProtocolError when its cursor is none."""
        return Opened(self.outcome, Cursor.sent(self.cursor), self.reason)


@dataclass(frozen=True, slots=True)
class Arrived:
    """An event, and the position of the event before it in this feed."""

    event: Event
    prev: int
    epoch: str | None = None


@dataclass(frozen=True, slots=True)
class Through:
    """Everything of this feed up to this position was sent."""

    position: int
    epoch: str | None = None


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal: no number, no effect on the cursor."""

    signal: Signal


@dataclass(frozen=True, slots=True)
class Closing:
    """The server is about to close and asks to wait `retry_seconds` before coming back."""

    reason: str
    retry_seconds: float | None = None


Item = Opened | Arrived | Through | Signalled | Closing


class Connection(Protocol):
    """One open feed on one transport."""

    async def receive(self) -> Item:
        """The next item; ApiError when there will be none. Safe to cancel: nothing is lost."""
        ...

    async def aclose(self) -> None:
        """Close the socket; safe to repeat."""
        ...
