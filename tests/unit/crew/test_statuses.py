"""Every pair of statuses, of missions and of tasks, asked for by PATCH: the edges of the table work, no other does."""

import pytest

from server.missions import crew
from server.missions.crew.commands import Cancel, Edit, Restart, Resume
from streams.errors import BadRequest, MoveRefused
from tests.unit.crew.stream import Stream, folded, stored_and_read

MISSION_EDGES = {
    "PLANNING": "IN_PROGRESS CANCELLED",
    "IN_PROGRESS": "REVIEW FAILED CANCELLED",
    "REVIEW": "COMPLETED IN_PROGRESS FAILED CANCELLED",
    "COMPLETED": "",
    "FAILED": "",
    "CANCELLED": "",
}
TASK_EDGES = {
    "PENDING": "IN_PROGRESS SKIPPED",
    "BLOCKED": "PENDING SKIPPED",
    "IN_PROGRESS": "COMPLETED FAILED SKIPPED",
    "COMPLETED": "",
    "FAILED": "",
    "SKIPPED": "",
    "AWAITING_APPROVAL": "",
}
"""The two tables of the API's documentation, written down once more."""

MISSION_WAYS = {
    "PLANNING": (),
    "IN_PROGRESS": ("IN_PROGRESS",),
    "REVIEW": ("IN_PROGRESS", "REVIEW"),
    "COMPLETED": ("IN_PROGRESS", "REVIEW", "COMPLETED"),
    "FAILED": ("IN_PROGRESS", "FAILED"),
    "CANCELLED": ("CANCELLED",),
}
TASK_WAYS = {
    "PENDING": (),
    "IN_PROGRESS": ("IN_PROGRESS",),
    "COMPLETED": ("IN_PROGRESS", "COMPLETED"),
    "FAILED": ("IN_PROGRESS", "FAILED"),
    "SKIPPED": ("SKIPPED",),
}
WORDS = list(dict.fromkeys([*MISSION_EDGES, *TASK_EDGES, "RESUMING", "in_progress", "", "DONE"]))


def a_mission(status: str) -> Stream:
    stream = Stream().create()
    for step in MISSION_WAYS[status]:
        stream.execute(Edit(status=step))
    assert stream.state.status == status
    return stream


def a_mission_with_a_task(status: str) -> Stream:
    """Task 2 has the status; task 1 is there for it to wait for."""
    stream = Stream().create()
    stream.add(1)
    stream.add(2, *([1] if status == "BLOCKED" else []), approval_required=status == "AWAITING_APPROVAL")
    stream.start()
    if status == "AWAITING_APPROVAL":
        stream.end(2)
    for step in TASK_WAYS.get(status, ()):
        stream.patch(2, step)
    assert stream.statuses[2] == status
    return stream


def test_the_tables_are_the_ones_of_the_documentation() -> None:
    for edges, table in ((MISSION_EDGES, crew.LIFECYCLE), (TASK_EDGES, crew.TASK_LIFECYCLE)):
        assert {before: set(after.split()) for before, after in edges.items()} == {
            before: set(after) for before, after in table.transitions.items() if before != "RESUMING"
        }
    assert not crew.LIFECYCLE.transitions["RESUMING"]


@pytest.mark.parametrize("before", MISSION_EDGES)
@pytest.mark.parametrize("after", WORDS)
def test_a_mission_takes_every_edge_and_refuses_every_other_pair(before: str, after: str) -> None:
    stream = a_mission(before)
    unchanged = stream.state
    wish = Edit(status=after, title="another title", by="user:1")
    if after not in MISSION_EDGES[before].split():
        with pytest.raises(BadRequest) as refused:
            stream.execute(wish)
        assert refused.value.message == f"Invalid status transition from {before} to {after}"
        assert refused.value.kind == "invalid"
        assert stream.state == unchanged
        return
    edited, moved = stream.execute(wish)
    state = stream.state
    assert (edited.type, moved.type, moved.actor) == ("mission_edited", "mission_status_changed", "user:1")
    assert moved.data() == {"status": after, "phase": crew.LIFECYCLE.phases[after], "cause": "patch"}
    assert (state.status, state.title) == (after, "another title")
    assert state.completed_at == (moved.at if after in ("COMPLETED", "FAILED", "CANCELLED") else None)
    assert not state.is_engaged
    assert state == folded(stream.events) == stored_and_read(state)


