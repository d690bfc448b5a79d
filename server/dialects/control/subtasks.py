"""How far a mission is, from what there is to tell it: its agent's plan, a report, its tasks, its child missions."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from server.missions.kinds import Facts


class Children(NamedTuple):
    """The child missions of a mission, and how many of them ended well."""

    total: int = 0
    completed: int = 0


class Subtasks(NamedTuple):
    """The parts of a mission as RunningMissionInfo and /progress show them."""

    total: int = 0
    completed: int = 0
    current: str | None = None
    depth: int = 0
    deliverables: int = 0
    """Its tasks and its child missions: what somebody wrote down that it will bring."""


def subtasks(facts: Facts, plan: Mapping[str, Any], children: Children) -> Subtasks:
    """The newest word of the agent if there is one, `plan` before a report; else its tasks and child missions, counted.

    `plan` is the body of the mission's `progress` signal, empty without one; a newer report takes the signal away.
    """
    tasks = facts.tasks
    deliverables = len(tasks) + children.total
    if plan:
        return Subtasks(
            plan.get("total_subtasks", 0),
            plan.get("completed_subtasks", 0),
            plan.get("current_subtask"),
            plan.get("depth", 0),
            deliverables,
        )
    if facts.progress is not None:
        said = facts.progress
        return Subtasks(said.total_subtasks, said.completed_subtasks, said.current_subtask, said.depth, deliverables)
    return Subtasks(
        total=deliverables,
        completed=sum(task.is_completed for task in tasks) + children.completed,
        current=next((task.title for task in tasks if task.is_running), None),
        depth=0,
        deliverables=deliverables,
    )
