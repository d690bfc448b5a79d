"""The drafts of a crew mission's events, each made in one place. Pure."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import msgspec

from server.agents.budgets import Use
from server.missions.crew.commands import NewTask
from server.missions.crew.events import MissionCause, TaskCause
from server.missions.crew.graph import missing_of
from server.missions.crew.state import LIFECYCLE, Mission, Purpose, Task, in_order
from streams.event import Draft

_TOLD_TITLE = 80
NOTHING: Mapping[str, Any] = {}
_TITLED = frozenset({"start", "engine", "review", "timeout"})
"""The causes whose messages name the mission."""


def mission_moved(
    state: Mission,
    status: str,
    cause: MissionCause,
    *,
    why: str = "",
    by: str | None = None,
    is_engaged: bool | None = None,
) -> Draft:
    """mission_status_changed, with the title where clients are told it, and `is_engaged` when it changes."""
    metadata: dict[str, Any] = {"status": status, "phase": LIFECYCLE.phases[status], "cause": cause}
    if cause in _TITLED:
        metadata["title"] = state.title
    if is_engaged is not None and is_engaged != state.is_engaged:
        metadata["is_engaged"] = is_engaged
    return Draft(type="mission_status_changed", content=why, metadata=metadata, actor=by)


def task_moved(
    task: Task,
    status: str,
    cause: TaskCause,
    *,
    fields: Mapping[str, Any] = NOTHING,
    why: str | None = "",
    by: str | None = None,
) -> Draft:
    """task_status_changed, with those of `fields` that change, and the beginning of the title for people to read."""
    metadata = {
        "task_id": str(task.id),
        "title": told_title(task),
        "status": status,
        "cause": cause,
        "fields": _changed(task, fields),
    }
    return Draft(type="task_status_changed", content=why or "", metadata=metadata, actor=by)


def told_title(task: Task) -> str:
    """The beginning of a task's title, for the readers of events that are about the task."""
    return task.title[:_TOLD_TITLE]


def task_updated(task: Task, fields: Mapping[str, Any], *, by: str | None) -> Draft:
    """task_updated, with those of `fields` that change."""
    metadata = {"task_id": str(task.id), "fields": _changed(task, fields)}
    return Draft(type="task_updated", metadata=metadata, actor=by)


def task_created(task: NewTask, status: str, cause: str, *, by: str | None) -> Draft:
    """task_created; fields that have their usual value are left out."""
    metadata: dict[str, Any] = {"task_id": str(task.id), "status": status, "cause": cause}
    optional = {
        "description": task.description,
        "agent_id": task.agent_id,
        "order": task.order or None,
        "depends_on": task.depends_on or None,
        "max_iterations": task.max_iterations,
        "approval_required": task.approval_required or None,
    }
    metadata |= {name: msgspec.to_builtins(value) for name, value in optional.items() if value is not None}
    return Draft(type="task_created", content=task.title, metadata=metadata, actor=by)


def tasks_reset(state: Mission, reset: Collection[UUID], cause: str, *, by: str | None = None) -> list[Draft]:
    """The end of the runs that work on these tasks, then tasks_reset; nothing for none.

    Each is PENDING when all its dependencies are COMPLETED and not reset themselves, else BLOCKED.
    """
    tasks = [task for task in state.tasks.values() if task.id in reset]
    if not tasks:
        return []
    stay = {task_id: task for task_id, task in state.tasks.items() if task_id not in reset}
    listed = [
        {
            "task_id": str(task.id),
            "status": "BLOCKED" if missing_of(task.depends_on, stay) else "PENDING",
            "iteration": task.iteration + 1,
        }
        for task in tasks
    ]
    ends = [displaced(task, by=by) for task in tasks if task.run_id is not None]
    return [*ends, Draft(type="tasks_reset", metadata={"cause": cause, "tasks": listed}, actor=by)]


def run_started(run_id: UUID, purpose: Purpose, agent_id: UUID, *, task_id: UUID | None = None) -> Draft:
    """run_started."""
    metadata = {"run_id": str(run_id), "purpose": purpose, "agent_id": str(agent_id)}
    if task_id is not None:
        metadata["task_id"] = str(task_id)
    return Draft(type="run_started", metadata=metadata)


def run_ended(
    run_id: UUID,
    purpose: Purpose,
    agent_id: UUID | None,
    reason: str,
    *,
    task_id: UUID | None = None,
    use: Use = Use(),  # noqa: B008
    usage: Mapping[str, int] = NOTHING,
    session_id: str | None = None,
    has_planned: bool = False,
    by: str | None = None,
) -> Draft:
    """run_ended, of whatever purpose."""
    metadata: dict[str, Any] = {
        "run_id": str(run_id),
        "purpose": purpose,
        "agent_id": str(agent_id) if agent_id else None,
        "reason": reason,
        "usage": dict(usage),
        "use": msgspec.to_builtins(use),
    }
    if task_id is not None:
        metadata["task_id"] = str(task_id)
    if session_id is not None:
        metadata["session_id"] = session_id
    if has_planned:
        metadata["has_planned"] = True
    return Draft(type="run_ended", metadata=metadata, actor=by)


def displaced(task: Task, *, by: str | None) -> Draft:
    """The end of a task's run because somebody else decided on the task; what the run says later is ignored."""
    assert task.run_id is not None
    return run_ended(task.run_id, "task", task.run_agent_id, "cancelled", task_id=task.id, by=by)


def lead_displaced(state: Mission, *, by: str | None = None) -> list[Draft]:
    """The end of the LEAD's run because the mission moved on without it; nothing when there is none."""
    if state.run is None:
        return []
    return [run_ended(state.run.id, state.run.purpose, state.run.agent_id, "cancelled", by=by)]


def unblocked(state: Mission, done: UUID) -> list[Draft]:
    """The BLOCKED tasks that only waited for this one, which becomes COMPLETED now: PENDING."""
    waiting = [state.tasks[task_id] for task_id in state.graph.dependents.get(done, ())]
    free = [task for task in waiting if task.status == "BLOCKED" and state.graph.missing[task.id] == 1]
    return [task_moved(task, "PENDING", "unblock") for task in in_order(free)]


def _changed(task: Task, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: msgspec.to_builtins(value) for name, value in fields.items() if value != getattr(task, name)}
