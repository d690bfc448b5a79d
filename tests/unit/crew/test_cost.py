"""What a command costs must not grow with its mission: the work that Python does is counted, not timed."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from server.missions.crew.commands import Edit
from server.missions.crew.steps import Claim, EndTask, Settle
from tests.unit.crew.stream import WORKER, Stream, a_run, a_task

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
