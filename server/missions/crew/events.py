"""The metadata of a crew mission's state events, typed: what decide puts into the log and evolve reads from it."""

from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from server.missions.crew.state import Purpose, Verdict

MissionCause = Literal["patch", "start", "restart", "resume", "engine", "review", "timeout", "cancel"]
TaskCause = Literal[
    "patch", "unblock", "depends", "claim", "end", "retry", "loop_back", "approved", "rejected", "cascade", "timeout",
    "dispatch", "requeue",
]  # fmt: skip
"""Why a task's status changed. After `depends`, an edit of dependencies, no frame tells of it."""


class TaskFields(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of a task that changed, with their final values. Times are missing: evolve sets them from the event's."""

    title: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    depends_on: tuple[UUID, ...] | UnsetType = UNSET
    agent_id: UUID | UnsetType | None = UNSET
    iteration: int | UnsetType = UNSET
    result_summary: str | UnsetType | None = UNSET
    output_path: str | UnsetType | None = UNSET
    error_message: str | UnsetType | None = UNSET
    run_id: UUID | UnsetType | None = UNSET
    assignment_id: UUID | UnsetType | None = UNSET
    token_count: int | UnsetType | None = UNSET
    estimated_cost: float | UnsetType | None = UNSET
    confidence: float | UnsetType | None = UNSET
    needs_review: bool | UnsetType = UNSET
    handoff_context: str | UnsetType | None = UNSET
    evaluation_status: str | UnsetType | None = UNSET
    evaluation_notes: str | UnsetType | None = UNSET
    approval_status: str | UnsetType | None = UNSET
    approved_by: str | UnsetType | None = UNSET

    def changes(self) -> dict[str, Any]:
        """The fields that are there, by name."""
        return {name: value for name in _TASK_FIELDS if (value := getattr(self, name)) is not UNSET}


_TASK_FIELDS = TaskFields.__struct_fields__


class MissionFields(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of a mission that people changed."""

    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    plan: str | UnsetType = UNSET


class MissionCreated(msgspec.Struct, frozen=True, kw_only=True):
    """mission_created; its content is the title."""

    crew_id: UUID
    lead_agent_id: UUID
    description: str | None = None
    plan: str | None = None
    workflow_template: str | None = None
    cause: str = "create"
    source: UUID | None = None
    parent_mission_id: UUID | None = None


class MissionEdited(msgspec.Struct, frozen=True, kw_only=True):
    """mission_edited."""

    fields: MissionFields


class MissionStatusChanged(msgspec.Struct, frozen=True, kw_only=True):
    """mission_status_changed; its content says the reason to people."""

    status: str
    phase: str
    cause: MissionCause
    title: str | UnsetType = UNSET
    is_engaged: bool | UnsetType = UNSET
    """When it changes."""


class TaskCreated(msgspec.Struct, frozen=True, kw_only=True):
    """task_created; its content is the title."""

    task_id: UUID
    status: str
    cause: str
    description: str | None = None
    agent_id: UUID | None = None
    order: int = 0
    depends_on: tuple[UUID, ...] = ()
    max_iterations: int | None = None
    approval_required: bool = False


class TaskUpdated(msgspec.Struct, frozen=True, kw_only=True):
    """task_updated: fields of a task, but not its status."""

    task_id: UUID
    fields: TaskFields


class TaskStatusChanged(msgspec.Struct, frozen=True, kw_only=True):
    """task_status_changed; its content is the error or the summary, for people."""

    task_id: UUID
    status: str
    cause: TaskCause
    fields: TaskFields = TaskFields()


class TaskReset(msgspec.Struct, frozen=True):
    """One task of tasks_reset."""

    task_id: UUID
    status: str
    iteration: int


class TasksReset(msgspec.Struct, frozen=True, kw_only=True):
    """tasks_reset: each is emptied of its error, result, times, assignment, run, approval and reason to wait."""

    cause: Literal["restart", "resume", "rework"]
    tasks: tuple[TaskReset, ...]


class RunStarted(msgspec.Struct, frozen=True, kw_only=True):
    """run_started; a task's comes with the claim."""

    run_id: UUID
    purpose: Purpose
    agent_id: UUID
    task_id: UUID | None = None


class RunEnded(msgspec.Struct, frozen=True, kw_only=True):
    """run_ended."""

    run_id: UUID
    purpose: Purpose
    agent_id: UUID | None = None
    task_id: UUID | None = None
    reason: str
    has_planned: bool = False
    """Of a planning run: there is nothing left to plan."""


class TaskWaiting(msgspec.Struct, frozen=True, kw_only=True):
    """task_waiting."""

    task_id: UUID
    reason: str
    agent_id: UUID | None = None


class MissionWaiting(msgspec.Struct, frozen=True, kw_only=True):
    """mission_waiting: nobody plans it."""

    reason: str
    agent_id: UUID | None = None


class ReviewRecorded(msgspec.Struct, frozen=True, kw_only=True):
    """review_recorded; `by` is the LEAD."""

    verdict: Verdict
    notes: str
    by: UUID
    is_automatic: bool
