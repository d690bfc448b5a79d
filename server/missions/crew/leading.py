"""What the LEAD's planning and review lead to. Pure."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from server.missions.crew import limits
from server.missions.crew.commands import CreateTask, NewTask, Reference
from server.missions.crew.drafts import mission_moved, run_ended, run_started, task_created, tasks_reset
from server.missions.crew.graph import downstream, missing_of
from server.missions.crew.state import API, KIND, Mission, Run, Task
from server.missions.crew.steps import (
    LOST,
    AnnounceUnplanned,
    BeginPlanning,
    BeginReview,
    EndPlanning,
    EndReview,
)
from server.missions.crew.tasks import create_task
from server.missions.tasks import AddTask
from storage.rules import Command, Decision
from streams.errors import Conflict
from streams.event import Draft


def _begin_planning(state: Mission, command: BeginPlanning) -> Decision:
    if not _is_unplanned(state):
        return Decision()
    return Decision((run_started(command.run_id, "plan", command.agent_id),))


def _is_unplanned(state: Mission) -> bool:
    is_open = state.is_worked and state.run is None and not state.has_planned
    return is_open and (not state.total or state.is_half_planned)


def _announce(state: Mission, command: AnnounceUnplanned) -> Decision:
    if not _is_unplanned(state) or state.waiting == command.reason:
        return Decision()
    metadata = {"reason": command.reason, "agent_id": command.agent_id and str(command.agent_id)}
    return Decision((Draft(type="mission_waiting", content=command.reason, metadata=metadata),))


def _end_planning(state: Mission, command: EndPlanning) -> Decision:
    run = _going_on(state, command.run_id)
    if run is None:
        return Decision()
    is_lost = command.reason in LOST
    ended = _ended(run, command, has_planned=not is_lost)
    if is_lost:
        return Decision((ended,))
    if command.error is not None:
        why = f"planning failed: {limits.kept(command.error, state) or 'the agent gave no reason'}"
        return Decision((ended, mission_moved(state, "FAILED", "engine", why=why)))
    added = _added(state, command.tasks, "plan", set(), command.by)
    if not added and not state.total:
        return Decision(
            (ended, mission_moved(state, "REVIEW", "engine", why="the LEAD ended its planning without a task"))
        )
    return Decision((ended, *added))


def _plan_task(state: Mission, command: AddTask) -> Decision:
    """The LEAD adds a task while it plans or reviews; it names dependencies by their ids or their titles."""
    if state.run is None or state.run.id != command.run_id:
        raise Conflict(f"tasks of a {KIND} mission are made by its LEAD while it plans, and by people through {API}")
    known = {task.title.casefold(): task.id for task in state.tasks.values()}
    known |= {str(task_id): task_id for task_id in state.tasks}
    named = [Reference(given, known.get(given.strip().casefold())) for given in command.depends_on]
    task = CreateTask(
        id=UUID(command.task_id),
        title=command.title,
        description=command.description or None,
        agent_id=command.agent_id,
        order=state.total,
        depends_on=tuple(named),
        cause="plan",
        by=command.by,
    )
    return create_task(state, task)


def _begin_review(state: Mission, command: BeginReview) -> Decision:
    if not state.is_engaged or state.status != "REVIEW" or state.run is not None or state.review is not None:
        return Decision()
    if state.open_tasks:  # a person brought it here in mid-work, and decides on it
        return Decision()
    return Decision((run_started(command.run_id, "review", command.agent_id),))


def _end_review(state: Mission, command: EndReview) -> Decision:
    run = _going_on(state, command.run_id)
    if run is None:
        return Decision()
    ended = _ended(run, command)
    if command.reason in LOST:
        return Decision((ended,))
    follow: list[Draft] = []
    if command.verdict == "accept" and command.auto_accept and not state.open_tasks:
        follow = [mission_moved(state, "COMPLETED", "review", why="accepted by the LEAD", by=command.by)]
    elif command.verdict == "rework" and state.reworks < limits.MAX_REWORKS:
        follow = _rework(state, command)
    metadata = {
        "verdict": command.verdict,
        "notes": limits.cut(command.notes, limits.MAX_RESULT_BYTES),
        "by": str(run.agent_id),
        "is_automatic": bool(follow),
    }
    return Decision((ended, Draft(type="review_recorded", metadata=metadata, actor=command.by), *follow))


def _rework(state: Mission, command: EndReview) -> list[Draft]:
    reset = downstream(state.graph, [task_id for task_id in command.reset if task_id in state.tasks])
    back = tasks_reset(state, reset, "rework", by=command.by)
    added = _added(state, command.tasks, "rework", reset, command.by)
    if not back and not added:
        return []
    return [mission_moved(state, "IN_PROGRESS", "review", why="sent back by the LEAD", by=command.by), *back, *added]


def _going_on(state: Mission, run_id: UUID) -> Run | None:
    return state.run if state.run is not None and state.run.id == run_id else None


def _ended(run: Run, command: EndPlanning | EndReview, *, has_planned: bool = False) -> Draft:
    return run_ended(
        run.id,
        run.purpose,
        run.agent_id,
        command.reason,
        use=command.use,
        usage=command.usage,
        session_id=command.session_id,
        has_planned=has_planned,
    )


def _added(state: Mission, tasks: Sequence[NewTask], cause: str, reset: set[UUID], by: str | None) -> list[Draft]:
    """The LEAD's tasks, as far as the mission has room: agents are not argued with. Too long texts are cut, and
    dependencies dropped that name no task of the mission, nor one before it in the list."""
    done: dict[UUID, Task] = {task_id: task for task_id, task in state.tasks.items() if task_id not in reset}
    known = set(state.tasks)
    size, drafts = state.size, list[Draft]()
    for task in tasks[: max(0, limits.MAX_TASKS - state.total)]:
        if task.id in known:
            continue
        task = msgspec.structs.replace(
            task,
            title=limits.cut(task.title or "untitled", limits.MAX_TITLE_BYTES),
            description=task.description and limits.cut(task.description, limits.MAX_RESULT_BYTES),
            depends_on=tuple(dict.fromkeys(needed for needed in task.depends_on if needed in known)),
        )
        size += limits.new_task_size(task)
        if size > limits.MAX_MISSION_BYTES:
            break
        status = "BLOCKED" if missing_of(task.depends_on, done) else "PENDING"
        drafts.append(task_created(task, status, cause, by=by))
        known.add(task.id)
    return drafts


DECIDE: dict[type[Command], Any] = {
    BeginPlanning: _begin_planning,
    EndPlanning: _end_planning,
    AnnounceUnplanned: _announce,
    BeginReview: _begin_review,
    EndReview: _end_review,
    AddTask: _plan_task,
}
