"""When a crew mission is over: all its tasks ended, none can go on, or its time is up. Pure."""

from typing import Any

from server.missions.crew.drafts import lead_displaced, mission_moved, task_moved
from server.missions.crew.state import Mission, in_order
from server.missions.crew.steps import Settle, TimeOut
from storage.rules import Command, Decision

TIMED_OUT = "mission timed out"


def _settle(state: Mission, command: Settle) -> Decision:
    if not state.is_worked or state.is_reopened or state.run is not None or not state.total:
        return Decision()
    open_tasks, failed = state.open_tasks, state.stats["FAILED"]
    if not open_tasks and not failed:
        return Decision((mission_moved(state, "REVIEW", "engine", why="all tasks are done"),))
    if not open_tasks:
        return Decision((mission_moved(state, "FAILED", "engine", why=f"{failed} of {state.total} tasks failed"),))
    if open_tasks == state.stats["BLOCKED"]:  # whoever makes one PENDING by hand means to work it by hand
        why = f"{open_tasks} of {state.total} tasks wait for tasks that will not be completed"
        return Decision((mission_moved(state, "FAILED", "engine", why=why),))
    return Decision()


def _time_out(state: Mission, command: TimeOut) -> Decision:
    if not state.is_worked or state.engaged_at != command.engaged_at:
        return Decision()
    waiting = [task for task in state.tasks.values() if task.status == "AWAITING_APPROVAL"]
    fields = {"error_message": TIMED_OUT}
    return Decision(
        (
            mission_moved(state, "FAILED", "timeout", why=TIMED_OUT),
            *lead_displaced(state),
            *(task_moved(task, "FAILED", "timeout", fields=fields, why=TIMED_OUT) for task in in_order(waiting)),
        )
    )


DECIDE: dict[type[Command], Any] = {Settle: _settle, TimeOut: _time_out}
