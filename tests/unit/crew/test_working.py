"""What the engine does with single tasks: claims, ends, retries, loop-backs, the approval gate, waiting, lost runs."""

import msgspec
import pytest

from server.missions.crew import gate, limits
from server.missions.crew.commands import Decide, Edit, UpdateTask
from server.missions.crew.steps import (
    AnnounceWaiting,
    Claim,
    EndRun,
    EndTask,
    FailTask,
    Gate,
    Handoff,
    Requeue,
)
from streams.errors import BadRequest, Conflict, NotFound
from tests.unit.crew.stream import LEAD, USE, WORKER, Stream, a_run, a_task, folded, said, stored_and_read, worked


class TestAClaim:
    def test_gives_a_ready_task_to_a_run(self) -> None:
        stream = worked(())
        stream.execute(AnnounceWaiting(task_id=a_task(1), reason="held"))
        moved, began = stream.execute(Claim(task_id=a_task(1), agent_id=WORKER, run_id=a_run(1)))
        assert said([moved, began]) == [("task_status_changed", "1", "IN_PROGRESS", "claim"), ("run_started", "1")]
        run = {"agent_id": str(WORKER), "run_id": str(a_run(1)), "assignment_id": str(a_run(1))}
        assert moved.data()["fields"] == run
        assert began.data() == {
            "run_id": str(a_run(1)),
            "purpose": "task",
            "agent_id": str(WORKER),
            "task_id": str(a_task(1)),
        }
        task = stream.task(1)
        assert (task.agent_id, task.run_id, task.assignment_id) == (WORKER, a_run(1), a_run(1))
        assert (task.started_at, task.waiting) == (moved.at, None)
        assert stream.state.run is None  # that is the LEAD's

    @pytest.mark.parametrize("end", ["end", "requeue", "patch", "lost", "dispatch"])
    def test_keeps_its_agent_when_the_task_is_given_to_another(self, end: str) -> None:
        stream = worked((), max_iterations=3)
        run_id = stream.claim(1)
        stream.patch(1, agent_id=LEAD)
        task = stream.task(1)
        assert (task.agent_id, task.run_agent_id) == (LEAD, WORKER)
        ways = {
            "end": EndTask(task_id=a_task(1), run_id=run_id, outcome="failed", reason="failed"),
            "requeue": Requeue(task_id=a_task(1), run_id=run_id, reason="restarted"),
            "patch": UpdateTask(id=a_task(1), status="COMPLETED"),
            "lost": EndRun(run_id=run_id, reason="crashed", text="", summary="restarted"),
            "dispatch": FailTask(task_id=a_task(1), run_id=run_id, error="no"),
        }
        [ended] = [event for event in stream.execute(ways[end]) if event.type == "run_ended"]
        assert ended.data()["agent_id"] == str(WORKER)
        task = stream.task(1)
        assert (task.agent_id, task.run_id, task.run_agent_id) == (LEAD, None, None)

    def test_is_given_once(self) -> None:
        stream = worked(())
        run_id = stream.claim(1)
        before = stream.state
        assert stream.execute(Claim(task_id=a_task(1), agent_id=LEAD, run_id=a_run(9))) == []
        assert stream.state == before
        assert stream.task(1).run_id == run_id

    def test_leaves_a_task_to_whom_a_person_gave_it_meanwhile(self) -> None:
        stream = worked(())
        stream.patch(1, agent_id=LEAD)
        assert stream.execute(Claim(task_id=a_task(1), agent_id=WORKER, run_id=a_run(9))) == []
        assert stream.execute(Claim(task_id=a_task(1), agent_id=LEAD, run_id=a_run(9)))

    @pytest.mark.parametrize("status", ["REVIEW", "FAILED", "CANCELLED"])
    def test_needs_a_mission_in_progress(self, status: str) -> None:
        stream = worked(())
        stream.execute(Edit(status=status))
        stream.claim(1)
        assert stream.statuses == {1: "PENDING"}

    def test_needs_an_engaged_mission_and_an_open_task(self) -> None:
        stream = Stream().create()
        stream.add(1)
        stream.claim(1)
        stream.execute(Edit(status="IN_PROGRESS"))
        stream.claim(1)
        assert stream.statuses == {1: "PENDING"}
        stream = worked((), (1,))
        stream.claim(2)
        stream.claim(9)
        stream.patch(1, "SKIPPED")
        stream.claim(1)
        assert stream.statuses == {1: "SKIPPED", 2: "BLOCKED"}


