"""Requests and responses of crew's missions, tasks and checkpoints."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from server.dialects.crew import ids
from server.dialects.crew.answers import second
from server.missions.crew import state
from server.missions.crew.commands import Reference
from storage import checkpoints
from storage.agents import AgentName
from storage.crewmissions import ShownMission, ShownTask
from streams.event import timestamp

# requests: null counts as absent, and what is not named here is ignored


class CreateMission(msgspec.Struct):
    title: str | None = None
    description: str | None = None
    lead_agent_id: str | None = None
    workflow_template: str | None = None


class EditMission(msgspec.Struct):
    title: str | None = None
    description: str | None = None
    plan: str | None = None
    status: str | None = None


class CreateTask(msgspec.Struct):
    title: str | None = None
    description: str | None = None
    assigned_agent_id: str | None = None
    task_order: int = 0
    depends_on: list[str] = []
    max_iterations: int | None = None
    approval_required: bool = False


class EditTask(msgspec.Struct):
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    assigned_agent_id: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    depends_on: str | UnsetType = UNSET
    """JSON in a string: an array of task ids."""
    result_summary: str | UnsetType = UNSET
    error_message: str | UnsetType = UNSET
    output_path: str | UnsetType = UNSET
    token_count: int | UnsetType = UNSET
    estimated_cost: float | UnsetType = UNSET


class Approve(msgspec.Struct):
    approved: bool
    notes: str | None = None


class Label(msgspec.Struct):
    label: str | None = None


def references(named: Iterable[str]) -> tuple[Reference, ...]:
    """Tasks as a request names them, in either spelling."""
    return tuple(Reference(given, ids.read(given)) for given in named)


def references_in(text: str) -> tuple[Reference, ...] | None:
    """The tasks that a JSON array in a string names; None when it is no array of strings."""
    try:
        return references(msgspec.json.decode(text.encode(errors="replace"), type=list[str] | None) or [])
    except (msgspec.DecodeError, RecursionError):
        return None


# responses


class Moved(msgspec.Struct, omit_defaults=True):
    """What start, restart, resume and clone answer."""

    id: str
    status: str
    reset_tasks: int | UnsetType = UNSET


class TaskStats(msgspec.Struct):
    total: int
    pending: int
    blocked: int
    in_progress: int
    completed: int
    failed: int
    skipped: int
    awaiting_approval: int


class Task(msgspec.Struct, kw_only=True):
    id: str
    mission_id: str
    assigned_agent_id: str | None
    agent_name: str | UnsetType = UNSET
    agent_slug: str | UnsetType = UNSET
    title: str
    description: str | None
    status: str
    task_order: int
    depends_on: str
    """JSON in a string, whatever the request was."""
    iteration: int
    max_iterations: int | None
    result_summary: str | None
    output_path: str | None
    error_message: str | None
    assignment_id: str | None
    token_count: int | None
    estimated_cost: float | None
    started_at: str | None
    completed_at: str | None
    duration_ms: int | None
    confidence: float | None
    needs_review: bool
    handoff_context: str | None
    evaluation_status: str | None
    evaluation_notes: str | None
    approval_required: bool
    approval_status: str | None
    approved_by: str | None
    approved_at: str | None
    created_at: str
    updated_at: str


class Mission(msgspec.Struct, kw_only=True):
    id: str
    workspace_id: str
    crew_id: str
    lead_agent_id: str
    lead_agent_name: str | UnsetType = UNSET
    lead_agent_slug: str | UnsetType = UNSET
    trace_id: str
    title: str
    description: str | None
    status: str
    plan: str | None
    workflow_template: str | None
    total_token_count: int | None
    total_estimated_cost: float | None
    created_at: str
    updated_at: str
    completed_at: str | None
    task_stats: TaskStats | UnsetType = UNSET
    tasks: Sequence[Task] | UnsetType = UNSET


class Checkpoint(msgspec.Struct, kw_only=True):
    id: str
    workspace_id: str
    crew_id: str
    mission_id: str
    label: str | UnsetType = UNSET
    journal_cursor: str
    state: dict[str, Any]
    fork_of: str | UnsetType = UNSET
    created_by: str | UnsetType = UNSET
    created_at: str


def mission(
    workspace_id: UUID,
    told: state.Mission,
    lead: AgentName | None = None,
    *,
    has_stats: bool = False,
    tasks: Sequence[ShownTask] | None = None,
) -> Mission:
    """A mission; its lead's names, stats and tasks only where they are asked for."""
    return Mission(
        id=ids.spell(told.id),
        workspace_id=ids.spell(workspace_id),
        crew_id=ids.spell(told.crew_id),
        lead_agent_id=ids.spell(told.lead_agent_id),
        lead_agent_name=lead.name if lead else UNSET,
        lead_agent_slug=lead.slug if lead else UNSET,
        trace_id=ids.spell(told.id, ids.TRACE),
        title=told.title,
        description=told.description,
        status=told.status,
        plan=told.plan,
        workflow_template=told.workflow_template,
        total_token_count=told.token_count,
        total_estimated_cost=told.estimated_cost,
        created_at=second(told.created_at),
        updated_at=second(told.updated_at),
        completed_at=_second(told.completed_at),
        task_stats=task_stats(told) if has_stats else UNSET,
        tasks=UNSET if tasks is None else _tasks(told.id, tasks),
    )


