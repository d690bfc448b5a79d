"""What a command costs must not grow with its mission: the work that Python does is counted, not timed."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from server.missions.crew import evolve
from server.missions.crew.commands import Create, Edit, NewTask
from server.missions.crew.steps import Claim, EndTask, Settle
from tests.unit.crew.stream import CREW, ID, LEAD, WORKER, Stream, a_run, a_task, folded

WIDTH = 20


def a_layered_mission(tasks: int) -> Stream:
    """Layers of WIDTH tasks, each of which needs three of the layer before it; half of the layers are done."""
    stream = Stream().create()
    for number in range(tasks):
        layer = number // WIDTH
        needs = {(layer - 1) * WIDTH + (number * 7 + step * 3) % WIDTH for step in range(3)} if layer else set()
        stream.add(number, *sorted(needs))
    stream.start()
    for number in range(tasks // WIDTH // 2 * WIDTH):
        stream.end(number, result="done")
    return stream


def operations(work: Callable[[], Any]) -> int:
    """How many bytecode operations this takes, wherever they stand."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def _work_off(stream: Stream, number: int) -> None:
    stream.execute(Claim(task_id=a_task(number), agent_id=WORKER, run_id=a_run(0)))
    ending = EndTask(task_id=a_task(number), run_id=a_run(0), outcome="completed", reason="end_turn", result="done")
    stream.execute(ending)


WORKS: dict[str, Callable[[Stream, int], Any]] = {
    "claim and end": _work_off,
    "a person's patches": lambda stream, number: stream.patch(number, "IN_PROGRESS", "COMPLETED", result_summary="r"),
    "an edit of dependencies": lambda stream, number: stream.patch(number, depends_on=()),
    "a new task": lambda stream, number: stream.add(100_000, number),
    "an edit of the mission": lambda stream, number: stream.execute(Edit(plan="p")),
    "settling": lambda stream, number: stream.execute(Settle()),
}


@pytest.mark.parametrize("name", WORKS)
def test_a_command_does_as_much_in_a_large_mission_as_in_a_small_one(name: str) -> None:
    counts = []
    for tasks in (120, 1_200):
        stream = a_layered_mission(tasks)
        number = tasks // WIDTH // 2 * WIDTH  # the first one that is ready
        assert stream.state.ready[0].id == a_task(number)
        before = stream.state
        counts.append(operations(lambda: WORKS[name](stream, number)))  # noqa: B023
        assert name == "settling" or stream.state != before
    small, large = counts
    assert small > 100
    assert large <= small * 1.02, counts


FAN = 400


def a_fan() -> Stream:
    """FAN tasks, made by one command; all but the first wait for the first."""
    needs = [(), *[(a_task(0),)] * (FAN - 1)]
    tasks = tuple(NewTask(id=a_task(number), title="t", depends_on=needed) for number, needed in enumerate(needs))
    stream = Stream()
    stream.execute(Create(id=ID, crew_id=CREW, lead_agent_id=LEAD, title="a fan", tasks=tasks))
    return stream


def items_copied(work: Callable[[], Any]) -> int:
    """How many items of dicts and sets this copies by their `copy`."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        if event == "c_call" and argument.__name__ == "copy":
            count += len(argument.__self__)

    before = sys.getprofile()
    sys.setprofile(trace)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def _complete_the_first(stream: Stream) -> None:
    stream.start()
    _work_off(stream, 0)
    assert len(stream.state.ready) == FAN - 1


def test_a_decision_of_many_events_copies_the_tasks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = 0

    def graph_after(*arguments: Any) -> Any:
        nonlocal graphs
        graphs += 1
        return real(*arguments)

    real = evolve.graph_after
    monkeypatch.setattr(evolve, "graph_after", graph_after)
    streams: list[Stream] = []
    assert items_copied(lambda: streams.append(a_fan())) < 30 * FAN
    [stream] = streams
    assert len(stream.events) == FAN + 1
    assert graphs == 1
    before = stream.state.tasks.copy()
    start = len(stream.events)
    assert items_copied(lambda: _complete_the_first(stream)) < 30 * FAN
    assert len(stream.events) > start + FAN
    assert graphs < 10
    assert before != stream.state.tasks
    assert type(stream.state.tasks) is dict
    assert folded(stream.events) == stream.state


def test_folding_several_events_leaves_the_state_before_as_it_was() -> None:
    stream = a_fan()
    stream.start()
    before = stream.state
    tasks, stats, graph = before.tasks.copy(), before.stats.copy(), before.graph
    copied = (graph.dependents.copy(), graph.missing.copy(), graph.ready)
    _work_off(stream, 0)
    assert (before.tasks, before.stats) == (tasks, stats)
    assert (graph.dependents, graph.missing, graph.ready) == copied


def test_a_decision_that_changes_no_task_keeps_their_very_dict() -> None:
    stream = a_fan()
    tasks = stream.state.tasks
    events = stream.execute(Edit(plan="p", status="IN_PROGRESS"))
    assert len(events) > 1
    assert stream.state.tasks is tasks
