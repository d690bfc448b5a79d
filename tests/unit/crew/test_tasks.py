"""What people do with a crew mission's tasks: add, change, refuse; and how dependencies block and unblock."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from server.missions.crew import limits
from server.missions.crew.commands import CreateTask, Edit, Reference, UpdateTask
from server.missions.crew.graph import graph_of
from server.missions.crew.tasks import check_takes_tasks
from streams.errors import BadRequest, Conflict, MissionstreamError, NotFound
from tests.unit.crew.stream import WORKER, Stream, a_task, folded, refer, said, stored_and_read
from tests.unit.crew.test_statuses import MISSION_EDGES, a_mission


def with_tasks(*needs: tuple[int, ...]) -> Stream:
    """Tasks 1, 2, 3 …, each with its dependencies."""
    stream = Stream().create()
    for number, needed in enumerate(needs, 1):
        stream.add(number, *needed)
    return stream


def test_a_task_is_as_it_was_asked_for() -> None:
    stream = with_tasks(())
    [event] = stream.add(
        2, 1, 1, title="plank hull", description="tight", order=7, agent_id=WORKER, max_iterations=3,
        approval_required=True, by="user:1",
    )  # fmt: skip
    assert (event.type, event.content, event.actor) == ("task_created", "plank hull", "user:1")
    assert event.data() == {
        "task_id": str(a_task(2)),
        "status": "BLOCKED",
        "cause": "create",
        "description": "tight",
        "agent_id": str(WORKER),
        "order": 7,
        "depends_on": [str(a_task(1)), str(a_task(1))],
        "max_iterations": 3,
        "approval_required": True,
    }
    task = stream.task(2)
    assert (task.status, task.iteration, task.number, task.order) == ("BLOCKED", 1, 2, 7)
    assert task.depends_on == (a_task(1), a_task(1))  # as given
    assert stream.state.graph == graph_of(stream.state.tasks)
    assert stream.add(3)[0].data() == {"task_id": str(a_task(3)), "status": "PENDING", "cause": "create"}


@pytest.mark.parametrize(("done", "status"), [((), "BLOCKED"), ((1,), "BLOCKED"), ((1, 2), "PENDING")])
def test_a_task_is_blocked_unless_all_that_it_needs_is_completed(done: tuple[int, ...], status: str) -> None:
    stream = with_tasks((), ())
    for number in done:
        stream.patch(number, "IN_PROGRESS", "COMPLETED")
    stream.add(3, 1, 2)
    assert stream.statuses[3] == status


@pytest.mark.parametrize("status", ["SKIPPED", "FAILED"])
def test_only_completed_satisfies_a_dependency(status: str) -> None:
    stream = with_tasks((), (1,))
    stream.patch(1, *(["IN_PROGRESS"] if status == "FAILED" else []), status)
    assert stream.statuses[2] == "BLOCKED"
    stream.add(3, 1)
    assert stream.statuses[3] == "BLOCKED"


@pytest.mark.parametrize("status", MISSION_EDGES)
def test_tasks_are_added_while_planning_and_in_progress_only(status: str) -> None:
    stream = a_mission(status)
    if status in ("PLANNING", "IN_PROGRESS"):
        check_takes_tasks(status)
        stream.add(1)
        assert stream.statuses == {1: "PENDING"}
        return
    for refused in (lambda: check_takes_tasks(status), lambda: stream.add(1, title="")):
        with pytest.raises(BadRequest, match=r"^Tasks can only be added to PLANNING or IN_PROGRESS missions$"):
            refused()


LONG = "x" * (limits.MAX_TEXT_BYTES + 1)
UNKNOWN = Reference("cunknown", UUID(int=99))
CREATIONS: list[tuple[dict[str, Any], str]] = [
    ({"title": None, "max_iterations": 51}, "title is required"),
    ({"title": ""}, "title is required"),
    ({"max_iterations": -1, "depends_on": (UNKNOWN,)}, "max_iterations must be between 0 and 50"),
    ({"max_iterations": 51}, "max_iterations must be between 0 and 50"),
    ({"depends_on": (*refer(1), UNKNOWN, Reference("no id")), "title": LONG}, "dependency task not found: cunknown"),
    ({"depends_on": (Reference("no id"),)}, "dependency task not found: no id"),
    ({"depends_on": refer(2)}, f"dependency task not found: {a_task(2)}"),
    ({"title": LONG}, "title has 65537 bytes, at most 65536 are kept; shorten it, or put it into a file and name that"),
    ({"description": LONG}, "description has 65537 bytes, at most 65536 are kept; shorten it, or put it into a file and name that"),
    ({"order": 1 << 31}, "task_order must be between -2147483647 and 2147483647"),
    ({"depends_on": refer(1) * 5_001}, "depends_on names 5001 tasks, at most 5000 are kept; name each once"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "text"), CREATIONS, ids=[text[:40] for _, text in CREATIONS])
def test_what_no_task_can_be_is_refused_in_the_apis_words_and_order(fields: dict[str, Any], text: str) -> None:
    stream = with_tasks(())
    before = stream.state
    with pytest.raises(BadRequest) as refused:
        stream.execute(CreateTask(id=a_task(2), **{"title": "plank hull", **fields}))
    assert refused.value.message == text
    assert stream.state == before


def test_an_id_is_given_once() -> None:
    stream = with_tasks(())
    with pytest.raises(Conflict, match=rf"^task {a_task(1)} exists already$"):
        stream.add(1)


def test_a_mission_holds_a_bounded_number_of_tasks() -> None:
    stream = with_tasks(())
    stream.current = msgspec.structs.replace(stream.state, stats={**stream.state.stats, "PENDING": limits.MAX_TASKS})
    with pytest.raises(Conflict, match=r"^a mission has at most 5000 tasks; make another mission for the rest$"):
        stream.add(2)


def test_a_task_needs_room_in_its_mission() -> None:
    stream = with_tasks(())
    full = limits.MAX_MISSION_BYTES - len("task 2") - 36  # its title, and one dependency
    stream.current = msgspec.structs.replace(stream.state, size=full)
    with pytest.raises(Conflict, match=r"^the texts of a mission have at most"):
        stream.add(2, 1, 1)
    stream.add(2, 1)
    with pytest.raises(Conflict, match=r"^the texts of a mission have at most"):
        stream.patch(1, result_summary="x")
    stream.patch(1, title="task")


def _in_progress(stream: Stream) -> None:
    stream.patch(1, "IN_PROGRESS")


def _nothing(stream: Stream) -> None:
    pass


BOTH = "Cannot update status and depends_on in the same request"
EDITS = "Can only edit title/description/depends_on for PENDING or BLOCKED tasks"
UPDATES: list[tuple[Callable[[Stream], None], dict[str, Any], str]] = [
    (_nothing, {"status": "DONE", "depends_on": None}, BOTH),
    (_in_progress, {"status": "PENDING", "title": "t"}, "Invalid status transition from IN_PROGRESS to PENDING"),
    (_nothing, {"status": "x" * 100}, f"Invalid status transition from PENDING to {'x' * 60}"),
    (_in_progress, {"title": "t", "depends_on": None}, EDITS),
    (_in_progress, {"description": "d"}, EDITS),
    (_in_progress, {"depends_on": None}, EDITS),
    (_in_progress, {"status": "COMPLETED", "title": "t"}, EDITS),
    (_nothing, {"depends_on": None}, "depends_on must be a JSON array of task IDs"),
    (_nothing, {"depends_on": (UNKNOWN, *refer(1))}, "Task cannot depend on itself"),
    (_nothing, {"depends_on": (*refer(2), UNKNOWN)}, "Dependency task cunknown not found in this mission"),
    (_nothing, {"depends_on": (Reference("no id"),)}, "Dependency task no id not found in this mission"),
    (_nothing, {"depends_on": refer(2) * 5_001}, "depends_on names 5001 tasks, at most 5000 are kept; name each once"),
    (_nothing, {"token_count": 10**12 + 1}, "token_count must be between -1000000000000 and 1000000000000"),
    (_nothing, {"estimated_cost": float("inf")}, "estimated_cost must be between -1000000 and 1000000"),
    (_nothing, {"estimated_cost": float("nan")}, "estimated_cost must be between -1000000 and 1000000"),
    (_nothing, {"output_path": LONG}, "output_path has 65537 bytes, at most 65536 are kept; shorten it, or put it into a file and name that"),
]  # fmt: skip


@pytest.mark.parametrize(("prepare", "fields", "text"), UPDATES, ids=[text[:40] for _, _, text in UPDATES])
def test_what_no_change_can_be_is_refused_in_the_apis_words_and_order(
    prepare: Callable[[Stream], None], fields: dict[str, Any], text: str
) -> None:
    stream = with_tasks((), ())
    prepare(stream)
    before = stream.state
    with pytest.raises(MissionstreamError) as refused:
        stream.execute(UpdateTask(id=a_task(1), **fields))
    assert (type(refused.value), refused.value.message) == (BadRequest, text)
    assert stream.state == before


def test_an_unknown_task_comes_before_what_is_wrong_with_the_wish() -> None:
    with pytest.raises(NotFound, match=r"^Task not found$"):
        with_tasks(()).patch(9, status="DONE", depends_on=None)


@pytest.mark.parametrize("status", MISSION_EDGES)
def test_a_task_changes_in_any_status_of_its_mission(status: str) -> None:
    stream = Stream().create()
    stream.add(1)
    for step in {"COMPLETED": ("IN_PROGRESS", "REVIEW"), "FAILED": ("IN_PROGRESS",), "REVIEW": ("IN_PROGRESS",)}.get(
        status, ()
    ):
        stream.execute(Edit(status=step))
    if status != "PLANNING":
        stream.execute(Edit(status=status))
    stream.patch(1, "IN_PROGRESS", "COMPLETED")
    assert (stream.state.status, stream.statuses) == (status, {1: "COMPLETED"})


class TestFields:
    def test_are_stored_in_any_status_and_told_once(self) -> None:
        stream = with_tasks(())
        stream.patch(1, "IN_PROGRESS", "FAILED")
        fields = {
            "agent_id": WORKER,
            "result_summary": "",
            "error_message": "rain",
            "output_path": "/hull",
            "token_count": -5,
            "estimated_cost": 0.25,
        }
        [event] = stream.patch(1, **fields, by="user:1")
        assert (event.type, event.actor) == ("task_updated", "user:1")
        assert event.data() == {"task_id": str(a_task(1)), "fields": {**fields, "agent_id": str(WORKER)}}
        assert {name: getattr(stream.task(1), name) for name in fields} == fields
        assert stream.task(1).updated_at == event.at
        assert (stream.state.token_count, stream.state.estimated_cost) == (-5, 0.25)
        before = stream.state
        assert stream.patch(1, **fields) == []
        assert stream.patch(1, by="user:1") == []
        assert stream.state == before

    def test_come_with_the_status_in_one_event(self) -> None:
        stream = with_tasks(())
        stream.patch(1, "IN_PROGRESS")
        [event] = stream.patch(1, "COMPLETED", result_summary="cut", token_count=7)
        assert said([event]) == [("task_status_changed", "1", "COMPLETED", "patch")]
        assert event.data()["fields"] == {"result_summary": "cut", "token_count": 7}
        assert event.content == "cut"

    def test_of_a_task_that_nobody_works_on_yet_may_be_its_title_too(self) -> None:
        stream = with_tasks((), (1,))
        for number in (1, 2):
            stream.patch(number, title="", description="d")
            assert (stream.task(number).title, stream.task(number).description) == ("", "d")
        stream.patch(1, "IN_PROGRESS", title="at the start")  # the status before the request counts
        assert stream.task(1).title == "at the start"

    def test_sum_up_in_the_mission(self) -> None:
        stream = with_tasks((), ())
        assert (stream.state.token_count, stream.state.estimated_cost) == (None, None)
        stream.patch(1, token_count=10, estimated_cost=0.1)
        stream.patch(2, token_count=20, estimated_cost=0.2)
        assert (stream.state.token_count, stream.state.estimated_cost) == (30, 0.3)
        stream.patch(1, token_count=1, estimated_cost=0.0)
        assert (stream.state.token_count, stream.state.estimated_cost) == (21, 0.2)


class TestDependencies:
    def test_block_and_unblock_as_they_are_edited_without_a_frame(self) -> None:
        stream = with_tasks((), ())
        [event] = stream.patch(1, depends_on=refer(2), title="later")
        assert said([event]) == [("task_status_changed", "1", "BLOCKED", "depends")]
        assert event.data()["fields"] == {"title": "later", "depends_on": [str(a_task(2))]}
        assert stream.statuses == {1: "BLOCKED", 2: "PENDING"}
        [event] = stream.patch(1, depends_on=())
        assert said([event]) == [("task_status_changed", "1", "PENDING", "depends")]
        assert stream.state.graph.dependents == {}

    def test_that_change_no_status_are_a_change_of_fields(self) -> None:
        stream = with_tasks((), (), (1,))
        assert said(stream.patch(3, depends_on=refer(2, 2))) == [("task_updated", "3")]
        assert stream.statuses[3] == "BLOCKED"
        stream.patch(1, "IN_PROGRESS", "COMPLETED")
        assert said(stream.patch(3, depends_on=refer(1))) == [("task_status_changed", "3", "PENDING", "depends")]
        assert said(stream.patch(3, depends_on=())) == [("task_updated", "3")]

    def test_that_are_given_again_undo_what_a_person_unblocked(self) -> None:
        stream = with_tasks((), (1,))
        stream.patch(2, "PENDING")
        [event] = stream.patch(2, depends_on=refer(1))
        assert said([event]) == [("task_status_changed", "2", "BLOCKED", "depends")]
        assert event.data()["fields"] == {}
        assert stream.patch(2, depends_on=refer(1)) == []

    def test_may_be_a_cycle_until_the_start(self) -> None:
        stream = with_tasks((), (1,))
        stream.patch(1, depends_on=refer(2))
        assert stream.statuses == {1: "BLOCKED", 2: "BLOCKED"}
        assert folded(stream.events) == stream.state == stored_and_read(stream.state)

    def test_of_many_unblock_when_the_last_is_completed_and_after_it(self) -> None:
        stream = with_tasks((), (), (1, 2), (1,), (3, 4))
        stream.patch(1, "IN_PROGRESS")
        assert said(stream.patch(1, "COMPLETED")) == [
            ("task_status_changed", "1", "COMPLETED", "patch"),
            ("task_status_changed", "4", "PENDING", "unblock"),
        ]
        stream.patch(2, "IN_PROGRESS")
        assert said(stream.patch(2, "COMPLETED")) == [
            ("task_status_changed", "2", "COMPLETED", "patch"),
            ("task_status_changed", "3", "PENDING", "unblock"),
        ]
        assert stream.statuses == {1: "COMPLETED", 2: "COMPLETED", 3: "PENDING", 4: "PENDING", 5: "BLOCKED"}

    def test_unblock_in_the_order_of_tasks(self) -> None:
        stream = with_tasks(())
        for number, order in ((2, 5), (3, 1), (4, 1)):
            stream.add(number, 1, order=order)
        stream.patch(1, "IN_PROGRESS")
        assert [words[1] for words in said(stream.patch(1, "COMPLETED"))] == ["1", "3", "4", "2"]
        assert [task.id for task in stream.state.ready] == [a_task(3), a_task(4), a_task(2)]

    def test_wake_nothing_that_was_skipped_or_begun(self) -> None:
        stream = with_tasks((), (1,), (1,))
        stream.patch(2, "SKIPPED")
        stream.patch(3, "PENDING", "IN_PROGRESS")
        stream.patch(1, "IN_PROGRESS")
        assert said(stream.patch(1, "COMPLETED")) == [("task_status_changed", "1", "COMPLETED", "patch")]


def test_a_person_who_ends_a_task_ends_its_run() -> None:
    stream = with_tasks((), (1,))
    stream.start()
    run_id = stream.claim(1)
    moved, ended, unblocked = stream.patch(1, "COMPLETED", by="user:1")
    assert moved.data()["fields"] == {"run_id": None}
    assert ended.data()["run_id"] == str(run_id)
    assert (ended.data()["reason"], ended.data()["task_id"]) == ("cancelled", str(a_task(1)))
    assert said([unblocked]) == [("task_status_changed", "2", "PENDING", "unblock")]
    task = stream.task(1)
    assert (task.run_id, task.assignment_id, task.duration_ms) == (None, run_id, None)
    assert stream.end(1, claims=False) == []
