"""Control's requests and responses."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from server.agents.budgets import usage_body
from server.dialects.control.subtasks import Subtasks
from server.missions.kinds import NO_SPACE, Facts
from server.timeline import StoredEvent
from storage.missions import MissionRow
from storage.spaces import SpaceRow
from streams.event import Event, timestamp

Name = Annotated[str, msgspec.Meta(max_length=255)]
"""What is kept beside content: short enough to be listed and indexed."""


class CreateMission(msgspec.Struct):
    title: str | None = None
    workspace_id: UUID | None = None
    agent: Name | None = None
    model_override: Name | None = None
    backend: Name | None = None
    config_profile: Name | None = None
    parent_mission_id: UUID | None = None
    permission_policy: Name | None = None
    budget: "Limits | None" = None


Amount = Annotated[int, msgspec.Meta(ge=1, le=1 << 53)]


class Limits(msgspec.Struct):
    """A budget: what is not named stays as it is, null lifts a limit."""

    tokens: Amount | msgspec.UnsetType | None = msgspec.UNSET
    cost_cents: Amount | msgspec.UnsetType | None = msgspec.UNSET
    seconds: Amount | msgspec.UnsetType | None = msgspec.UNSET

    def named(self) -> dict[str, int | None]:
        """The limits that the body names."""
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in values if value is not msgspec.UNSET}


class MissionSettings(msgspec.Struct):
    agent: Name | msgspec.UnsetType | None = msgspec.UNSET
    permission_policy: Name | msgspec.UnsetType = msgspec.UNSET
    budget: Limits | msgspec.UnsetType | None = msgspec.UNSET


class SendMessage(msgspec.Struct):
    content: str
    agent: Name | None = None
    client_message_id: UUID | None = None
    mission_id: UUID | None = None


class SetStatus(msgspec.Struct):
    status: str


class ResumeMission(msgspec.Struct):
    clean_workspace: bool = False
    skip_message: bool = False


class SetTitle(msgspec.Struct):
    title: str


class Parallel(msgspec.Struct):
    content: str
    model: str | None = None


class ToolResult(msgspec.Struct):
    tool_call_id: Name
    name: Name
    result: Any = None


class OutsideEvent(msgspec.Struct):
    event_id: str
    event_type: str
    content: str = ""
    metadata: dict[str, Any] | None = None
    tool_call_id: Name | None = None
    tool_name: Name | None = None


class AppendEvents(msgspec.Struct):
    events: list[OutsideEvent]


class CreateSpace(msgspec.Struct):
    name: str
    path: str | None = None
    workspace_type: str | None = None


class Login(msgspec.Struct):
    password: str
    username: str | None = None


class Mission(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A mission as control shows it, whatever its kind: `status` is the phase, `kind_status` the kind's own word."""

    id: str
    status: str
    title: str | None
    workspace_id: str
    workspace_name: str | None = None
    agent: str | None = None
    model_override: str | msgspec.UnsetType | None = msgspec.UNSET
    backend: str
    config_profile: str | None = None
    history: list[dict[str, str]]
    created_at: str
    updated_at: str
    interrupted_at: str | None = None
    resumable: bool
    session_id: str | None = None
    terminal_reason: str | None = None
    parent_mission_id: str | None = None
    permission_policy: str | None = None
    usage: dict[str, Any]
    usage_below: dict[str, Any] | None = None
    budget: dict[str, Any] | None = None
    sandbox: str | None = None
    kind: str
    kind_status: str


