"""What the engine wishes of a crew mission: the steps of its work. A step that has been overtaken leads to nothing."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from server.agents.budgets import Use
from server.missions.crew.commands import NewTask
from server.missions.crew.state import Verdict
from storage.rules import Command

LOST = frozenset({"crashed", "shutdown"})
"""A run's reasons to end that say nothing of its work: the engine begins it again."""


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """A crew's thresholds of confidence, 0 to 1; 0 switches one off."""

    auto_approve_threshold: float = 0
    require_approval_below: float = 0
    notify_threshold: float = 0


class Handoff(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent says of its finished task for those who go on from it."""

    summary: str
    confidence: float
    needs_review: bool = False


class BeginPlanning(Command, frozen=True, kw_only=True):
    """The LEAD begins to plan a worked mission that was not planned, and has no tasks but those of a lost planning."""

    run_id: UUID
    agent_id: UUID


class EndPlanning(Command, frozen=True, kw_only=True):
    """The LEAD's planning ends, and `tasks` are added.

    A LOST run leaves the mission unplanned. One that failed fails the mission; one that went well and left no task,
    by tool or here, leads to REVIEW.
    """

    run_id: UUID
    reason: str
    tasks: tuple[NewTask, ...] = ()
    error: str | None = None
    use: Use = Use()
    usage: dict[str, int] = {}
    session_id: str | None = None
    by: str | None = None


class Claim(Command, frozen=True, kw_only=True):
    """Give a ready task of a worked mission to an agent's run; PENDING -> IN_PROGRESS. Not when people gave it to another."""

    task_id: UUID
    agent_id: UUID
    run_id: UUID


class EndTask(Command, frozen=True, kw_only=True):
    """A task's run ends. Ignored when that run does not work on the task any more.

    completed: through the gate to COMPLETED, which unblocks, or AWAITING_APPROVAL. failed: again while iterations are
    left, else back to a dependency that has some left, else FAILED; FAILED at once when the mission is not worked.
    """

    task_id: UUID
    run_id: UUID
    outcome: Literal["completed", "failed"]
    reason: str
    """The run's: `end_turn`, `failed`, …"""
    result: str = ""
    handoff: Handoff | None = None
    output_path: str | None = None
    gate: Gate | None = None
    error: str | None = None
    use: Use = Use()
    usage: dict[str, int] = {}
    session_id: str | None = None
    by: str | None = None


class Requeue(Command, frozen=True, kw_only=True):
    """A task's run was lost or called off: back to PENDING, the iteration unchanged."""

    task_id: UUID
    run_id: UUID
    reason: str
    use: Use = Use()
    usage: dict[str, int] = {}
    session_id: str | None = None


class EndRun(Command, frozen=True, kw_only=True):
    """A run, of whatever purpose, whose process is dead: what it had said is kept, and its work is begun again."""

    run_id: UUID
    reason: str
    text: str = ""
    """What its agent was saying."""
    summary: str = ""
    """Why it ended, for people."""
    use: Use = Use()
    next_run_id: UUID | None = None
    """As other kinds are told; the crew engine begins runs itself."""


class FailTask(Command, frozen=True, kw_only=True):
    """A task cannot be given to any agent, or its run could not begin (then with `run_id`): FAILED, without a retry."""

    task_id: UUID
    error: str
    run_id: UUID | None = None
    agent_id: UUID | None = None
    """Without a run: whom the task was given to when this was decided. If it is another's now, nothing happens."""


class AnnounceWaiting(Command, frozen=True, kw_only=True):
    """Say once why nobody works on a PENDING task."""

    task_id: UUID
    reason: str
    agent_id: UUID | None = None


class AnnounceUnplanned(Command, frozen=True, kw_only=True):
    """Say once why nobody plans a worked mission that has no plan."""

    reason: str
    agent_id: UUID | None = None
    """The LEAD, if there is one."""


class BeginReview(Command, frozen=True, kw_only=True):
    """The LEAD begins to review an engaged mission in REVIEW that has no verdict yet, and of which every task has ended."""

    run_id: UUID
    agent_id: UUID


class EndReview(Command, frozen=True, kw_only=True):
    """The LEAD's review ends with a verdict.

    accept completes the mission with `auto_accept`, else people do. rework sends it back to IN_PROGRESS with the tasks
    `reset`, those that wait for them, and the new `tasks`; when there are none, or it was sent back MAX_REWORKS times,
    the mission stays in REVIEW for people. A LOST run leaves it without a verdict.
    """

    run_id: UUID
    reason: str
    verdict: Verdict = "none"
    notes: str = ""
    reset: tuple[UUID, ...] = ()
    tasks: tuple[NewTask, ...] = ()
    auto_accept: bool = False
    use: Use = Use()
    usage: dict[str, int] = {}
    session_id: str | None = None
    by: str | None = None


class Settle(Command, frozen=True, kw_only=True):
    """See whether a worked mission is over: all tasks ended -> FAILED or REVIEW; none that is left is ready, worked
    or awaits an approval -> FAILED.

    One that a person sent back from REVIEW is not over before a task has changed.
    """


class TimeOut(Command, frozen=True, kw_only=True):
    """The time of the stint that began at `engaged_at` is over: FAILED, and so are tasks that await an approval."""

    engaged_at: datetime