class TestACompletion:
    def test_stores_the_result_and_the_use_and_unblocks(self) -> None:
        stream = worked((), (1,), (1,))
        run_id = stream.claim(1)
        handoff = Handoff(summary="hull is tight", confidence=0.4, needs_review=True)
        events = stream.end(
            1, claims=False, result="planked", handoff=handoff, output_path="/hull", use=USE,
            usage={"input_tokens": 80}, session_id="s1", by="agent:x",
        )  # fmt: skip
        assert said(events) == [
            ("run_ended", "1"),
            ("task_status_changed", "1", "COMPLETED", "end"),
            ("task_status_changed", "2", "PENDING", "unblock"),
            ("task_status_changed", "3", "PENDING", "unblock"),
        ]
        ended, moved, *_ = events
        assert {name: ended.data()[name] for name in ("run_id", "reason", "usage", "session_id", "agent_id")} == {
            "run_id": str(run_id),
            "reason": "end_turn",
            "usage": {"input_tokens": 80},
            "session_id": "s1",
            "agent_id": str(WORKER),
        }
        assert ended.data()["use"]["cost_micros"] == 150_000
        assert (moved.content, moved.actor) == ("planked", "agent:x")
        task = stream.task(1)
        assert (task.result_summary, task.output_path, task.error_message) == ("planked", "/hull", None)
        assert (task.confidence, task.needs_review, task.handoff_context) == (0.4, True, "hull is tight")
        assert (task.token_count, task.estimated_cost) == (100, 0.15)
        assert (task.run_id, task.assignment_id) == (None, run_id)
        assert task.started_at is not None
        assert task.completed_at == moved.at
        assert task.duration_ms == (moved.at - task.started_at).total_seconds() * 1000
        assert (stream.state.token_count, stream.state.estimated_cost) == (100, 0.15)

    def test_is_ignored_from_a_run_that_does_not_work_on_it(self) -> None:
        stream = worked(())
        stream.claim(1)
        before = stream.state
        for task, run in ((1, 9), (9, 1)):
            end = EndTask(task_id=a_task(task), run_id=a_run(run), outcome="completed", reason="end_turn")
            assert stream.execute(end) == []
        stream.end(1, claims=False)
        assert stream.end(1, claims=False) == []
        assert stream.state != before

    def test_counts_in_a_mission_that_is_no_longer_worked(self) -> None:
        stream = worked((), (1,))
        stream.claim(1)
        stream.execute(Edit(status="CANCELLED"))
        stream.end(1, claims=False)
        assert stream.statuses == {1: "COMPLETED", 2: "PENDING"}

    def test_keeps_the_beginning_of_a_long_result(self) -> None:
        stream = worked((), ())
        stream.end(1, result="é" * 5_000)
        kept = stream.task(1).result_summary
        assert kept == "é" * 4_000 + "\n… [cut: 8000 of 10000 bytes]"
        stream.patch(2, description="x" * limits.MAX_TEXT_BYTES)
        stream.end(2, result="x" * 8_000)
        assert stream.task(2).result_summary == "x" * 8_000

    def test_always_finds_room_for_some_of_it(self) -> None:
        stream = worked(())
        stream.current = msgspec.structs.replace(stream.state, size=limits.MAX_MISSION_BYTES)
        stream.end(1, result="x" * 600)
        assert stream.task(1).result_summary == "x" * 500 + "\n… [cut: 500 of 600 bytes]"


