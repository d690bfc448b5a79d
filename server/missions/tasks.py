"""Tasks and progress: what a mission says of its own parts, in any kind."""

from datetime import datetime

import msgspec

from server.missions.lifecycle import Lifecycle, every_move

TASK_LIFECYCLE = Lifecycle(
    initial="pending",
    transitions=every_move("pending", "running", "completed", "failed"),
    phases={"pending": "pending", "running": "active", "completed": "completed", "failed": "failed"},
)
"""Whoever works on a mission may set any status of its tasks at any time."""


class Task(msgspec.Struct, frozen=True):
    """One part of a mission's work."""

    id: str
    title: str
    status: str
    created_at: datetime
    updated_at: datetime
    description: str = ""

    @property
    def is_running(self) -> bool:
        return TASK_LIFECYCLE.phases[self.status] == "active"

    @property
    def is_completed(self) -> bool:
        return TASK_LIFECYCLE.phases[self.status] == "completed"


class Progress(msgspec.Struct, frozen=True):
    """How far a mission is, in its agent's own words."""

    total_subtasks: int
    completed_subtasks: int
    current_subtask: str | None = None
    depth: int = 0
