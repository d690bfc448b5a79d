"""What the server says, as structs; unknown fields are ignored, so a newer server is understood too."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A durable fact: `sequence` is its place in its mission, `position` its place in the workspace."""

    position: int
    sequence: int
    event_type: str
    timestamp: datetime
    mission_id: str | None = None
    event_id: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    content: str = ""
    metadata: dict[str, Any] = {}
    actor: str | None = None


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A transient current value, whole and without a number; the newest replaces the one before it.

    `after` is the mission's sequence when it was made: an event with a higher sequence is newer.
    `data` holds all fields as sent (`content` for text, `state` and `queue_len` for status …).
    """

    event_type: str
    mission_id: str | None = None
    after: int | None = None
    run_id: str | None = None
    data: dict[str, Any] = {}

    @property
    def content(self) -> str:
        """The text so far; empty for signals that carry none."""
        return str(self.data.get("content") or "")

    @classmethod
    def of(cls, data: Mapping[str, Any], *, event_type: str | None = None, mission_id: str | None = None) -> "Signal":
        """Build it from its wire form; the arguments fill in what the form leaves to its envelope."""
        return cls(
            event_type=str(event_type or data.get("event_type") or data.get("type") or ""),
            mission_id=data.get("mission_id") or mission_id,
            after=data.get("after"),
            run_id=data.get("run_id"),
            data=dict(data),
        )


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a mission's conversation."""

    role: str
    content: str = ""


class Mission(msgspec.Struct, frozen=True, kw_only=True):
    """A mission; `status` is pending, active, completed, failed or interrupted."""

    id: str
    status: str
    title: str | None = None
    kind: str | None = None
    kind_status: str | None = None
    backend: str | None = None
    agent: str | None = None
    model_override: str | None = None
    config_profile: str | None = None
    workspace_id: str | None = None
    workspace_name: str | None = None
    parent_mission_id: str | None = None
    session_id: str | None = None
    history: list[HistoryEntry] = []
    created_at: datetime | None = None
    updated_at: datetime | None = None
    interrupted_at: datetime | None = None
    resumable: bool = False
    terminal_reason: str | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a mission's work; `status` is pending, running, completed or failed."""

    id: str
    title: str
    status: str
    description: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


class RunningMission(msgspec.Struct, frozen=True, kw_only=True):
    """What a mission is doing now; `state` is queued, running, waiting_for_tool or finished."""

    mission_id: str
    state: str
    queue_len: int = 0
    history_len: int = 0
    seconds_since_activity: int = 0
    current_activity: str | None = None
    health: dict[str, Any] = {}
    expected_deliverables: int = 0
    subtask_total: int = 0
    subtask_completed: int = 0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A mission and its recent events as of `cursor`: follow from there and nothing is lost or repeated."""

    mission: Mission
    cursor: str
    events: list[Event] = []
    event_counts: dict[str, int] = {}
    visibility_counts: dict[str, int] = {}
    total_events: int = 0
    latest_sequence: int = 0
    child_missions: list[Mission] = []
    running: RunningMission | None = None
    signal_data: list[dict[str, Any]] = msgspec.field(name="signals", default_factory=list)

    @property
    def signals(self) -> list[Signal]:
        """The current values of open runs."""
        return [Signal.of(data, mission_id=self.mission.id) for data in self.signal_data]


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of one mission's events, ascending; the numbers speak of the whole mission."""

    events: list[Event]
    total_events: int | None = None
    max_sequence: int | None = None
    epoch: str | None = None


class FeedPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the workspace's events, ascending, complete up to `cursor`; `head` is the last position."""

    cursor: str
    head: int
    events: list[Event] = []


class Draft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event to append; one with the same `event_id` is stored once, however often it is sent."""

    event_type: str
    content: str = ""
    metadata: dict[str, Any] = {}
    event_id: str = msgspec.field(default_factory=lambda: str(uuid4()))
    tool_call_id: str | None = None
    tool_name: str | None = None


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers that an appended event got."""

    event_id: str | None
    sequence: int
    position: int


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted message; `queued` when the mission was busy."""

    id: str
    queued: bool = False


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A token and when it expires (unix seconds)."""

    token: str
    exp: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of itself to anybody."""

    status: str
    version: str | None = None
    auth_required: bool = True
    auth_mode: str | None = None