class TestAFailure:
    @pytest.mark.parametrize(("limit", "attempts"), [(None, 1), (0, 1), (1, 1), (2, 2), (5, 5)])
    def test_is_tried_again_as_often_as_the_task_allows(self, limit: int | None, attempts: int) -> None:
        stream = worked((), max_iterations=limit)
        for attempt in range(1, attempts):
            ended, moved = stream.end(1, error="rain", use=USE)
            assert said([moved]) == [("task_status_changed", "1", "PENDING", "retry")]
            assert moved.content == "rain"
            task = stream.task(1)
            assert (task.iteration, task.token_count) == (attempt + 1, 100 * attempt)
            assert (task.error_message, task.result_summary, task.run_id, task.assignment_id) == (None,) * 4
            assert (task.started_at, task.completed_at, task.duration_ms) == (None,) * 3
        ended, moved = stream.end(1, error="rain", use=USE)
        assert said([moved]) == [("task_status_changed", "1", "FAILED", "end")]
        task = stream.task(1)
        assert (task.status, task.error_message, task.iteration) == ("FAILED", "rain", attempts)
        assert (task.token_count, task.estimated_cost) == (100 * attempts, round(0.15 * attempts, 6))
        assert task.completed_at == moved.at
        assert task.duration_ms
        assert stream.state.estimated_cost == task.estimated_cost

    def test_does_not_cascade(self) -> None:
        stream = worked((), (1,), (2,))
        assert len(stream.end(1, error="rain")) == 2
        assert stream.statuses == {1: "FAILED", 2: "BLOCKED", 3: "BLOCKED"}

    def test_says_something_even_where_the_agent_did_not(self) -> None:
        stream = worked(())
        stream.end(1, error=None)
        assert stream.task(1).error_message == "failed"

    def test_of_a_mission_that_is_not_worked_is_final_so_that_it_can_be_resumed(self) -> None:
        stream = worked((), max_iterations=5)
        stream.claim(1)
        stream.execute(Edit(status="FAILED"))
        stream.end(1, claims=False, error="rain")
        assert stream.statuses == {1: "FAILED"}

    def test_after_its_dependency_was_taken_back_waits_for_it(self) -> None:
        stream = Stream().create()
        stream.add(1, max_iterations=2)
        stream.add(2, 1, max_iterations=2)
        stream.add(3, 1)
        stream.start()
        stream.end(1)
        stream.claim(2)
        stream.end(3, error="bad keel")
        stream.end(2, claims=False, error="bad keel too")
        assert stream.statuses == {1: "PENDING", 2: "BLOCKED", 3: "BLOCKED"}


