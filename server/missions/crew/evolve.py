"""From a crew mission's state and an event to the next state. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import reduce
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET
from msgspec.json import Decoder

from server.missions.crew import events, limits
from server.missions.crew.graph import graph_after
from server.missions.crew.state import LIFECYCLE, WAITING, Mission, Review, Run, Task
from server.missions.crew.steps import LOST
from streams.event import Event

_mission_created = Decoder(events.MissionCreated)
_mission_edited = Decoder(events.MissionEdited)
_mission_moved = Decoder(events.MissionStatusChanged)
_task_created = Decoder(events.TaskCreated)
_task_updated = Decoder(events.TaskUpdated)
_task_moved = Decoder(events.TaskStatusChanged)
_tasks_reset = Decoder(events.TasksReset)
_run_started = Decoder(events.RunStarted)
_run_ended = Decoder(events.RunEnded)
_task_waiting = Decoder(events.TaskWaiting)
_mission_waiting = Decoder(events.MissionWaiting)
_review = Decoder(events.ReviewRecorded)

_NO_TIMES: Mapping[str, Any] = {"started_at": None, "completed_at": None, "duration_ms": None}
_RESET: Mapping[str, Any] = {
    **_NO_TIMES,
    "error_message": None,
    "result_summary": None,
    "assignment_id": None,
    "run_id": None,
    "approval_status": None,
    "approved_by": None,
    "approved_at": None,
    "waiting": None,
}
"""What a task loses when it is set back. It keeps its output path, use, confidence, hand-off and evaluation."""


def created(event: Event) -> Mission:
    """The first state, of mission_created."""
    data = _mission_created.decode(event.metadata)
    mission = Mission(
        id=event.stream_id,
        crew_id=data.crew_id,
        lead_agent_id=data.lead_agent_id,
        title=event.content,
        status=LIFECYCLE.initial,
        created_at=event.at,
        updated_at=event.at,
        description=data.description,
        plan=data.plan,
        workflow_template=data.workflow_template,
        parent_id=data.parent_mission_id,
        created_by=event.actor,
    )
    return msgspec.structs.replace(mission, size=limits.mission_size(msgspec.structs.asdict(mission)))


def evolved(state: Mission, event: Event) -> Mission:
    """The state after an event."""
    return msgspec.structs.replace(state, updated_at=event.at, **EVOLVE[event.type](state, event))


def evolved_all(state: Mission, events: Sequence[Event]) -> Mission:
    """The state after several events. What costs as much as the mission has tasks is done once, whatever their number."""
    if len(events) < 2:
        return evolved(state, events[0]) if events else state
    own = _OwnTasks(state.tasks)
    after = reduce(evolved, events, msgspec.structs.replace(state, tasks=own))
    if not own.changed:
        return msgspec.structs.replace(after, tasks=state.tasks)
    tasks = dict(own)
    graph = graph_after(state.graph, state.tasks, tasks, list(own.changed))
    return msgspec.structs.replace(after, tasks=tasks, graph=graph)


class _OwnTasks(dict[UUID, Task]):
    """A copy of a mission's tasks that nobody else has seen: it may be changed in place, and knows what changed.

    The graph of its mission is stale until all events are folded; no event is folded by way of the graph.
    """

    def __init__(self, tasks: Mapping[UUID, Task]) -> None:
        super().__init__(tasks)
        self.changed: dict[UUID, None] = {}
        """In the order of their first change."""


def _edited(state: Mission, event: Event) -> dict[str, Any]:
    fields = _mission_edited.decode(event.metadata).fields
    names = [name for name in fields.__struct_fields__ if getattr(fields, name) is not UNSET]
    changed = {name: getattr(fields, name) for name in names}
    before = limits.mission_size({name: getattr(state, name) for name in names})
    return {**changed, "size": state.size + limits.mission_size(changed) - before}


def _moved(state: Mission, event: Event) -> dict[str, Any]:
    data = _mission_moved.decode(event.metadata)
    status = data.status
    is_engaged = state.is_engaged if data.is_engaged is UNSET else data.is_engaged
    # The engine's own REVIEW counts as an end of the work; a person's does not.
    is_over = status in LIFECYCLE.terminal or (status == "REVIEW" and data.cause == "engine")
    changed = {
        "status": status,
        "is_engaged": is_engaged,
        "waiting": None,
        "completed_at": event.at if is_over else None,
        "engaged_at": state.engaged_at if is_engaged else None,
        "is_reopened": (state.status, status, data.cause) == ("REVIEW", "IN_PROGRESS", "patch"),
    }
    if status == "IN_PROGRESS":
        changed["engaged_at"] = event.at if is_engaged else None
        changed["reworks"] = state.reworks + 1 if data.cause == "review" else 0
    else:
        changed["is_half_planned"] = False
    if status == "PLANNING":
        changed |= {"has_planned": False, "review": None, "reworks": 0}
    elif status == "REVIEW":
        changed["review"] = None
    return changed


def _task_made(state: Mission, event: Event) -> dict[str, Any]:
    data = _task_created.decode(event.metadata)
    task = Task(
        id=data.task_id,
        title=event.content,
        status=data.status,
        number=state.total + 1,
        created_at=event.at,
        updated_at=event.at,
        description=data.description,
        agent_id=data.agent_id,
        order=data.order,
        depends_on=data.depends_on,
        max_iterations=data.max_iterations,
        approval_required=data.approval_required,
    )
    run = state.run
    if run is not None and data.cause == "plan":
        run = msgspec.structs.replace(run, made=run.made + 1)
    return {**_with(state, [task]), "run": run}


def _task_edited(state: Mission, event: Event) -> dict[str, Any]:
    data = _task_updated.decode(event.metadata)
    changed = data.fields.changes()
    if "agent_id" in changed:
        changed["waiting"] = None  # whoever has it now may have no reason to wait
    return _with(state, [_replaced(state.tasks[data.task_id], changed, event.at)])


def _task_turned(state: Mission, event: Event) -> dict[str, Any]:
    data = _task_moved.decode(event.metadata)
    task = state.tasks[data.task_id]
    changed = data.fields.changes() | {"status": data.status, "waiting": None}
    if "approval_status" in changed:
        changed["approved_at"] = event.at if changed["approval_status"] else None
    if data.status in WAITING:
        changed |= _NO_TIMES
    elif data.status == "IN_PROGRESS":
        changed |= {**_NO_TIMES, "started_at": event.at}
    else:
        changed["completed_at"] = event.at
        if data.cause == "end" and task.started_at is not None:
            changed["duration_ms"] = round((event.at - task.started_at).total_seconds() * 1000) or None
    return _with(state, [_replaced(task, changed, event.at)])


def _set_back(state: Mission, event: Event) -> dict[str, Any]:
    data = _tasks_reset.decode(event.metadata)
    tasks = [
        _replaced(
            state.tasks[reset.task_id], {**_RESET, "status": reset.status, "iteration": reset.iteration}, event.at
        )
        for reset in data.tasks
    ]
    return {**_with(state, tasks), "reset_tasks": len(tasks)}


def _begun(state: Mission, event: Event) -> dict[str, Any]:
    data = _run_started.decode(event.metadata)
    if data.purpose == "task":
        return {}  # its task's status, just before, has named it
    run = Run(
        id=data.run_id,
        purpose=data.purpose,
        agent_id=data.agent_id,
        started_at=event.at,
        sequence=event.sequence,
    )
    return {"run": run, "is_half_planned": data.purpose == "plan", "waiting": None}


def _ended(state: Mission, event: Event) -> dict[str, Any]:
    data = _run_ended.decode(event.metadata)
    if data.purpose == "task":
        return {}  # what follows, or came before, is told of its task
    is_lost = state.is_half_planned and data.reason in LOST
    return {"run": None, "has_planned": state.has_planned or data.has_planned, "is_half_planned": is_lost}


def _told_to_wait(state: Mission, event: Event) -> dict[str, Any]:
    data = _task_waiting.decode(event.metadata)
    return _with(state, [_replaced(state.tasks[data.task_id], {"waiting": data.reason}, event.at)])


def _unplanned(state: Mission, event: Event) -> dict[str, Any]:
    return {"waiting": _mission_waiting.decode(event.metadata).reason}


def _reviewed(state: Mission, event: Event) -> dict[str, Any]:
    data = _review.decode(event.metadata)
    review = Review(verdict=data.verdict, notes=data.notes, at=event.at, by=data.by, is_automatic=data.is_automatic)
    return {"review": review}


def _replaced(task: Task, changed: Mapping[str, Any], at: datetime) -> Task:
    if "run_id" in changed:
        whose = None if changed["run_id"] is None else changed.get("agent_id", task.agent_id)
        changed = {**changed, "run_agent_id": whose}
    return msgspec.structs.replace(task, updated_at=at, **changed)


def _with(state: Mission, changed: Sequence[Task]) -> dict[str, Any]:
    """What becomes of the mission when these tasks are as given: the tasks, and all sums over them."""
    own = state.tasks if isinstance(state.tasks, _OwnTasks) else None
    tasks, stats = state.tasks.copy() if own is None else own, state.stats.copy()
    tokens, micros, size = state.token_count, state.cost_micros, state.size
    for task in changed:
        old = tasks.get(task.id)
        tasks[task.id] = task
        stats[task.status] += 1
        size += limits.task_size(task)
        if old is not None:
            stats[old.status] -= 1
            size -= limits.task_size(old)
        tokens = _summed(tokens, task.token_count, old.token_count if old else None)
        micros = _summed(micros, _micros(task.estimated_cost), _micros(old.estimated_cost if old else None))
    ids: list[UUID] = [task.id for task in changed]
    if own is not None:
        own.changed.update(dict.fromkeys(ids))
    return {
        "is_reopened": False,
        "tasks": tasks,
        "stats": stats,
        "token_count": tokens,
        "cost_micros": micros,
        "size": size,
        "graph": graph_after(state.graph, state.tasks, tasks, ids) if own is None else state.graph,
    }


def _summed(total: int | None, new: int | None, old: int | None) -> int | None:
    """A sum in which one part changes; a part never becomes None again."""
    return total if new is None else (total or 0) + new - (old or 0)


def _micros(cost: float | None) -> int | None:
    return None if cost is None else round(cost * 1_000_000)


EVOLVE = {
    "mission_edited": _edited,
    "mission_status_changed": _moved,
    "task_created": _task_made,
    "task_updated": _task_edited,
    "task_status_changed": _task_turned,
    "tasks_reset": _set_back,
    "run_started": _begun,
    "run_ended": _ended,
    "task_waiting": _told_to_wait,
    "mission_waiting": _unplanned,
    "review_recorded": _reviewed,
}
