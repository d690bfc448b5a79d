"""A LEAD's plan in words, a line for each task: read, and turned into tasks. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from server.missions.crew.commands import NewTask
from server.missions.crew.limits import MAX_ITERATIONS
from server.missions.crew.state import Task

HOW = """\
TITLE [<- TITLE, TITLE] [@agent] [xN] [!approval] [:: DESCRIPTION]
`<-` names the tasks that must be completed before, `@` the agent, `xN` how many attempts it has, `!approval` asks
people before it counts as done. Leave out what you do not need."""
"""What a LEAD is told about the notation."""

MAX_PLANNED = 200
"""Tasks of one answer: as many as a plan has steps."""
_NEEDS = " <- "
_TELLS = " :: "
_ATTEMPTS = re.compile(r"x\d{1,2}")


class Planned(NamedTuple):
    """One line of a plan. `needs` and `agent` are as they were written."""

    title: str
    needs: tuple[str, ...] = ()
    agent: str | None = None
    max_iterations: int | None = None
    approval_required: bool = False
    description: str | None = None


def planned(line: str) -> Planned | None:
    """What a line says; None for one without a title."""
    head, _, description = f" {line.strip()}".partition(_TELLS)
    words = head.split()
    agent, attempts, is_required = None, None, False
    while words:
        if words[-1].startswith("@") and len(words[-1]) > 1:
            agent = words[-1][1:]
        elif _ATTEMPTS.fullmatch(words[-1]):
            attempts = min(int(words[-1][1:]), MAX_ITERATIONS)
        elif words[-1] == "!approval":
            is_required = True
        else:
            break
        words.pop()
    title, _, needs = f" {' '.join(words)} ".partition(_NEEDS)
    if not title.strip():
        return None
    return Planned(
        title.strip(),
        tuple(name for part in needs.split(",") if (name := part.strip())),
        agent,
        attempts,
        is_required,
        description.strip().replace("\\n", "\n") or None,
    )


def tasks_of(
    lines: Iterable[str],
    agents: Mapping[str, UUID],
    existing: Iterable[Task],
    new_id: Callable[[], UUID],
    *,
    is_chained: bool = False,
) -> tuple[NewTask, ...]:
    """The tasks of a plan, at most MAX_PLANNED, each after those that it needs. `agents` are ids by slug.

    Names that mean no task, and agents that nobody knows, are left out: agents are not argued with. `is_chained`: where
    no line says what it needs, each needs the one before it, as a list of steps is meant.
    """
    found = list(islice((task for line in lines if (task := planned(line)) is not None), MAX_PLANNED))
    ids = [new_id() for _ in found]
    known = {title_key(task.title): task.id for task in existing}
    known |= {title_key(task.title): task_id for task, task_id in zip(reversed(found), reversed(ids), strict=True)}
    needs = [tuple(known[key] for name in task.needs if (key := title_key(name)) in known) for task in found]
    if is_chained and not any(task.needs for task in found):
        needs = [() if at == 0 else (ids[at - 1],) for at in range(len(found))]
    tasks = [
        NewTask(
            id=task_id,
            title=task.title,
            description=task.description,
            agent_id=agents.get(task.agent or ""),
            order=order,
            depends_on=needed,
            max_iterations=task.max_iterations,
            approval_required=task.approval_required,
        )
        for order, (task, task_id, needed) in enumerate(zip(found, ids, needs, strict=True))
    ]
    return tuple(_in_order(tasks))


def title_key(title: str) -> str:
    """A title as it is compared: case and spaces do not count."""
    return " ".join(title.split()).casefold()


def _in_order(tasks: Sequence[NewTask]) -> Sequence[NewTask]:
    """Each after those that it needs; as they came where they need each other in a circle, which breaks it."""
    by_id = {task.id: task for task in tasks}
    try:
        order = [*TopologicalSorter({task.id: task.depends_on for task in tasks}).static_order()]
    except CycleError:
        return tasks
    return [by_id[task_id] for task_id in order if task_id in by_id]