class TestALoopBack:
    def test_begins_the_first_dependency_with_attempts_left_again(self) -> None:
        stream = Stream().create()
        stream.add(1)
        stream.add(2, max_iterations=1)
        stream.add(3, max_iterations=2)
        stream.add(4, max_iterations=9)
        stream.add(5, 1, 2, 3, 4)
        stream.add(6, 3)
        stream.start()
        for number in (1, 2, 3, 4):
            stream.end(number, result="done", use=USE)
        events = stream.end(5, error="bad keel", use=USE)
        assert said(events) == [
            ("run_ended", "5"),
            ("task_status_changed", "5", "BLOCKED", "loop_back"),
            ("task_status_changed", "3", "PENDING", "loop_back"),
            ("task_status_changed", "6", "BLOCKED", "loop_back"),
        ]
        again, failed = stream.task(3), stream.task(5)
        assert (again.iteration, again.result_summary, again.assignment_id, again.completed_at) == (2, None, None, None)
        assert again.token_count == 100
        assert (failed.iteration, failed.error_message, failed.run_id, failed.started_at) == (1, "bad keel", None, None)
        stream.end(3)
        assert (stream.statuses[5], stream.statuses[6]) == ("PENDING", "PENDING")
        stream.end(5)
        assert stream.task(5).error_message is None
        assert folded(stream.events) == stream.state == stored_and_read(stream.state)

    def test_ends_when_the_dependencies_have_no_attempts_left(self) -> None:
        stream = Stream().create()
        stream.add(1, max_iterations=2)
        stream.add(2, 1)
        stream.start()
        stream.end(1)
        stream.end(2, error="bad")
        assert stream.statuses == {1: "PENDING", 2: "BLOCKED"}
        stream.end(1)
        stream.end(2, error="bad")
        assert stream.statuses == {1: "COMPLETED", 2: "FAILED"}

    def test_comes_after_the_tasks_own_attempts(self) -> None:
        stream = Stream().create()
        stream.add(1, max_iterations=2)
        stream.add(2, 1, max_iterations=2)
        stream.start()
        stream.end(1)
        stream.end(2, error="bad")
        assert (stream.statuses, stream.task(2).iteration) == ({1: "COMPLETED", 2: "PENDING"}, 2)
        stream.end(2, error="bad")
        assert (stream.statuses, stream.task(1).iteration) == ({1: "PENDING", 2: "BLOCKED"}, 2)

    def test_of_two_tasks_takes_their_dependency_back_once(self) -> None:
        stream = Stream().create()
        stream.add(1, max_iterations=9)
        stream.add(2, 1)
        stream.add(3, 1)
        stream.start()
        stream.end(1)
        stream.claim(2)
        stream.claim(3)
        stream.end(2, claims=False, error="bad")
        run_id = stream.claim(1)
        events = stream.end(3, claims=False, error="bad")
        assert said(events) == [("run_ended", "3"), ("task_status_changed", "3", "BLOCKED", "loop_back")]
        assert (stream.task(1).iteration, stream.task(1).run_id) == (2, run_id)

    def test_is_none_where_a_dependency_is_lost_for_good(self) -> None:
        stream = Stream().create()
        stream.add(1, max_iterations=2)
        stream.add(2, 1)
        stream.add(3, 1)
        stream.start()
        stream.end(1)
        stream.claim(2)
        stream.end(3, error="bad")
        stream.patch(1, "SKIPPED")
        stream.end(2, claims=False, error="bad")
        assert stream.statuses == {1: "SKIPPED", 2: "FAILED", 3: "BLOCKED"}


THRESHOLDS = Gate(auto_approve_threshold=0.8, require_approval_below=0.5, notify_threshold=0.7)
PASSAGES = [
    (THRESHOLDS, 0.9, True, "COMPLETED", False),
    (THRESHOLDS, 0.8, True, "COMPLETED", False),
    (THRESHOLDS, 0.79, True, "AWAITING_APPROVAL", False),
    (THRESHOLDS, None, True, "AWAITING_APPROVAL", False),
    (None, 0.9, True, "AWAITING_APPROVAL", False),
    (Gate(), 1.0, True, "AWAITING_APPROVAL", False),
    (None, 0.1, False, "COMPLETED", False),
    (THRESHOLDS, None, False, "COMPLETED", False),
    (Gate(), 0.0, False, "COMPLETED", False),
    (THRESHOLDS, 0.49, False, "AWAITING_APPROVAL", False),
    (THRESHOLDS, 0.5, False, "COMPLETED", True),
    (THRESHOLDS, 0.69, False, "COMPLETED", True),
    (THRESHOLDS, 0.7, False, "COMPLETED", False),
]


@pytest.mark.parametrize(("thresholds", "confidence", "is_required", "status", "is_low"), PASSAGES)
def test_the_gate_takes_the_first_rule_that_fits(
    thresholds: Gate | None, confidence: float | None, is_required: bool, status: str, is_low: bool
) -> None:
    assert gate.through(thresholds, confidence, is_required=is_required) == (status, is_low)
    stream = worked((), approval_required=is_required)
    stream.add(2, 1)
    handoff = None if confidence is None else Handoff(summary="s", confidence=confidence)
    events = stream.end(1, handoff=handoff, gate=thresholds, result="r")
    low = [("confidence_low", "1")] if is_low else []
    unblocked = [("task_status_changed", "2", "PENDING", "unblock")] if status == "COMPLETED" else []
    assert said(events) == [("run_ended", "1"), ("task_status_changed", "1", status, "end"), *low, *unblocked]
    assert all(
        event.data() == {"task_id": str(a_task(1)), "level": "notify"}
        for event in events
        if event.type == "confidence_low"
    )
    task = stream.task(1)
    assert (task.status, task.confidence, task.result_summary) == (status, confidence, "r")
    assert task.evaluation_status == (None if status == "COMPLETED" else "PENDING")
    assert task.completed_at is not None
    assert (task.approval_status, task.approved_at) == (None, None)


