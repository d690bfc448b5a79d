"""The state of a crew mission, its tasks, and the lifecycles of both."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from server.missions.crew.graph import NO_GRAPH, Graph
from server.missions.lifecycle import Lifecycle

KIND = "crew"
API = "/api/v1"

LIFECYCLE = Lifecycle(
    initial="PLANNING",
    transitions={
        "PLANNING": frozenset({"IN_PROGRESS", "CANCELLED"}),
        "IN_PROGRESS": frozenset({"REVIEW", "FAILED", "CANCELLED"}),
        "REVIEW": frozenset({"COMPLETED", "IN_PROGRESS", "FAILED", "CANCELLED"}),
        "RESUMING": frozenset(),
        "COMPLETED": frozenset(),
        "FAILED": frozenset(),
        "CANCELLED": frozenset(),
    },
    phases={
        "PLANNING": "pending",
        "IN_PROGRESS": "active",
        "REVIEW": "active",
        "RESUMING": "active",
        "COMPLETED": "completed",
        "FAILED": "failed",
        "CANCELLED": "interrupted",
    },
    terminal=frozenset({"COMPLETED", "FAILED", "CANCELLED"}),
    moves={
        "COMPLETED": {"PLANNING": ("restart",)},
        "FAILED": {"PLANNING": ("restart",), "RESUMING": ("resume",)},
        "CANCELLED": {"PLANNING": ("restart",)},
        "RESUMING": {"IN_PROGRESS": ("resume",)},
    },
)
"""`transitions` is what a PATCH may do. RESUMING lasts as long as the command that resumes; no reader meets it."""

TRANSIENT = frozenset({"RESUMING"})

_RESETS = ("restart", "resume", "rework")

TASK_LIFECYCLE = Lifecycle(
    initial="PENDING",
    transitions={
        "PENDING": frozenset({"IN_PROGRESS", "SKIPPED"}),
        "BLOCKED": frozenset({"PENDING", "SKIPPED"}),
        "IN_PROGRESS": frozenset({"COMPLETED", "FAILED", "SKIPPED"}),
        "AWAITING_APPROVAL": frozenset(),
        "COMPLETED": frozenset(),
        "FAILED": frozenset(),
        "SKIPPED": frozenset(),
    },
    phases={
        "PENDING": "pending",
        "BLOCKED": "pending",
        "IN_PROGRESS": "active",
        "AWAITING_APPROVAL": "active",
        "COMPLETED": "completed",
        "FAILED": "failed",
        "SKIPPED": "interrupted",
    },
    terminal=frozenset({"COMPLETED", "FAILED", "SKIPPED"}),
    moves={
        "PENDING": {"BLOCKED": ("depends", "loop_back", *_RESETS), "FAILED": ("dispatch",)},
        "BLOCKED": {"FAILED": ("cascade",)},
        "IN_PROGRESS": {
            "AWAITING_APPROVAL": ("end",),
            "PENDING": ("retry", "requeue", *_RESETS),
            "BLOCKED": ("retry", "requeue", "loop_back", *_RESETS),
        },
        "AWAITING_APPROVAL": {
            "COMPLETED": ("approved",),
            "FAILED": ("rejected", "timeout"),
            "PENDING": _RESETS,
            "BLOCKED": _RESETS,
        },
        "COMPLETED": {"PENDING": ("loop_back", "resume", "rework"), "BLOCKED": ("loop_back", "resume", "rework")},
        "FAILED": {"PENDING": _RESETS, "BLOCKED": _RESETS},
        "SKIPPED": {"PENDING": _RESETS, "BLOCKED": _RESETS},
    },
)
"""`transitions` is what a PATCH may do; a new task is PENDING, or BLOCKED while a dependency is not COMPLETED."""

TaskStatus = Literal["PENDING", "BLOCKED", "IN_PROGRESS", "AWAITING_APPROVAL", "COMPLETED", "FAILED", "SKIPPED"]
UNDECIDED = frozenset({"AWAITING_APPROVAL"})
"""The statuses of a task that a person has to decide about."""
WAITING = frozenset({"PENDING", "BLOCKED"})
"""The statuses of a task that nobody works on yet: its title, description and dependencies may change."""

Purpose = Literal["plan", "review", "task"]
Verdict = Literal["accept", "rework", "none"]


def no_tasks() -> dict[str, int]:
    """How many tasks have each status, of a mission without any."""
    return dict.fromkeys(TASK_LIFECYCLE.transitions, 0)


class Task(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task of a crew mission. A PENDING or BLOCKED one has no times, no run and no assignment."""

    id: UUID
    title: str
    status: str
    number: int
    """Its place among the mission's tasks as they were made, from 1; breaks ties of `order`."""
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    order: int = 0
    depends_on: tuple[UUID, ...] = ()
    """As given: it may name a task twice."""
    agent_id: UUID | None = None
    iteration: int = 1
    max_iterations: int | None = None
    result_summary: str | None = None
    output_path: str | None = None
    error_message: str | None = None
    run_id: UUID | None = None
    """The run that works on it now; None for a person's work."""
    run_agent_id: UUID | None = None
    """Whose run that is. The task may be given to another agent meanwhile: `agent_id` is who has it next."""
    assignment_id: UUID | None = None
    """The run that works or last worked on it."""
    token_count: int | None = None
    """Of all its runs so far, or as a person set it."""
    estimated_cost: float | None = None
    """US dollars, likewise."""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: int | None = None
    """Of the run that ended it."""
    confidence: float | None = None
    needs_review: bool = False
    handoff_context: str | None = None
    evaluation_status: str | None = None
    evaluation_notes: str | None = None
    approval_required: bool = False
    approval_status: str | None = None
    approved_by: str | None = None
    approved_at: datetime | None = None
    waiting: str | None = None
    """Why nobody works on it though it is ready; told once."""

    @property
    def is_ended(self) -> bool:
        return self.status in TASK_LIFECYCLE.terminal


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """Tasks as they are shown and worked: by order, then as they were made."""
    return sorted(tasks, key=lambda task: (task.order, task.number))


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The LEAD's run that goes on; `sequence` is its run_started."""

    id: UUID
    purpose: Purpose
    agent_id: UUID
    started_at: datetime
    sequence: int
    made: int = 0
    """How many tasks it has planned by tool."""


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What the LEAD found of the finished work."""

    verdict: Verdict
    notes: str
    at: datetime
    by: UUID
    is_automatic: bool
    """The crew's settings let it complete the mission."""


