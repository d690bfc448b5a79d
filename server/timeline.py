"""The timeline: whole stored events, the form that pages, WebSockets and our own clients share."""

from typing import Any

import msgspec

from server.auth.principal import Principal
from server.core import Core
from storage.ids import parse_id
from streams import sse, websocket
from streams.channels import Channel
from streams.errors import NotFound
from streams.event import Event, Signal, timestamp
from streams.feed import Face


class StoredEvent(msgspec.Struct, kw_only=True):
    """An event as it stands in the log; `id` is its position."""

    id: int
    mission_id: str | None
    sequence: int
    position: int
    event_type: str
    timestamp: str
    event_id: str | None
    tool_call_id: str | None
    tool_name: str | None
    content: str
    metadata: msgspec.Raw
    actor: str | None
    prev: int | msgspec.UnsetType = msgspec.UNSET


def stored_event(event: Event, prev: int | msgspec.UnsetType = msgspec.UNSET) -> StoredEvent:
    """The wire form of an event; `prev` only in streams."""
    return StoredEvent(
        id=event.position,
        mission_id=None if event.stream_id == event.workspace_id else str(event.stream_id),
        sequence=event.sequence,
        position=event.position,
        event_type=event.type,
        timestamp=timestamp(event.at),
        event_id=event.event_id,
        tool_call_id=event.tool_call_id,
        tool_name=event.tool_name,
        content=event.content,
        metadata=msgspec.Raw(event.metadata.encode()),
        actor=event.actor,
        prev=prev,
    )


def signal_body(signal: Signal) -> dict[str, Any]:
    """A signal's wire form: its whole value, and what it is about."""
    return {
        "event_type": signal.type,
        "type": signal.type,
        "mission_id": str(signal.stream_id),
        **signal.body,
        "signal": True,
        "after": signal.after,
        "run_id": signal.run_id and str(signal.run_id),
    }


async def timeline_channel(services: Core, who: Principal, text: str) -> tuple[Channel, Face]:
    """The `timeline:` channel of a mission or of the workspace, in the principal's home; NotFound for anything else."""
    try:
        identity = parse_id(text)
    except ValueError:
        raise NotFound from None
    if identity == who.workspace_id:
        return Channel(identity, "workspace", identity), TimelineSocket
    row = await services.missions.get(who.workspace_id, identity)
    return Channel(row.workspace_id, "mission", row.id), TimelineSocket


class TimelineSse:
    """Stored events as server-sent events."""

    is_whole = True
    lingers = True

    def __init__(self, channel: Channel, epoch: str) -> None:
        self._epoch = epoch

    def event(self, event: Event, prev: int) -> bytes:
        return sse.frame(event.type, stored_event(event, prev), f"{self._epoch}:{event.position}")

    def signal(self, signal: Signal) -> bytes:
        return sse.frame(signal.type, signal_body(signal))

    def heartbeat(self, through: int, head: int) -> bytes:
        return sse.heartbeat(f"{self._epoch}:{through}", head)

    def notice(self, name: str, body: dict[str, Any]) -> bytes:
        return sse.frame(name, body)


class TimelineSocket:
    """Stored events as WebSocket messages of one channel."""

    is_whole = True
    lingers = True

    def __init__(self, channel: Channel, epoch: str) -> None:
        self._name = f"timeline:{channel.id}"

    def event(self, event: Event, prev: int) -> bytes:
        return websocket.frame(
            {
                "type": "timeline.event",
                "channel": self._name,
                "payload": stored_event(event),
                "seq": event.position,
                "prev": prev,
                "n": 0,
            }
        )

    def signal(self, signal: Signal) -> bytes:
        return websocket.frame({"type": "timeline.signal", "channel": self._name, "payload": signal_body(signal)})

    def heartbeat(self, through: int, head: int) -> bytes:
        return websocket.frame(
            {"type": "ping", "channel": self._name, "payload": None, "head": head, "through": through}
        )

    def notice(self, name: str, body: dict[str, Any]) -> bytes:
        return websocket.frame({"type": name, "channel": self._name, "payload": body})
