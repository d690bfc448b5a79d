"""Tasks and progress: what a mission says of its own parts, in any kind."""

from datetime import datetime
from uuid import UUID

import msgspec

from server.missions.lifecycle import Lifecycle, every_move
from storage.rules import Command
from streams.event import Draft

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


class AddTask(Command, frozen=True, kw_only=True):
    """The verb `create_task`. A kind whose tasks have no dependencies or agents refuses them."""

    task_id: str
    title: str
    description: str = ""
    depends_on: tuple[str, ...] = ()
    agent_id: UUID | None = None
    run_id: UUID | None = None
    """The run of the agent that asks; None for people."""
    by: str | None = None


class ReportProgress(Command, frozen=True, kw_only=True):
    """The verb `report_progress`: say how far the mission is."""

    progress: Progress
    by: str | None = None


def progress_reported(command: ReportProgress) -> Draft:
    """progress; its content is the current part, in words."""
    said = msgspec.structs.asdict(command.progress)
    content = said.pop("current_subtask")
    return Draft(type="progress", content=content or "", metadata=said, actor=command.by)