class Mission(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of a crew mission. What lists show is in it without `tasks`, which are stored one by one."""

    id: UUID
    crew_id: UUID
    lead_agent_id: UUID
    title: str
    status: str
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    plan: str | None = None
    workflow_template: str | None = None
    is_engaged: bool = False
    """Whether the engine works on it, whenever its status lets it. Only start and resume engage, only restart disengages."""
    engaged_at: datetime | None = None
    """Since when the engine works on it: the clock of its time-out."""
    is_reopened: bool = False
    """A person sent it back from REVIEW, and no task has changed since: it is not over yet."""
    created_by: str | None = None
    completed_at: datetime | None = None
    parent_id: UUID | None = None
    run: Run | None = None
    has_planned: bool = False
    is_half_planned: bool = False
    """The LEAD's planning was begun and has not ended, or was lost: the tasks that are there are not the whole plan."""
    waiting: str | None = None
    """Why nobody plans it; told once."""
    review: Review | None = None
    """Of the last time that it was in REVIEW."""
    reworks: int = 0
    """How often the LEAD sent the work back since it was started."""
    reset_tasks: int = 0
    """How many tasks the newest restart, resume or rework set back."""
    stats: dict[str, int] = msgspec.field(default_factory=no_tasks)
    """How many tasks have each status; every status is there."""
    token_count: int | None = None
    """The sum over the tasks; None while none has any."""
    cost_micros: int | None = None
    """The sum over the tasks, in millionths of a dollar; None while none has a cost."""
    size: int = 0
    """Bytes of all texts of the mission and its tasks, and of the ids of their dependencies."""
    tasks: dict[UUID, Task] = {}
    """Never changed in place."""
    graph: Graph = NO_GRAPH
    """What follows from the tasks; never stored."""

    @property
    def estimated_cost(self) -> float | None:
        """US dollars; None while no task has a cost."""
        return None if self.cost_micros is None else self.cost_micros / 1_000_000

    @property
    def total(self) -> int:
        """How many tasks there are; known without them."""
        return sum(self.stats.values())

    @property
    def open_tasks(self) -> int:
        """How many tasks have not ended."""
        return self.total - sum(self.stats[status] for status in TASK_LIFECYCLE.terminal)

    @property
    def is_worked(self) -> bool:
        """Whether the engine may begin and finish tasks."""
        return self.is_engaged and self.status == "IN_PROGRESS"

    @property
    def review_is_over(self) -> bool:
        """Whether people have to say how a mission in REVIEW goes on: the LEAD has said what it found."""
        return self.status == "REVIEW" and self.review is not None and self.run is None

    @property
    def ready(self) -> list[Task]:
        """The tasks that may be begun, in their order: PENDING, with every dependency COMPLETED."""
        return in_order(self.tasks[task_id] for task_id in self.graph.ready)
