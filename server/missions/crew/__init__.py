"""Crew missions, task graphs worked by a crew of agents: the rules as the writer and the dialects use them."""

from collections.abc import Mapping, Sequence
from typing import ClassVar
from uuid import UUID

import msgspec

from server.missions.crew import commands, steps
from server.missions.crew.commands import Cancel
from server.missions.crew.decide import DECIDE
from server.missions.crew.evolve import EVOLVE, created, evolved, evolved_all
from server.missions.crew.graph import NO_GRAPH, graph_of
from server.missions.crew.state import API, KIND, LIFECYCLE, TASK_LIFECYCLE, Mission, Review, Run, Task
from server.missions.kinds import Facts
from server.missions.tasks import AddTask, Progress, ReportProgress
from server.missions.tasks import Task as ShownTask
from storage.rules import Command, Decision, PartRow, Row
from streams.event import Event

__all__ = [
    "KIND",
    "LIFECYCLE",
    "TASK_LIFECYCLE",
    "CrewRules",
    "Mission",
    "Review",
    "Run",
    "Task",
    "commands",
    "steps",
]

TASK_BYTES = 1_000
"""Of memory that a task takes beside its texts."""
_SHOWN_STATUS = {
    "pending": "pending",
    "active": "running",
    "completed": "completed",
    "failed": "failed",
    "interrupted": "failed",
}
"""What other dialects call a task, by its phase; they have no word for one that was skipped."""


class CrewRules:
    """The pure pair of this kind, as the writer uses it, and how its state is stored in parts: tasks."""

    kind = KIND
    api = API
    permission = answering = "crews:write"
    state_type = Mission
    part_type = Task
    commands: ClassVar[Mapping[str, type[Command]]] = {
        "cancel": Cancel,
        "create_task": AddTask,
        "end_run": steps.EndRun,
        "report_progress": ReportProgress,
    }
    state_events = frozenset({"mission_created", *EVOLVE})

    def decide(self, state: Mission | None, command: Command) -> Decision:
        """Turn a command into drafts, or raise why not."""
        decision: Decision = DECIDE[type(command)](state, command)
        return decision

    def evolve(self, state: Mission | None, event: Event) -> Mission:
        """Fold one state event."""
        return created(event) if state is None else evolved(state, event)

    def evolve_all(self, state: Mission | None, events: Sequence[Event]) -> Mission | None:
        """Fold the state events of one decision; the tasks are copied once, not for every event."""
        if state is None and events:
            state, events = created(events[0]), events[1:]
        return state if state is None else evolved_all(state, events)

    def row(self, state: Mission) -> Row:
        """The projection of a state. `run_id` is the LEAD's run; those of tasks stand in their rows."""
        return Row(
            status=state.status,
            phase=LIFECYCLE.phases[state.status],
            title=state.title,
            created_at=state.created_at,
            updated_at=state.updated_at,
            crew_id=state.crew_id,
            parent_id=state.parent_id,
            run_id=state.run.id if state.run else None,
        )

    def split(self, state: Mission) -> tuple[Mission, Mapping[UUID, Task]]:
        """The document of the mission without its tasks, and the tasks."""
        return msgspec.structs.replace(state, tasks={}, graph=NO_GRAPH), state.tasks

    def join(self, header: Mission, parts: Mapping[UUID, Task]) -> Mission:
        """The state of a document and all its tasks, in whatever order."""
        tasks = {task.id: task for task in sorted(parts.values(), key=lambda task: task.number)}
        return msgspec.structs.replace(header, tasks=tasks, graph=graph_of(tasks))

    def part_row(self, task: Task) -> PartRow:
        """The projection of a task."""
        return PartRow(
            status=task.status,
            agent_id=task.agent_id,
            run_id=task.run_id,
            number=task.number,
            token_count=task.token_count,
            estimated_cost=task.estimated_cost,
            created_at=task.created_at,
            updated_at=task.updated_at,
            completed_at=task.completed_at,
        )

    def weight(self, state: Mission) -> int:
        """About how many bytes of memory a state takes: its texts, its tasks, and their places in dicts and graph."""
        return 4_096 + state.size + TASK_BYTES * state.total

    def facts(self, state: Mission) -> Facts:
        """What any dialect may show of a state; of a list's, which has no tasks, how many are done."""
        return Facts(
            run_id=state.run.id if state.run else None,
            run_sequence=state.run.sequence if state.run else None,
            tasks=tuple(_shown(task) for task in state.tasks.values()),
            progress=Progress(state.total, state.stats["COMPLETED"]) if state.total else None,
        )


def _shown(task: Task) -> ShownTask:
    return ShownTask(
        id=str(task.id),
        title=task.title,
        status=_SHOWN_STATUS[TASK_LIFECYCLE.phases[task.status]],
        created_at=task.created_at,
        updated_at=task.updated_at,
        description=task.description or "",
    )