class TestADecision:
    def awaiting(self) -> Stream:
        stream = Stream().create()
        stream.add(1, approval_required=True)
        stream.add(2, 1)
        stream.add(3, 2)
        stream.add(4, 3, 1)
        stream.add(5)
        stream.add(6, 5, 3)
        stream.start()
        stream.end(1, result="glued")
        return stream

    def test_of_yes_completes_and_unblocks(self) -> None:
        stream = self.awaiting()
        wish = Decide(task_id=a_task(1), approved=True, user="u1", notes="fine", by="user:u1")
        events = stream.execute(wish)
        assert said(events) == [
            ("task_status_changed", "1", "COMPLETED", "approved"),
            ("task_status_changed", "2", "PENDING", "unblock"),
        ]
        assert (events[0].content, events[0].actor) == ("glued", "user:u1")
        task = stream.task(1)
        assert (task.approval_status, task.approved_by, task.approved_at) == ("APPROVED", "u1", events[0].at)
        assert (task.evaluation_status, task.evaluation_notes) == ("PASS", "fine")
        assert task.completed_at == events[0].at
        assert task.duration_ms  # of the run, not of the wait

    def test_of_no_fails_it_and_all_that_are_blocked_by_it_nearest_first(self) -> None:
        stream = self.awaiting()
        events = stream.execute(Decide(task_id=a_task(1), approved=False, user="u1", notes="loose"))
        assert said(events) == [
            ("task_status_changed", "1", "FAILED", "rejected"),
            ("task_status_changed", "2", "FAILED", "cascade"),
            ("task_status_changed", "4", "FAILED", "cascade"),
            ("task_status_changed", "3", "FAILED", "cascade"),
            ("task_status_changed", "6", "FAILED", "cascade"),
        ]
        task = stream.task(1)
        assert (task.approval_status, task.approved_by, task.error_message) == ("REJECTED", "u1", "loose")
        assert (task.evaluation_status, task.evaluation_notes) == ("FAIL", "loose")
        assert {stream.task(number).error_message for number in (2, 3, 4, 6)} == {"upstream task rejected"}
        assert stream.statuses[5] == "PENDING"
        assert folded(stream.events) == stream.state

    def test_of_no_spares_what_is_not_blocked_and_what_waits_behind_it(self) -> None:
        stream = self.awaiting()
        stream.patch(2, "PENDING", "IN_PROGRESS")
        stream.execute(Decide(task_id=a_task(1), approved=False, user="u1"))
        assert stream.statuses == {
            1: "FAILED", 2: "IN_PROGRESS", 3: "BLOCKED", 4: "FAILED", 5: "PENDING", 6: "BLOCKED",
        }  # fmt: skip
        assert stream.task(1).error_message == "rejected"

    def test_is_made_once_in_a_mission_in_progress_of_a_task_that_awaits_it(self) -> None:
        stream = self.awaiting()
        yes = Decide(task_id=a_task(1), approved=True, user="u1")
        with pytest.raises(NotFound, match=r"^Task not found$"):
            stream.execute(Decide(task_id=a_task(9), approved=True, user="u1"))
        with pytest.raises(Conflict, match=r"^task is not AWAITING_APPROVAL, current status: BLOCKED$"):
            stream.execute(Decide(task_id=a_task(2), approved=True, user="u1"))
        long = Decide(task_id=a_task(1), approved=True, user="u1", notes="x" * 65_537)
        with pytest.raises(BadRequest, match=r"^notes has 65537 bytes"):
            stream.execute(long)
        stream.execute(yes)
        with pytest.raises(Conflict, match=r"^task is not AWAITING_APPROVAL, current status: COMPLETED$"):
            stream.execute(yes)
        stream = self.awaiting()
        stream.execute(Edit(status="REVIEW"))
        with pytest.raises(
            Conflict, match=r"^approvals are decided while the mission is IN_PROGRESS, current status: REVIEW$"
        ):
            stream.execute(yes)
