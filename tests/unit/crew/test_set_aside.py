"""What becomes of a task that nobody works on, whose run is lost, or that cannot be given to anybody."""

from server.missions.crew.commands import Edit
from server.missions.crew.steps import AnnounceWaiting, FailTask, Requeue
from server.missions.tasks import Progress, ReportProgress
from tests.unit.crew.stream import LEAD, USE, WORKER, Stream, a_task, said, worked


class TestWaiting:
    def test_is_told_once_for_each_reason(self) -> None:
        stream = worked(())
        [event] = stream.execute(AnnounceWaiting(task_id=a_task(1), reason="bob is manual", agent_id=WORKER))
        assert (event.type, event.content) == ("task_waiting", "bob is manual")
        assert event.data() == {
            "task_id": str(a_task(1)), "title": "task 1", "reason": "bob is manual", "agent_id": str(WORKER),
        }  # fmt: skip
        assert stream.execute(AnnounceWaiting(task_id=a_task(1), reason="bob is manual")) == []
        stream.execute(AnnounceWaiting(task_id=a_task(1), reason="bob is held"))
        assert stream.task(1).waiting == "bob is held"

    def test_is_over_when_somebody_else_has_the_task(self) -> None:
        stream = worked(())
        stream.execute(AnnounceWaiting(task_id=a_task(1), reason="bob is manual"))
        stream.patch(1, result_summary="still")
        assert stream.task(1).waiting == "bob is manual"
        stream.patch(1, agent_id=LEAD)
        assert stream.task(1).waiting is None

    def test_is_of_pending_tasks_only(self) -> None:
        stream = worked((), (1,))
        assert stream.execute(AnnounceWaiting(task_id=a_task(2), reason="r")) == []
        assert stream.execute(AnnounceWaiting(task_id=a_task(9), reason="r")) == []


class TestALostRun:
    def test_gives_its_task_back_as_it_was(self) -> None:
        stream = worked((), max_iterations=3)
        run_id = stream.claim(1)
        events = stream.execute(Requeue(task_id=a_task(1), run_id=run_id, reason="crashed", use=USE))
        assert said(events) == [("run_ended", "1"), ("task_status_changed", "1", "PENDING", "requeue")]
        assert events[0].data()["reason"] == events[1].content == "crashed"
        task = stream.task(1)
        assert (task.iteration, task.run_id, task.assignment_id, task.started_at) == (1, None, None, None)
        assert (task.agent_id, task.token_count) == (WORKER, 100)
        assert stream.execute(Requeue(task_id=a_task(1), run_id=run_id, reason="crashed")) == []
        stream.end(1)
        assert stream.statuses == {1: "COMPLETED"}

    def test_gives_its_task_back_blocked_when_what_it_needs_was_taken_back(self) -> None:
        stream = Stream().create()
        stream.add(1, max_iterations=2)
        stream.add(2, 1)
        stream.add(3, 1)
        stream.start()
        stream.end(1)
        run_id = stream.claim(2)
        stream.end(3, error="bad")
        stream.execute(Requeue(task_id=a_task(2), run_id=run_id, reason="crashed"))
        assert stream.statuses[2] == "BLOCKED"


class TestATaskThatCannotBeGiven:
    def test_fails_without_a_retry(self) -> None:
        stream = worked((), (1,), max_iterations=5)
        [moved] = stream.execute(FailTask(task_id=a_task(1), error="no agent"))
        assert said([moved]) == [("task_status_changed", "1", "FAILED", "dispatch")]
        assert (moved.content, moved.data()["fields"]) == ("no agent", {"error_message": "no agent"})
        assert (stream.task(1).completed_at, stream.task(1).duration_ms) == (moved.at, None)
        assert stream.execute(FailTask(task_id=a_task(1), error="no agent")) == []
        assert stream.execute(FailTask(task_id=a_task(2), error="no agent")) == []
        assert stream.execute(FailTask(task_id=a_task(9), error="no agent")) == []
        assert stream.statuses == {1: "FAILED", 2: "BLOCKED"}

    def test_is_left_to_whom_a_person_gave_it_meanwhile(self) -> None:
        stream = worked((), agent_id=WORKER)
        stream.patch(1, agent_id=LEAD)
        assert stream.execute(FailTask(task_id=a_task(1), error="not in the crew", agent_id=WORKER)) == []
        assert stream.execute(FailTask(task_id=a_task(1), error="not in the crew", agent_id=LEAD))

    def test_fails_after_its_claim_with_its_run(self) -> None:
        stream = worked(())
        run_id = stream.claim(1)
        assert stream.execute(FailTask(task_id=a_task(1), error="no sandbox")) == []
        events = stream.execute(FailTask(task_id=a_task(1), error="no sandbox", run_id=run_id))
        assert said(events) == [("run_ended", "1"), ("task_status_changed", "1", "FAILED", "dispatch")]
        assert stream.task(1).run_id is None

    def test_stays_when_its_mission_is_not_worked(self) -> None:
        stream = worked(())
        stream.execute(Edit(status="CANCELLED"))
        assert stream.execute(FailTask(task_id=a_task(1), error="no agent")) == []


def test_a_report_of_progress_is_kept_and_changes_nothing() -> None:
    stream = worked(())
    before = stream.state
    [said_so] = stream.execute(ReportProgress(progress=Progress(3, 1, "paint"), by="agent:ann"))
    assert (said_so.type, said_so.content, said_so.actor) == ("progress", "paint", "agent:ann")
    assert said_so.data() == {"total_subtasks": 3, "completed_subtasks": 1, "depth": 0}
    assert stream.state == before
