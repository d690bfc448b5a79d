"""Clones and forks: what is copied, what is left behind, and that the copy is a mission like any other."""

from collections.abc import Callable
from itertools import count
from uuid import UUID

from server.missions.crew.commands import Edit, Restart
from server.missions.crew.copies import clone, fork
from tests.unit.crew.stream import CREW, LEAD, WORKER, Stream, a_task, folded, refer, stored_and_read
from tests.unit.crew.test_missions import a_finished_mission

COPY = UUID(int=8)


def new_ids() -> Callable[[], UUID]:
    numbers = count(101)
    return lambda: a_task(next(numbers))


def a_source() -> Stream:
    stream = a_finished_mission()
    stream.execute(Edit(description="of oak", plan="1. cut"))
    stream.patch(1, token_count=5, agent_id=WORKER)
    stream.patch(3, title="later", description="d", depends_on=refer(2, 1))
    return stream


def test_a_clone_is_to_be_worked_from_the_beginning() -> None:
    source = a_source()
    copy = Stream()
    made, *tasks = copy.execute(clone(source.state, COPY, new_ids(), by="user:1"))
    assert made.content == "build a boat (copy)"
    assert made.data() == {
        "crew_id": str(CREW),
        "lead_agent_id": str(LEAD),
        "cause": "clone",
        "source": str(source.state.id),
        "description": "of oak",
    }
    assert {event.data()["cause"] for event in tasks} == {"clone"}
    state = copy.state
    assert (state.status, state.plan, state.token_count, state.is_engaged) == ("PLANNING", None, None, False)
    assert copy.statuses == {
        101: "PENDING",
        102: "BLOCKED",
        103: "BLOCKED",
        104: "PENDING",
        105: "BLOCKED",
        106: "BLOCKED",
    }
    for number in range(1, 7):
        old, new = source.task(number), copy.task(100 + number)
        names = ("title", "description", "agent_id", "order", "max_iterations", "number")
        assert [getattr(new, name) for name in names] == [getattr(old, name) for name in names]
        assert new.depends_on == tuple(a_task(needed.int - 1_000 + 100) for needed in old.depends_on)
        assert (new.iteration, new.result_summary, new.token_count, new.approval_required) == (1, None, None, False)
    assert folded(copy.events) == state == stored_and_read(state)


def test_a_clone_may_have_a_title_of_its_own() -> None:
    assert clone(a_source().state, COPY, new_ids(), title="another boat").title == "another boat"


def test_a_clone_keeps_the_limits_of_iterations_and_depends_on_later_tasks_too() -> None:
    source = Stream().create(workflow_template="standard")
    source.add(1, max_iterations=4)
    source.add(2)
    source.patch(1, depends_on=refer(2))
    copy = Stream()
    copy.execute(clone(source.state, COPY, new_ids()))
    assert copy.task(101).max_iterations == 4
    assert copy.task(101).depends_on == (a_task(102),)
    assert copy.statuses == {101: "BLOCKED", 102: "PENDING"}
    assert copy.state.workflow_template == "standard"
    copy.start()
    copy.end(102)
    copy.end(101)
    assert copy.state.stats["COMPLETED"] == 2


def test_a_fork_goes_on_from_where_the_source_is() -> None:
    source = a_source()
    source.execute(Restart())
    source.add(7, 2, max_iterations=3)
    source.start()
    for number, status in ((2, "FAILED"), (4, "SKIPPED"), (6, "IN_PROGRESS")):
        for step in ("IN_PROGRESS", status) if status == "FAILED" else (status,):
            source.patch(number, step)
    source.end(5, result="glued")
    copy = Stream()
    made, *tasks = copy.execute(fork(source.state, COPY, new_ids(), by="user:1"))
    assert made.content == "Fork: build a boat"
    assert (made.data()["cause"], made.data()["plan"], made.data()["description"]) == ("fork", "1. cut", "of oak")
    assert {event.data()["cause"] for event in tasks} == {"fork"}
    assert copy.statuses == {
        101: "COMPLETED",
        102: "FAILED",
        103: "BLOCKED",
        104: "SKIPPED",
        105: "PENDING",  # awaited an approval
        106: "PENDING",  # was under way
        107: "BLOCKED",
    }
    for number in range(1, 8):
        new = copy.task(100 + number)
        assert (new.result_summary, new.assignment_id, new.max_iterations, new.approval_required) == (
            None,
            None,
            None,
            False,
        )
        assert (new.started_at, new.completed_at) == (None, None)
    copy.start()
    copy.end(105)
    copy.patch(106, "IN_PROGRESS", "COMPLETED")
    assert folded(copy.events) == copy.state == stored_and_read(copy.state)


def test_a_fork_of_a_task_that_was_begun_too_early_is_blocked() -> None:
    source = Stream().create()
    source.add(1)
    source.add(2, 1)
    source.patch(2, "PENDING", "IN_PROGRESS")
    copy = Stream()
    copy.execute(fork(source.state, COPY, new_ids()))
    assert copy.statuses == {101: "PENDING", 102: "BLOCKED"}