def mission(
    identity: UUID,
    kind: str,
    status: str,
    phase: str,
    title: str | None,
    facts: Facts,
    *,
    created_at: datetime,
    updated_at: datetime,
    parent_id: UUID | None = None,
    space_name: str | None = None,
    history: Sequence[Event] = (),
) -> Mission:
    """The Mission object; `history` are its newest user and assistant messages."""
    return Mission(
        id=str(identity),
        status=phase,
        title=title,
        workspace_id=str(facts.space_id),
        workspace_name=space_name or ("host" if facts.space_id == NO_SPACE else None),
        agent=facts.agent,
        model_override=facts.model_override,
        backend=facts.backend,
        config_profile=facts.config_profile,
        history=[{"role": event.type.removesuffix("_message"), "content": event.content} for event in said(history)],
        created_at=timestamp(created_at),
        updated_at=timestamp(updated_at),
        interrupted_at=timestamp(facts.interrupted_at) if facts.interrupted_at else None,
        resumable=facts.is_resumable,
        session_id=facts.session_id,
        terminal_reason=facts.terminal_reason,
        parent_mission_id=str(parent_id) if parent_id else None,
        permission_policy=facts.permission_policy,
        usage=usage_body(facts.spent),
        usage_below=usage_body(facts.spent_below) if facts.spent_below.turns else None,
        budget=limits | {"reached": facts.reached} if (limits := facts.budget.limits()) else None,
        sandbox=facts.sandbox,
        kind=kind,
        kind_status=status,
    )


def said(messages: Sequence[Event]) -> list[Event]:
    """Each message once: one that waited in the queue stands in the log twice, and counts from its turn on."""
    last = {event.event_id: event.position for event in messages if event.type == "user_message"}
    return [event for event in messages if last.get(event.event_id, event.position) == event.position]


def mission_of(row: MissionRow, facts: Facts, history: Sequence[Event] = ()) -> Mission:
    """The Mission object of a stored mission."""
    return mission(
        row.id, row.kind, row.status, row.phase, row.title, facts,
        created_at=row.created_at, updated_at=row.updated_at, parent_id=row.parent_id,
        space_name=row.space_name, history=history,
    )  # fmt: skip


class Running(msgspec.Struct, kw_only=True):
    """What a busy mission is doing."""

    mission_id: str
    state: str
    queue_len: int
    history_len: int
    seconds_since_activity: int
    health: dict[str, Any]
    expected_deliverables: int = 0
    current_activity: str | None = None
    subtask_total: int = 0
    subtask_completed: int = 0
    sandbox: str | None = None
    """What the turn's agent has around it: bubblewrap or none; null while no agent runs."""


def running(
    row: MissionRow, repeats: int, state: str, activity: str | None, parts: Subtasks, sandbox: str | None
) -> Running:
    """RunningMissionInfo; silence over 120 s is a warning, over 300 s severe."""
    silence = max(0, int((datetime.now(UTC) - (row.at or row.updated_at)).total_seconds()))
    health: dict[str, Any] = {"status": "healthy"}
    if state != "queued" and silence > 120:
        health = {
            "status": "stalled",
            "seconds_since_activity": silence,
            "last_state": "WaitingForTool" if state == "waiting_for_tool" else "Running",
            "severity": "severe" if silence > 300 else "warning",
        }
    return Running(
        mission_id=str(row.id),
        state=state,
        queue_len=row.queued,
        history_len=sum(row.counts.get(name, 0) for name in ("user_message", "assistant_message")) - repeats,
        seconds_since_activity=silence,
        health=health,
        current_activity=activity,
        expected_deliverables=parts.deliverables,
        subtask_total=parts.total,
        subtask_completed=parts.completed,
        sandbox=sandbox,
    )


class Snapshot(msgspec.Struct, kw_only=True):
    """First paint: everything, true at `latest_sequence` and at `cursor`."""

    mission: Mission
    events: list[StoredEvent]
    event_counts: dict[str, int]
    counts: dict[str, int]
    visibility_counts: dict[str, int]
    total_events: int
    latest_sequence: int
    cursor: str
    child_missions: list[Mission]
    running: Running | None
    signals: list[dict[str, Any]]


def space(row: SpaceRow, path: str) -> dict[str, Any]:
    """A space, in the original's word a workspace."""
    return {
        "id": str(row.id),
        "name": row.name,
        "workspace_type": "host",
        "path": path,
        "status": "ready",
        "error_message": None,
        "config": {},
        "created_at": timestamp(row.created_at),
        "skills": [],
        "plugins": [],
        "tools": [],
        "env_vars": {},
        "init_script": None,
    }
