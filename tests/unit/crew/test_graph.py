"""The graph of tasks: kept as tasks change it equals one made from nothing; cycles are named."""

import random
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.missions.crew.graph import NO_GRAPH, downstream, fault_of, graph_after, graph_of
from server.missions.crew.state import TASK_LIFECYCLE, Task
from tests.unit.crew.stream import a_task
from tests.unit.numbering import AT


def tasks_of(needs: dict[int, tuple[int, ...]], statuses: dict[int, str] | None = None) -> dict[UUID, Task]:
    return {
        a_task(number): Task(
            id=a_task(number),
            title=f"task {number}",
            status=(statuses or {}).get(number, "PENDING"),
            number=number,
            created_at=AT,
            updated_at=AT,
            depends_on=tuple(map(a_task, needed)),
        )
        for number, needed in needs.items()
    }


_numbers = st.integers(1, 6)
_graphs = st.dictionaries(
    _numbers, st.tuples(st.lists(_numbers, max_size=4), st.sampled_from([*TASK_LIFECYCLE.phases]))
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_graphs, min_size=1, max_size=6))
def test_a_graph_that_is_kept_equals_one_made_from_nothing(changes: list[dict[int, tuple[list[int], str]]]) -> None:
    tasks: dict[UUID, Task] = {}
    graph = NO_GRAPH
    for change in changes:
        changed = tasks_of(
            {number: tuple(needs) for number, (needs, _) in change.items()},
            {number: status for number, (_, status) in change.items()},
        )
        after = tasks | changed
        graph = graph_after(graph, tasks, after, list(changed))
        tasks = after
        assert graph == graph_of(tasks)
        for task in tasks.values():
            unmet = {needed for needed in task.depends_on if needed not in tasks or tasks[needed].status != "COMPLETED"}
            assert graph.missing.get(task.id, 0) == len(unmet)
            assert (task.id in graph.ready) == (task.status == "PENDING" and not unmet)


@pytest.mark.parametrize(
    ("needs", "fault"),
    [
        ({}, None),
        ({1: (), 2: (1, 1), 3: (1, 2)}, None),
        ({1: (9,)}, f'task "task 1" depends on nonexistent task "{a_task(9)}"'),
        ({1: (1,)}, "circular dependency detected: 1 tasks involved in cycle: task 1 -> task 1"),
        ({1: (2,), 2: (1,), 3: (2,), 4: ()}, "circular dependency detected: 2 tasks involved in cycle: "),
        ({1: (3,), 2: (1,), 3: (2,)}, "circular dependency detected: 3 tasks involved in cycle: "),
    ],
)
def test_a_fault_is_named(needs: dict[int, tuple[int, ...]], fault: str | None) -> None:
    found = fault_of(tasks_of(needs))
    assert (
        found == fault if fault is None or not fault.endswith(": ") else found is not None and found.startswith(fault)
    )


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6))
def test_the_path_of_a_cycle_goes_along_dependencies(seed: int) -> None:
    chance = random.Random(seed)
    needs = {n: tuple(chance.sample(range(1, 7), chance.randint(0, 2))) for n in range(1, 7)}
    found = fault_of(tasks_of(needs))
    is_cyclic = any(
        number in {task_id.int - 1_000 for task_id in downstream(graph_of(tasks_of(needs)), _waiting(needs, number))}
        for number in needs
    )
    assert (found is not None) == is_cyclic
    if found is not None:
        path = [int(title.removeprefix("task ")) for title in found.split(": ")[-1].split(" -> ")]
        assert path[0] == path[-1]
        assert all(before in needs[after] for before, after in pairwise(path))


def _waiting(needs: dict[int, tuple[int, ...]], number: int) -> list[UUID]:
    return [a_task(other) for other, needed in needs.items() if number in needed]


def test_a_long_cycle_is_told_shortly() -> None:
    count = 300
    tasks = tasks_of({number: (number % count + 1,) for number in range(1, count + 1)})
    found = fault_of(tasks)
    assert found is not None
    assert found.startswith("circular dependency detected: 300 tasks involved in cycle: task ")
    assert "(290 more)" in found
    assert len(found.split(" -> ")) == 12


def test_downstream_is_whoever_waits_over_however_many_steps() -> None:
    graph = graph_of(tasks_of({1: (), 2: (1,), 3: (2,), 4: (2, 3), 5: ()}))
    assert downstream(graph, [a_task(2)]) == {a_task(2), a_task(3), a_task(4)}
    assert downstream(graph, []) == set()
