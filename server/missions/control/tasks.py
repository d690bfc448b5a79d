"""A control mission's tasks and reported progress: wishes, decisions and folds. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from server.missions.tasks import TASK_LIFECYCLE, AddTask, Progress, ReportProgress, Task, progress_reported
from storage.rules import Command, Decision
from streams.errors import Conflict, NotFound
from streams.event import Draft, Event

if TYPE_CHECKING:
    from server.missions.control.state import Mission

MAX_TASKS = 200
MAX_TASK_CHARACTERS = 64 << 10
"""Of all titles and descriptions of one mission: its whole state is read with every list."""


class UpdateTask(Command, frozen=True, kw_only=True):
    """Change a task; None leaves a field as it is."""

    task_id: str
    title: str | None = None
    description: str | None = None
    status: str | None = None
    by: str | None = None


def task_of(state: "Mission", task_id: str) -> Task:
    """The task; NotFound if the mission has none of this id."""
    for task in state.tasks:
        if task.id == task_id:
            return task
    raise NotFound(f"Task {task_id} not found in mission {state.id}")


def _report(state: "Mission", command: ReportProgress) -> Decision:
    """What is said already is not said again."""
    if command.progress == state.progress:
        return Decision()
    return Decision((progress_reported(command),))


def _create(state: "Mission", command: AddTask) -> Decision:
    if command.depends_on or command.agent_id is not None:
        raise Conflict("the tasks of a control mission have no dependencies, and no agents of their own")
    if len(state.tasks) >= MAX_TASKS:
        raise Conflict(f"a mission has at most {MAX_TASKS} tasks; change one of them, or make a child mission")
    _check_room(state, len(command.title) + len(command.description))
    fields = {"task_id": command.task_id, "status": TASK_LIFECYCLE.initial, "description": command.description}
    return Decision((Draft(type="task_created", content=command.title, metadata=fields, actor=command.by),))


def _update(state: "Mission", command: UpdateTask) -> Decision:
    before = task_of(state, command.task_id)
    wanted = {
        name: value for name in ("title", "description", "status") if (value := getattr(command, name)) is not None
    }
    after = msgspec.structs.replace(before, **wanted)
    if after == before:
        return Decision()
    TASK_LIFECYCLE.check(before.status, after.status)
    _check_room(state, _size(after) - _size(before))
    fields = {"task_id": after.id, "status": after.status, "description": after.description}
    return Decision((Draft(type="task_updated", content=after.title, metadata=fields, actor=command.by),))


def _check_room(state: "Mission", more: int) -> None:
    if more > 0 and sum(map(_size, state.tasks)) + more > MAX_TASK_CHARACTERS:
        raise Conflict(
            f"the tasks of a mission have at most {MAX_TASK_CHARACTERS} characters; shorten some descriptions"
        )


def _size(task: Task) -> int:
    return len(task.title) + len(task.description)


def _reported(state: "Mission", event: Event) -> dict[str, Any]:
    return {"progress": Progress(**event.data(), current_subtask=event.content or None)}


def _task(event: Event, created_at: datetime) -> Task:
    data = event.data()
    return Task(data["task_id"], event.content, data["status"], created_at, event.at, data["description"])


def _created(state: "Mission", event: Event) -> dict[str, Any]:
    return {"tasks": (*state.tasks, _task(event, event.at))}


def _updated(state: "Mission", event: Event) -> dict[str, Any]:
    changed = event.data()["task_id"]
    return {
        "tasks": tuple(_task(event, task.created_at) if task.id == changed else task for task in state.tasks),
    }


DECIDE: dict[type[Command], Any] = {ReportProgress: _report, AddTask: _create, UpdateTask: _update}
COMMANDS: Mapping[str, type[Command]] = {
    "report_progress": ReportProgress,
    "create_task": AddTask,
    "update_task": UpdateTask,
}
EVOLVE = {"progress": _reported, "task_created": _created, "task_updated": _updated}
