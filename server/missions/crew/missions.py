"""What people decide about a crew mission: create, edit, start, restart, resume, cancel, delete. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from server.missions.crew import limits
from server.missions.crew.commands import Cancel, Create, Delete, Edit, NewTask, Restart, Resume, Start
from server.missions.crew.drafts import lead_displaced, mission_moved, task_created, tasks_reset
from server.missions.crew.graph import downstream, fault_of
from server.missions.crew.state import KIND, LIFECYCLE, Mission
from storage.rules import Command, Decision
from streams.errors import BadRequest, Conflict
from streams.event import Draft

_SHOWN_CHARACTERS = 60


def refused_move(before: str, after: str) -> BadRequest:
    """What people read when a status may not follow another."""
    return BadRequest(f"Invalid status transition from {before} to {after[:_SHOWN_CHARACTERS]}")


def _create(state: None, command: Create) -> Decision:
    if not command.title:
        raise BadRequest("title is required")
    optional = {
        "description": command.description,
        "plan": command.plan,
        "workflow_template": command.workflow_template,
        "source": command.source and str(command.source),
        "parent_mission_id": command.parent_id and str(command.parent_id),
    }
    limits.check_fields({"title": command.title, **optional})
    metadata: dict[str, Any] = {
        "crew_id": str(command.crew_id),
        "lead_agent_id": str(command.lead_agent_id),
        "cause": command.cause,
    }
    metadata |= {name: value for name, value in optional.items() if value is not None}
    made = Draft(type="mission_created", content=command.title, metadata=metadata, actor=command.by)
    statuses = {task.id: task.status for task in command.tasks}
    tasks = [task_created(task, _initial(task, statuses), command.cause, by=command.by) for task in command.tasks]
    return Decision((made, *tasks))


def _initial(task: NewTask, statuses: Mapping[Any, str | None]) -> str:
    """The status of a copied task: its own, if it keeps it, else as its dependencies say."""
    is_blocked = any(statuses.get(needed) != "COMPLETED" for needed in task.depends_on)
    return task.status or ("BLOCKED" if is_blocked else "PENDING")


def _edit(state: Mission, command: Edit) -> Decision:
    if command.status is not None and command.status not in LIFECYCLE.transitions[state.status]:
        raise refused_move(state.status, command.status)
    changed = {
        name: value
        for name in ("title", "description", "plan")
        if (value := getattr(command, name)) is not None and value != getattr(state, name)
    }
    limits.check_fields(changed)
    before = limits.mission_size({name: getattr(state, name) for name in changed})
    limits.check_room(state, limits.mission_size(changed) - before)
    drafts: list[Draft] = []
    if changed:
        drafts.append(Draft(type="mission_edited", metadata={"fields": changed}, actor=command.by))
    if command.status is not None:
        drafts.append(mission_moved(state, command.status, "patch", by=command.by))
        drafts += lead_displaced(state, by=command.by)
    return Decision(tuple(drafts))


def _start(state: Mission, command: Start) -> Decision:
    if state.status != "PLANNING":
        if command.seen == "PLANNING":
            raise Conflict("Mission was already started by another request")
        raise BadRequest(f"cannot start mission in {state.status} state, must be PLANNING")
    _check_order(state)
    return Decision((mission_moved(state, "IN_PROGRESS", "start", by=command.by, is_engaged=True),))


def _restart(state: Mission, command: Restart) -> Decision:
    if state.status not in LIFECYCLE.terminal:
        raise Conflict(f"cannot restart mission in {state.status} state")
    back = {task.id for task in state.tasks.values() if task.status != "COMPLETED"}
    moved = mission_moved(state, "PLANNING", "restart", by=command.by, is_engaged=False)
    return Decision((moved, *tasks_reset(state, back, "restart", by=command.by)))


def _resume(state: Mission, command: Resume) -> Decision:
    if state.status != "FAILED":
        raise Conflict(f"can only resume FAILED missions, current status: {state.status}")
    failed = [task.id for task in state.tasks.values() if task.status in ("FAILED", "AWAITING_APPROVAL")]
    if not failed:
        raise BadRequest("No failed tasks to resume from")
    _check_order(state)
    drafts: Sequence[Draft] = tasks_reset(state, downstream(state.graph, failed), "resume", by=command.by)
    return Decision(
        (
            mission_moved(state, "RESUMING", "resume", by=command.by),
            mission_moved(state, "IN_PROGRESS", "resume", by=command.by, is_engaged=True),
            *drafts,
        )
    )


def _check_order(state: Mission) -> None:
    if (fault := fault_of(state.tasks)) is not None:
        raise BadRequest(f"Invalid task DAG: {fault}")


def _cancel(state: Mission, command: Cancel) -> Decision:
    LIFECYCLE.check(state.status, "CANCELLED")
    return Decision((mission_moved(state, "CANCELLED", "cancel", by=command.by), *lead_displaced(state, by=command.by)))


def _delete(state: Mission, command: Delete) -> Decision:
    if state.status not in ("PLANNING", "CANCELLED"):
        raise BadRequest("Only PLANNING or CANCELLED missions can be deleted")
    metadata = {"mission_id": str(state.id), "kind": KIND}
    draft = Draft(type="mission_deleted", metadata=metadata, actor=command.by, to_workspace=True)
    return Decision((draft,), deletes=True)


DECIDE: dict[type[Command], Any] = {
    Create: _create,
    Edit: _edit,
    Start: _start,
    Restart: _restart,
    Resume: _resume,
    Cancel: _cancel,
    Delete: _delete,
}
