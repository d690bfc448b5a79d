"""What the engine decides about single tasks: who works on one, how it ended, what follows a failure. Pure."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from server.agents.budgets import Use
from server.missions.crew import gate, limits
from server.missions.crew.drafts import NOTHING, run_ended, run_started, task_moved, told_title, unblocked
from server.missions.crew.state import Mission, Purpose, Task, in_order
from server.missions.crew.steps import AnnounceWaiting, Claim, EndRun, EndTask, FailTask, Requeue
from server.missions.tasks import ReportProgress, progress_reported
from storage.rules import Command, Decision
from streams.event import Draft

_BEGUN_AGAIN: Mapping[str, Any] = {"result_summary": None, "assignment_id": None, "run_id": None}
"""What an attempt leaves behind that is tried again; evolve clears the times."""
_UNANSWERED: Mapping[str, Any] = {"approval_status": None, "approved_by": None}


def _claim(state: Mission, command: Claim) -> Decision:
    if not state.is_worked or command.task_id not in state.graph.ready:
        return Decision()
    task = state.tasks[command.task_id]
    if task.agent_id not in (None, command.agent_id):
        return Decision()
    run = {"agent_id": command.agent_id, "run_id": command.run_id, "assignment_id": command.run_id}
    return Decision(
        (
            task_moved(task, "IN_PROGRESS", "claim", fields=run),
            run_started(command.run_id, "task", command.agent_id, task_id=task.id),
        )
    )


def _worked_by(state: Mission, task_id: UUID, run_id: UUID) -> Task | None:
    task = state.tasks.get(task_id)
    return task if task is not None and task.run_id == run_id else None


def _end(state: Mission, command: EndTask) -> Decision:
    task = _worked_by(state, command.task_id, command.run_id)
    if task is None:
        return Decision()
    follow = _completed if command.outcome == "completed" else _failed
    return Decision((_end_of(task, command), *follow(state, task, command)))


def _end_of(task: Task, command: EndTask | Requeue) -> Draft:
    return run_ended(
        command.run_id,
        "task",
        task.run_agent_id,
        command.reason,
        task_id=task.id,
        use=command.use,
        usage=command.usage,
        session_id=command.session_id,
    )


def _completed(state: Mission, task: Task, command: EndTask) -> list[Draft]:
    handoff = command.handoff
    confidence = handoff.confidence if handoff else None
    passage = gate.through(command.gate, confidence, is_required=task.approval_required)
    is_done = passage.status == "COMPLETED"
    summary = limits.kept(command.result, state)
    fields = {
        **_used(task, command.use),
        "run_id": None,
        "result_summary": summary,
        "error_message": None,
        "confidence": confidence,
        "needs_review": handoff is not None and handoff.needs_review,
        "handoff_context": limits.kept(handoff.summary, state) if handoff else None,
        "evaluation_status": None if is_done else "PENDING",
        "evaluation_notes": None,
    }
    if command.output_path is not None:
        fields["output_path"] = limits.kept(command.output_path, state)
    drafts = [task_moved(task, passage.status, "end", fields=fields, why=summary, by=command.by)]
    if passage.is_low:
        drafts.append(Draft(type="confidence_low", metadata={"task_id": str(task.id), "level": "notify"}))
    return [*drafts, *unblocked(state, task.id)] if is_done else drafts


def _failed(state: Mission, task: Task, command: EndTask) -> list[Draft]:
    error = limits.kept(command.error, state) or "failed"
    used = _used(task, command.use)
    if state.is_worked:
        if _has_attempts(task):
            fields = {**used, **_BEGUN_AGAIN, "error_message": None, "iteration": task.iteration + 1}
            return [task_moved(task, _waiting(state, task), "retry", fields=fields, why=error, by=command.by)]
        if (back := _looped_back(state, task)) is not None:
            # The failed task keeps its error: whoever works on the dependency again is told what for.
            fields = {**used, **_BEGUN_AGAIN, "error_message": error}
            return [task_moved(task, "BLOCKED", "loop_back", fields=fields, why=error, by=command.by), *back]
    fields = {**used, "run_id": None, "error_message": error}
    return [task_moved(task, "FAILED", "end", fields=fields, why=error, by=command.by)]


def _has_attempts(task: Task) -> bool:
    return task.max_iterations is not None and task.iteration < task.max_iterations


def _waiting(state: Mission, task: Task) -> str:
    return "BLOCKED" if task.id in state.graph.missing else "PENDING"


def _looped_back(state: Mission, task: Task) -> list[Draft] | None:
    """What else a failure leads to that a dependency can mend; None when none can.

    The first dependency with attempts left is begun again. One that is under way again already, because another
    task failed on it, is only waited for.
    """
    dependencies = [state.tasks[needed] for needed in task.depends_on]
    if task.id in state.graph.missing:
        missing = [needed for needed in dependencies if needed.status != "COMPLETED"]
        return None if any(needed.is_ended for needed in missing) else []
    again = next((needed for needed in dependencies if _has_attempts(needed)), None)
    if again is None:
        return None
    fields = {**_BEGUN_AGAIN, **_UNANSWERED, "error_message": None, "iteration": again.iteration + 1}
    return [
        task_moved(again, _waiting(state, again), "loop_back", fields=fields),
        *(task_moved(other, "BLOCKED", "loop_back") for other in _pending_on(state, again.id)),
    ]


def _pending_on(state: Mission, needed: UUID) -> list[Task]:
    waiting = [state.tasks[task_id] for task_id in state.graph.dependents.get(needed, ())]
    return in_order([task for task in waiting if task.status == "PENDING"])


def _requeue(state: Mission, command: Requeue) -> Decision:
    task = _worked_by(state, command.task_id, command.run_id)
    if task is None:
        return Decision()
    fields = {**_used(task, command.use), **_BEGUN_AGAIN}
    moved = task_moved(task, _waiting(state, task), "requeue", fields=fields, why=command.reason)
    return Decision((_end_of(task, command), moved))


def _end_lost(state: Mission, command: EndRun) -> Decision:
    run = state.run if state.run is not None and state.run.id == command.run_id else None
    task = next((task for task in state.tasks.values() if task.run_id == command.run_id), None)
    if run is None and task is None:
        return Decision()
    purpose: Purpose = run.purpose if run else "task"
    agent_id = run.agent_id if run else task.run_agent_id if task else None
    task_id = None if task is None else task.id
    drafts = [_last_words(command, task_id)] if command.text else []
    drafts.append(run_ended(command.run_id, purpose, agent_id, command.reason, task_id=task_id, use=command.use))
    if task is not None:
        fields = {**_used(task, command.use), **_BEGUN_AGAIN}
        drafts.append(task_moved(task, _waiting(state, task), "requeue", fields=fields, why=command.summary))
    return Decision(tuple(drafts))


def _last_words(command: EndRun, task_id: UUID | None) -> Draft:
    metadata: dict[str, Any] = {"success": False, "run_id": str(command.run_id)}
    if task_id is not None:
        metadata["task_id"] = str(task_id)
    return Draft(type="assistant_message", content=command.text, metadata=metadata)


def _fail(state: Mission, command: FailTask) -> Decision:
    task = state.tasks.get(command.task_id)
    if task is None or task.run_id != command.run_id:
        return Decision()
    is_waiting = state.is_worked and task.status == "PENDING" and task.agent_id == command.agent_id
    if task.run_id is None and not is_waiting:
        return Decision()
    error = limits.kept(command.error, state) or "failed"
    moved = task_moved(task, "FAILED", "dispatch", fields={"run_id": None, "error_message": error}, why=error)
    if task.run_id is None:
        return Decision((moved,))
    return Decision((run_ended(task.run_id, "task", task.run_agent_id, "failed", task_id=task.id), moved))


def _announce(state: Mission, command: AnnounceWaiting) -> Decision:
    task = state.tasks.get(command.task_id)
    if task is None or task.status != "PENDING" or task.waiting == command.reason:
        return Decision()
    metadata = {"task_id": str(task.id), "title": told_title(task), "reason": command.reason}
    if command.agent_id is not None:
        metadata["agent_id"] = str(command.agent_id)
    return Decision((Draft(type="task_waiting", content=command.reason, metadata=metadata),))


def _report(state: Mission, command: ReportProgress) -> Decision:
    """The log keeps it for those who watch; the mission does not change."""
    return Decision((progress_reported(command),))


def _used(task: Task, use: Use) -> Mapping[str, Any]:
    """The task's tokens and cost with one more run's; what is unknown changes nothing."""
    fields: dict[str, Any] = {}
    if use.tokens > 0:
        fields["token_count"] = min((task.token_count or 0) + use.tokens, limits.MAX_TOKENS)
    if use.source != "unknown":
        cost = round((task.estimated_cost or 0) + use.cost_micros / 1_000_000, 6)
        fields["estimated_cost"] = min(cost, float(limits.MAX_COST))
    return fields or NOTHING


DECIDE: dict[type[Command], Any] = {
    Claim: _claim,
    EndTask: _end,
    Requeue: _requeue,
    EndRun: _end_lost,
    FailTask: _fail,
    AnnounceWaiting: _announce,
    ReportProgress: _report,
}