@pytest.mark.parametrize("before", TASK_EDGES)
@pytest.mark.parametrize("after", WORDS)
def test_a_task_takes_every_edge_and_refuses_every_other_pair(before: str, after: str) -> None:
    stream = a_mission_with_a_task(before)
    unchanged = stream.state
    if after not in TASK_EDGES[before].split():
        with pytest.raises(BadRequest) as refused:
            stream.patch(2, after, result_summary="said")
        assert refused.value.message == f"Invalid status transition from {before} to {after}"
        assert stream.state == unchanged
        return
    [moved] = stream.patch(2, after, result_summary="said")
    task, old = stream.task(2), unchanged.tasks[stream.task(2).id]
    assert moved.data()["cause"] == "patch"
    assert moved.data()["fields"] == {"result_summary": "said"}
    assert (task.status, task.result_summary, task.updated_at) == (after, "said", moved.at)
    assert task.started_at == (moved.at if after == "IN_PROGRESS" else old.started_at)
    assert task.completed_at == (moved.at if after in ("COMPLETED", "FAILED", "SKIPPED") else None)
    assert task.duration_ms is None  # people's work is not timed
    assert (task.run_id, task.assignment_id, task.iteration) == (None, None, 1)
    assert stream.state == folded(stream.events) == stored_and_read(stream.state)


@pytest.mark.parametrize("before", MISSION_EDGES)
def test_cancel_is_the_edge_to_cancelled_and_says_what_is_allowed_where_there_is_none(before: str) -> None:
    stream = a_mission(before)
    if "CANCELLED" in MISSION_EDGES[before]:
        [moved] = stream.execute(Cancel(by="user:1"))
        assert (moved.data()["status"], moved.data()["cause"]) == ("CANCELLED", "cancel")
        assert stream.state.completed_at == moved.at
    else:
        with pytest.raises(MoveRefused, match=f"cannot move from {before} to CANCELLED; allowed: nothing"):
            stream.execute(Cancel())


def test_the_table_lets_a_person_unblock_a_task_whose_dependency_is_unfinished_yet_nobody_may_claim_it() -> None:
    stream = a_mission_with_a_task("BLOCKED")
    stream.patch(2, "PENDING")
    assert [task.id for task in stream.state.ready] == [stream.task(1).id]
    stream.claim(2)
    assert stream.statuses == {1: "PENDING", 2: "PENDING"}
    stream.end(1)
    assert [task.id for task in stream.state.ready] == [stream.task(2).id]


def test_every_status_says_when_it_came_and_nothing_of_what_it_replaced() -> None:
    stream = a_mission_with_a_task("COMPLETED")
    assert stream.task(2).completed_at is not None
    stream.execute(Edit(status="CANCELLED"))
    stream.patch(1, "IN_PROGRESS", "FAILED")
    stream.execute(Restart())
    task = stream.task(1)
    assert (task.started_at, task.completed_at, task.iteration) == (None, None, 2)
    assert stream.state.completed_at is None


def test_resuming_is_in_the_log_and_in_no_state_that_is_read() -> None:
    stream = a_mission_with_a_task("FAILED")
    stream.execute(Edit(status="FAILED"))
    first, second, third = stream.execute(Resume())
    assert [first.data()["status"], second.data()["status"]] == ["RESUMING", "IN_PROGRESS"]
    assert [first.data()["phase"], second.data()["phase"]] == ["active", "active"]
    assert third.type == "tasks_reset"
    assert stream.state.status == "IN_PROGRESS"