def listed(workspace_id: UUID, shown: ShownMission, tasks: Sequence[ShownTask] | None = None) -> Mission:
    """A mission as lists and GET show it."""
    return mission(workspace_id, shown.mission, shown.lead, has_stats=True, tasks=tasks)


def task_stats(told: state.Mission) -> TaskStats:
    """How many tasks have which status; `total` counts all."""
    return TaskStats(total=told.total, **{status.lower(): count for status, count in told.stats.items()})


def _tasks(mission_id: UUID, tasks: Sequence[ShownTask]) -> Sequence[Task]:
    ordered = sorted(tasks, key=lambda shown: (shown.task.order, shown.task.number))
    return [task(mission_id, shown.task, shown.agent) for shown in ordered]


def task(mission_id: UUID, told: state.Task, agent: AgentName | None) -> Task:
    """A task, whole."""
    return Task(
        id=ids.spell(told.id),
        mission_id=ids.spell(mission_id),
        assigned_agent_id=None if told.agent_id is None else ids.spell(told.agent_id),
        agent_name=agent.name if agent else UNSET,
        agent_slug=agent.slug if agent else UNSET,
        title=told.title,
        description=told.description,
        status=told.status,
        task_order=told.order,
        depends_on=msgspec.json.encode([ids.spell(needed) for needed in told.depends_on]).decode(),
        iteration=told.iteration,
        max_iterations=told.max_iterations,
        result_summary=told.result_summary,
        output_path=told.output_path,
        error_message=told.error_message,
        assignment_id=None if told.assignment_id is None else ids.spell(told.assignment_id, ids.ASSIGNMENT),
        token_count=told.token_count,
        estimated_cost=told.estimated_cost,
        started_at=_second(told.started_at),
        completed_at=_second(told.completed_at),
        duration_ms=told.duration_ms,
        confidence=told.confidence,
        needs_review=told.needs_review,
        handoff_context=told.handoff_context,
        evaluation_status=told.evaluation_status,
        evaluation_notes=told.evaluation_notes,
        approval_required=told.approval_required,
        approval_status=told.approval_status,
        approved_by=told.approved_by,
        approved_at=_second(told.approved_at),
        created_at=second(told.created_at),
        updated_at=second(told.updated_at),
    )


def checkpoint(told: checkpoints.Checkpoint, crew_id: UUID) -> Checkpoint:
    """A checkpoint; what it does not have is left out."""
    return Checkpoint(
        id=ids.spell(told.id, ids.CHECKPOINT),
        workspace_id=ids.spell(told.workspace_id),
        crew_id=ids.spell(crew_id),
        mission_id=ids.spell(told.mission_id),
        label=told.label or UNSET,
        journal_cursor=ids.spell_entry(told.position),
        state={
            "agent_memory": {},
            "pending_tasks": [ids.spell(task_id) for task_id in told.pending_tasks],
            "open_assignments": [ids.spell(run_id, ids.ASSIGNMENT) for run_id in told.open_assignments],
        },
        fork_of=UNSET if told.fork_of is None else ids.spell(told.fork_of, ids.CHECKPOINT),
        created_by=told.created_by or UNSET,
        created_at=timestamp(told.created_at),
    )


def _second(at: datetime | None) -> str | None:
    return None if at is None else second(at)
