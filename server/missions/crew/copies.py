"""Clones and forks: the command that makes a copy of a mission. Pure."""

from collections.abc import Callable
from uuid import UUID

from server.missions.crew.commands import Create, NewTask
from server.missions.crew.state import TASK_LIFECYCLE, Mission, Task, in_order


def clone(
    source: Mission, mission_id: UUID, new_id: Callable[[], UUID], *, title: str | None = None, by: str | None = None
) -> Create:
    """A mission to be worked from the beginning: what the tasks are and who they are for, nothing of what was done.

    `source` needs its tasks. The title is the source's with " (copy)", unless one is given.
    """
    return Create(
        id=mission_id,
        crew_id=source.crew_id,
        lead_agent_id=source.lead_agent_id,
        title=title or f"{source.title} (copy)",
        description=source.description,
        workflow_template=source.workflow_template,
        cause="clone",
        source=source.id,
        tasks=_copied(source, new_id, is_fork=False),
        by=by,
    )


def fork(source: Mission, mission_id: UUID, new_id: Callable[[], UUID], *, by: str | None = None) -> Create:
    """A mission that goes on from where the source is now: its plan, and its tasks with their statuses.

    A task that is under way or awaits approval in the source begins again; results, limits of iterations and
    approvals are left behind.
    """
    return Create(
        id=mission_id,
        crew_id=source.crew_id,
        lead_agent_id=source.lead_agent_id,
        title=f"Fork: {source.title}",
        description=source.description,
        plan=source.plan,
        cause="fork",
        source=source.id,
        tasks=_copied(source, new_id, is_fork=True),
        by=by,
    )


def unfinished(copy: Create) -> tuple[UUID, ...]:
    """The tasks of a copy that are not COMPLETED, in order of id."""
    return tuple(sorted(task.id for task in copy.tasks if task.status != "COMPLETED"))


def _copied(source: Mission, new_id: Callable[[], UUID], *, is_fork: bool) -> tuple[NewTask, ...]:
    tasks = in_order(source.tasks.values())
    ids = {task.id: new_id() for task in tasks}
    return tuple(
        NewTask(
            id=ids[task.id],
            title=task.title,
            description=task.description,
            agent_id=task.agent_id,
            order=task.order,
            depends_on=tuple(ids[needed] for needed in task.depends_on if needed in ids),
            max_iterations=None if is_fork else task.max_iterations,
            status=_kept_status(task) if is_fork else None,
        )
        for task in tasks
    )


def _kept_status(task: Task) -> str | None:
    return None if TASK_LIFECYCLE.phases[task.status] == "active" else task.status
