"""What a person's answer to a task that awaits approval leads to. Pure."""

from typing import Any

from server.missions.crew import limits
from server.missions.crew.commands import Decide
from server.missions.crew.drafts import task_moved, unblocked
from server.missions.crew.state import Mission, Task, in_order
from server.missions.crew.tasks import task_of
from storage.rules import Command, Decision
from streams.errors import Conflict
from streams.event import Draft

REJECTED_UPSTREAM = "upstream task rejected"
_REJECTED = "rejected"


def _decide(state: Mission, command: Decide) -> Decision:
    task = task_of(state, command.task_id)
    if state.status != "IN_PROGRESS":
        raise Conflict(f"approvals are decided while the mission is IN_PROGRESS, current status: {state.status}")
    if task.status != "AWAITING_APPROVAL":
        raise Conflict(f"task is not AWAITING_APPROVAL, current status: {task.status}")
    limits.check_fields({"notes": command.notes})
    answer = {
        "approval_status": "APPROVED" if command.approved else "REJECTED",
        "approved_by": command.user,
        "evaluation_status": "PASS" if command.approved else "FAIL",
        "evaluation_notes": command.notes,
    }
    limits.check_room(state, limits.size_of(command.notes) - limits.size_of(task.evaluation_notes))
    if command.approved:
        approved = task_moved(task, "COMPLETED", "approved", fields=answer, why=task.result_summary, by=command.by)
        return Decision((approved, *unblocked(state, task.id)))
    error = limits.kept(command.notes, state) or _REJECTED
    rejected = task_moved(
        task, "FAILED", "rejected", fields={**answer, "error_message": error}, why=error, by=command.by
    )
    return Decision((rejected, *_cascade(state, task)))


def _cascade(state: Mission, rejected: Task) -> list[Draft]:
    """BLOCKED tasks that wait for a rejected one, over however many steps: FAILED, nearest first."""
    drafts: list[Draft] = []
    seen = {rejected.id}
    level = [rejected.id]
    while level:
        waiting = {task_id for needed in level for task_id in state.graph.dependents.get(needed, ())} - seen
        failing = in_order([state.tasks[task_id] for task_id in waiting if state.tasks[task_id].status == "BLOCKED"])
        fields = {"error_message": REJECTED_UPSTREAM}
        drafts += [task_moved(task, "FAILED", "cascade", fields=fields, why=REJECTED_UPSTREAM) for task in failing]
        level = [task.id for task in failing]
        seen |= waiting
    return drafts


DECIDE: dict[type[Command], Any] = {Decide: _decide}
