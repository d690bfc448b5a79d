"""What people decide about a crew mission's tasks: add one, change one. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET

from server.missions.crew import limits
from server.missions.crew.commands import CreateTask, NewTask, Reference, UpdateTask
from server.missions.crew.drafts import displaced, task_created, task_moved, task_updated, unblocked
from server.missions.crew.events import TaskCause
from server.missions.crew.graph import missing_of
from server.missions.crew.missions import refused_move
from server.missions.crew.state import TASK_LIFECYCLE, WAITING, Mission, Task
from storage.rules import Command, Decision
from streams.errors import BadRequest, Conflict, NotFound
from streams.event import Draft

_SHOWN_CHARACTERS = 60
_OF_WAITING = ("title", "description", "depends_on")
"""The fields that may change while nobody works on the task yet."""
_PLAIN = (
    "title", "description", "agent_id", "result_summary", "error_message", "output_path", "token_count",
    "estimated_cost",
)  # fmt: skip
_WHY = {"COMPLETED": "result_summary", "FAILED": "error_message"}
"""The field that says to people what a status means."""


def task_of(state: Mission, task_id: UUID) -> Task:
    """The task; NotFound if the mission has none of this id."""
    task = state.tasks.get(task_id)
    if task is None:
        raise NotFound("Task not found")
    return task


def check_takes_tasks(status: str) -> None:
    """BadRequest unless tasks may be added in this status of the mission. Comes before a body is read."""
    if status not in ("PLANNING", "IN_PROGRESS"):
        raise BadRequest("Tasks can only be added to PLANNING or IN_PROGRESS missions")


def create_task(state: Mission, command: CreateTask) -> Decision:
    """Add a task; the refusals of the crew API, in its order."""
    check_takes_tasks(state.status)
    if not command.title:
        raise BadRequest("title is required")
    if command.max_iterations is not None and not 0 <= command.max_iterations <= limits.MAX_ITERATIONS:
        raise BadRequest(f"max_iterations must be between 0 and {limits.MAX_ITERATIONS}")
    depends_on = tuple(_found(state, named, "dependency task not found: {}") for named in command.depends_on)
    task = NewTask(
        id=command.id,
        title=command.title,
        description=command.description,
        agent_id=command.agent_id,
        order=command.order,
        depends_on=depends_on,
        max_iterations=command.max_iterations,
        approval_required=command.approval_required,
    )
    if command.id in state.tasks:
        raise Conflict(f"task {command.id} exists already")
    limits.check_fields(msgspec.structs.asdict(task))
    limits.check_room(state, limits.new_task_size(task), tasks=1)
    status = "BLOCKED" if missing_of(depends_on, state.tasks) else "PENDING"
    return Decision((task_created(task, status, command.cause, by=command.by),))


def _update(state: Mission, command: UpdateTask) -> Decision:
    task = task_of(state, command.id)
    named = {name for name in (*_PLAIN, "status", "depends_on") if getattr(command, name) is not UNSET}
    if {"status", "depends_on"} <= named:
        raise BadRequest("Cannot update status and depends_on in the same request")
    status = task.status if isinstance(command.status, msgspec.UnsetType) else command.status
    if "status" in named and status not in TASK_LIFECYCLE.transitions[task.status]:
        raise refused_move(task.status, status)
    if task.status not in WAITING and not named.isdisjoint(_OF_WAITING):
        raise BadRequest("Can only edit title/description/depends_on for PENDING or BLOCKED tasks")
    fields = {name: getattr(command, name) for name in _PLAIN if name in named}
    cause: TaskCause = "patch"
    if not isinstance(command.depends_on, msgspec.UnsetType):
        fields["depends_on"] = _dependencies(state, task, command.depends_on)
        status = "BLOCKED" if missing_of(fields["depends_on"], state.tasks) else "PENDING"
        cause = "depends"
    changed = {name: value for name, value in fields.items() if value != getattr(task, name)}
    limits.check_fields(changed)
    after = msgspec.structs.replace(task, **changed)
    limits.check_room(state, limits.task_size(after) - limits.task_size(task))
    if status != task.status:
        return Decision(tuple(_moved(state, task, status, cause, changed, command.by)))
    return Decision((task_updated(task, changed, by=command.by),) if changed else ())


def _moved(
    state: Mission, task: Task, status: str, cause: TaskCause, changed: Mapping[str, Any], by: str | None
) -> list[Draft]:
    said = _WHY.get(status, "")
    why = changed.get(said, getattr(task, said, ""))
    drafts = [task_moved(task, status, cause, fields={**changed, "run_id": None}, why=why, by=by)]
    if task.run_id is not None:
        drafts.append(displaced(task, by=by))
    if status == "COMPLETED":
        drafts += unblocked(state, task.id)
    return drafts


def _dependencies(state: Mission, task: Task, named: Sequence[Reference] | None) -> tuple[UUID, ...]:
    if named is None:
        raise BadRequest("depends_on must be a JSON array of task IDs")
    if any(reference.id == task.id for reference in named):
        raise BadRequest("Task cannot depend on itself")
    return tuple(_found(state, reference, "Dependency task {} not found in this mission") for reference in named)


def _found(state: Mission, named: Reference, otherwise: str) -> UUID:
    if named.id is None or named.id not in state.tasks:
        raise BadRequest(otherwise.format(named.given[:_SHOWN_CHARACTERS]))
    return named.id


DECIDE: dict[type[Command], Any] = {CreateTask: create_task, UpdateTask: _update}
