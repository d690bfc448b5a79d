"""The graph of a crew mission's tasks: who waits for whom, what is ready, and cycles. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from server.missions.crew.state import Task

_SHOWN_TASKS = 12
_SHOWN_CHARACTERS = 60


class Graph(msgspec.Struct, frozen=True):
    """What follows from a mission's tasks, kept as they change so that no command looks at all of them.

    It is a function of the tasks alone: equal tasks have equal graphs, however they came about.
    """

    dependents: dict[UUID, frozenset[UUID]] = {}
    """Who waits for a task; a task for which nobody waits is left out."""
    missing: dict[UUID, int] = {}
    """How many dependencies of a task are not COMPLETED; a task that misses none is left out."""
    ready: frozenset[UUID] = frozenset()
    """The PENDING tasks that miss no dependency."""


NO_GRAPH = Graph()


def graph_of(tasks: Mapping[UUID, "Task"]) -> Graph:
    """The graph of these tasks, made from nothing."""
    dependents: dict[UUID, set[UUID]] = {}
    for task in tasks.values():
        for needed in task.depends_on:
            dependents.setdefault(needed, set()).add(task.id)
    missing = {task.id: count for task in tasks.values() if (count := missing_of(task.depends_on, tasks))}
    ready = frozenset(task.id for task in tasks.values() if task.status == "PENDING" and task.id not in missing)
    return Graph({needed: frozenset(waiting) for needed, waiting in dependents.items()}, missing, ready)


def missing_of(depends_on: Iterable[UUID], tasks: Mapping[UUID, "Task"]) -> int:
    """How many of these tasks, each counted once, are not COMPLETED."""
    return sum(1 for needed in set(depends_on) if not _is_done(tasks.get(needed)))


def graph_after(
    graph: Graph, before: Mapping[UUID, "Task"], after: Mapping[UUID, "Task"], changed: Sequence[UUID]
) -> Graph:
    """The graph of `after`, from the one of `before`, when they differ in the tasks `changed` only."""
    rewired = [task_id for task_id in changed if _needs(before.get(task_id)) != after[task_id].depends_on]
    turned = [task_id for task_id in changed if _is_done(before.get(task_id)) != _is_done(after[task_id])]
    dependents = graph.dependents
    if rewired:
        dependents = dependents.copy()
        _rewire(dependents, {task_id: (_needs(before.get(task_id)), after[task_id].depends_on) for task_id in rewired})
    steps: dict[UUID, int] = {}
    for task_id in turned:
        step = -1 if _is_done(after[task_id]) else 1
        for waiting in dependents.get(task_id, ()):
            steps[waiting] = steps.get(waiting, 0) + step
    counts = {task_id: graph.missing.get(task_id, 0) + step for task_id, step in steps.items()}
    counts |= {task_id: missing_of(after[task_id].depends_on, after) for task_id in rewired}
    missing = graph.missing
    if counts:
        missing = missing.copy()  # a fifth of what a display with ** takes
        missing.update(counts)
        for task_id in [task_id for task_id, count in counts.items() if not count]:
            del missing[task_id]
    seen = counts.keys() | changed
    ready = {task_id for task_id in seen if after[task_id].status == "PENDING" and task_id not in missing}
    if ready == graph.ready & seen:
        return Graph(dependents, missing, graph.ready)
    return Graph(dependents, missing, (graph.ready - seen) | ready)


def downstream(graph: Graph, start: Iterable[UUID]) -> set[UUID]:
    """These tasks and all that wait for them, over however many steps."""
    found = set(start)
    frontier = list(found)
    while frontier:
        for waiting in graph.dependents.get(frontier.pop(), ()):
            if waiting not in found:
                found.add(waiting)
                frontier.append(waiting)
    return found


def fault_of(tasks: Mapping[UUID, "Task"]) -> str | None:
    """What keeps these tasks from ever being finished in some order; a cycle is named by the titles on its way."""
    for task in tasks.values():
        for needed in task.depends_on:
            if needed not in tasks:
                return f'task "{_short(task.title)}" depends on nonexistent task "{needed}"'
    try:
        TopologicalSorter({task.id: task.depends_on for task in tasks.values()}).prepare()
    except CycleError as error:
        return _cycle(tasks, error.args[1])
    return None


def _cycle(tasks: Mapping[UUID, "Task"], path: Sequence[UUID]) -> str:
    titles = [_short(tasks[task_id].title) for task_id in path]
    if len(titles) > _SHOWN_TASKS:
        titles[_SHOWN_TASKS - 2 : -1] = [f"({len(titles) - _SHOWN_TASKS + 1} more)"]
    count = len(path) - 1
    return f"circular dependency detected: {count} tasks involved in cycle: {' -> '.join(titles)}"


def _short(title: str) -> str:
    return title if len(title) <= _SHOWN_CHARACTERS else f"{title[: _SHOWN_CHARACTERS - 1]}…"


def _is_done(task: "Task | None") -> bool:
    return task is not None and task.status == "COMPLETED"


def _needs(task: "Task | None") -> tuple[UUID, ...]:
    return task.depends_on if task is not None else ()


def _rewire(
    dependents: dict[UUID, frozenset[UUID]], needs: Mapping[UUID, tuple[Collection[UUID], Collection[UUID]]]
) -> None:
    """Put in whom these tasks need, before and after; a set of dependents is made anew once, however many join it."""
    gone: dict[UUID, set[UUID]] = {}
    come: dict[UUID, set[UUID]] = {}
    for task_id, (before, after) in needs.items():
        for needed in set(before).difference(after):
            gone.setdefault(needed, set()).add(task_id)
        for needed in set(after).difference(before):
            come.setdefault(needed, set()).add(task_id)
    for needed in gone.keys() | come.keys():
        rest = (dependents.get(needed, frozenset()) - gone.get(needed, frozenset())) | come.get(needed, frozenset())
        if rest:
            dependents[needed] = rest
        else:
            del dependents[needed]
