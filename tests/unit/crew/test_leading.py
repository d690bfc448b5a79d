"""The LEAD's planning and review, and how a mission ends: settled, deadlocked, timed out, reworked, accepted."""

from typing import Any
from uuid import UUID

import pytest

from server.missions.crew import limits
from server.missions.crew.commands import Cancel, CreateTask, Edit, NewTask, Restart
from server.missions.crew.steps import BeginPlanning, BeginReview, EndPlanning, EndReview, EndRun, Settle, TimeOut
from streams.event import Event
from tests.unit.crew.stream import LEAD, Stream, a_run, a_task, folded, said, stored_and_read
from tests.unit.crew.test_working import worked

PLAN = BeginPlanning(run_id=a_run(1), agent_id=LEAD)
REVIEW = BeginReview(run_id=a_run(2), agent_id=LEAD)


def planning() -> Stream:
    stream = worked()
    stream.execute(PLAN)
    return stream


def planned(stream: Stream, **fields: Any) -> list[Event]:
    return stream.execute(EndPlanning(run_id=a_run(1), **{"reason": "end_turn", **fields}))


class TestPlanning:
    def test_begins_once_in_a_worked_mission_without_tasks(self) -> None:
        stream = worked()
        [began] = stream.execute(PLAN)
        assert began.data() == {"run_id": str(a_run(1)), "purpose": "plan", "agent_id": str(LEAD)}
        run = stream.state.run
        assert run is not None
        assert (run.id, run.purpose, run.agent_id, run.started_at) == (a_run(1), "plan", LEAD, began.at)
        assert run.sequence == began.sequence
        assert stream.execute(PLAN) == []

    def test_begins_nowhere_else(self) -> None:
        people = Stream().create()
        people.execute(Edit(status="IN_PROGRESS"))
        done = planning()
        planned(done, tasks=(NewTask(id=a_task(1), title="t"),))
        for stream in (Stream().create(), people, worked(()), done):
            before = stream.state
            assert stream.execute(PLAN) == []
            assert stream.state == before

    def test_ends_with_tasks_in_their_order(self) -> None:
        stream = planning()
        tasks = (
            NewTask(id=a_task(1), title="cut", description="oak", order=1),
            NewTask(id=a_task(2), title="", depends_on=(a_task(1), a_task(3), a_task(1)), agent_id=LEAD),
            NewTask(id=a_task(3), title="x" * 600, depends_on=(a_task(3), a_task(2)), max_iterations=2),
        )
        events = planned(stream, tasks=tasks, session_id="s1")
        assert said(events) == [
            ("run_ended",),
            ("task_created", "1", "PENDING", "plan"),
            ("task_created", "2", "BLOCKED", "plan"),
            ("task_created", "3", "BLOCKED", "plan"),
        ]
        assert events[0].data()["session_id"] == "s1"
        assert stream.task(2).title == "untitled"
        assert stream.task(2).depends_on == (a_task(1),)  # not on what comes later, and once
        assert stream.task(3).depends_on == (a_task(2),)
        assert stream.task(3).title == "x" * 500 + "\n… [cut: 500 of 600 bytes]"
        assert (stream.state.run, stream.state.has_planned, stream.state.status) == (None, True, "IN_PROGRESS")
        assert folded(stream.events) == stream.state == stored_and_read(stream.state)

    def test_may_have_made_its_tasks_by_tool(self) -> None:
        stream = planning()
        stream.execute(CreateTask(id=a_task(1), title="cut", cause="plan"))
        stream.patch(1, "SKIPPED")
        assert stream.execute(Settle()) == []  # there may be more to come
        assert said(planned(stream)) == [("run_ended",)]
        assert (stream.state.status, stream.state.has_planned) == ("IN_PROGRESS", True)

    def test_without_a_task_leaves_the_rest_to_people(self) -> None:
        stream = planning()
        _, moved = planned(stream)
        assert (moved.data()["status"], moved.data()["cause"]) == ("REVIEW", "engine")
        stream.execute(Edit(status="IN_PROGRESS"))
        assert stream.execute(PLAN) == []
        assert stream.execute(Settle()) == []
        stream.add(1)
        assert stream.state.ready

    def test_that_failed_fails_the_mission_and_says_why(self) -> None:
        stream = planning()
        _, moved = planned(stream, reason="failed", error="no key")
        assert (moved.data()["status"], moved.content) == ("FAILED", "planning failed: no key")
        stream.execute(Restart())
        stream.start()
        assert stream.execute(PLAN)  # planned anew

    @pytest.mark.parametrize("reason", ["crashed", "shutdown"])
    def test_that_was_lost_is_begun_again(self, reason: str) -> None:
        stream = planning()
        tasks = (NewTask(id=a_task(1), title="t"),)
        assert said(planned(stream, reason=reason, tasks=tasks, error="gone")) == [("run_ended",)]
        assert (stream.state.status, stream.state.has_planned, stream.state.total) == ("IN_PROGRESS", False, 0)
        assert stream.execute(BeginPlanning(run_id=a_run(7), agent_id=LEAD))

    def test_that_was_lost_with_half_a_plan_is_begun_again(self) -> None:
        stream = planning()
        stream.execute(CreateTask(id=a_task(1), title="cut", cause="plan"))
        stream.execute(EndRun(run_id=a_run(1), reason="crashed"))
        assert stream.state.is_half_planned
        assert folded(stream.events) == stream.state == stored_and_read(stream.state)
        assert stream.execute(BeginPlanning(run_id=a_run(7), agent_id=LEAD))
        stream.execute(EndPlanning(run_id=a_run(7), reason="end_turn", tasks=(NewTask(id=a_task(2), title="t"),)))
        assert (stream.state.is_half_planned, stream.state.total) == (False, 2)
        assert stream.execute(BeginPlanning(run_id=a_run(8), agent_id=LEAD)) == []

    def test_that_a_person_ended_leaves_what_is_there_for_the_whole(self) -> None:
        stream = planning()
        stream.execute(CreateTask(id=a_task(1), title="cut", cause="plan"))
        stream.execute(Edit(status="REVIEW"))
        stream.execute(Edit(status="IN_PROGRESS"))
        assert stream.state.is_half_planned is False
        assert stream.execute(BeginPlanning(run_id=a_run(7), agent_id=LEAD)) == []

    def test_of_a_run_that_is_not_the_missions_is_ignored(self) -> None:
        stream = planning()
        stream.execute(Cancel())
        assert planned(stream, tasks=(NewTask(id=a_task(1), title="t"),)) == []
        assert stream.execute(EndReview(run_id=a_run(1), reason="end_turn", verdict="accept")) == []
        assert stream.state.total == 0

    def test_adds_no_more_than_there_is_room_for(self) -> None:
        stream = planning()
        count = limits.MAX_MISSION_BYTES // limits.MAX_RESULT_BYTES + 5
        tasks = tuple(NewTask(id=UUID(int=n), title="t", description="d" * 9_000) for n in range(1, count))
        planned(stream, tasks=tasks)
        assert 1_000 < stream.state.total < count - 5
        assert stream.state.size <= limits.MAX_MISSION_BYTES


class TestSettling:
    @pytest.mark.parametrize(
        ("statuses", "status"),
        [
            (("COMPLETED", "COMPLETED"), "REVIEW"),
            (("COMPLETED", "SKIPPED"), "REVIEW"),
            (("COMPLETED", "FAILED"), "FAILED"),
            (("SKIPPED", "FAILED"), "FAILED"),
            (("COMPLETED", "IN_PROGRESS"), None),
            (("FAILED", "PENDING"), None),
            (("FAILED", "AWAITING_APPROVAL"), None),
        ],
    )
    def test_waits_until_every_task_has_ended(self, statuses: tuple[str, str], status: str | None) -> None:
        stream = Stream().create()
        for number, wanted in enumerate(statuses, 1):
            stream.add(number, approval_required=wanted == "AWAITING_APPROVAL")
        stream.start()
        for number, wanted in enumerate(statuses, 1):
            if wanted == "AWAITING_APPROVAL":
                stream.end(number)
            elif wanted != "PENDING":
                stream.patch(number, *(["IN_PROGRESS"] if wanted != "SKIPPED" else []))
                stream.patch(number, wanted) if wanted != "IN_PROGRESS" else None
        events = stream.execute(Settle())
        if status is None:
            assert events == []
            return
        [moved] = events
        assert moved.data() == {
            "status": status,
            "phase": moved.data()["phase"],
            "cause": "engine",
            "title": stream.state.title,
        }
        assert moved.content == ("all tasks are done" if status == "REVIEW" else "1 of 2 tasks failed")
        assert stream.state.completed_at == moved.at
        assert stream.execute(Settle()) == []

    @pytest.mark.parametrize("lost", ["FAILED", "SKIPPED"])
    def test_fails_a_mission_in_which_nothing_can_go_on(self, lost: str) -> None:
        stream = worked((), (1,), (2,))
        stream.patch(1, *(["IN_PROGRESS"] if lost == "FAILED" else []), lost)
        [moved] = stream.execute(Settle())
        assert (moved.data()["status"], moved.data()["cause"]) == ("FAILED", "engine")
        assert moved.content == "2 of 3 tasks wait for tasks that will not be completed"
        assert stream.statuses == {1: lost, 2: "BLOCKED", 3: "BLOCKED"}

    def test_leaves_time_to_work_by_hand_what_a_person_made_pending(self) -> None:
        stream = worked((), (1,), (2,), (1,))
        stream.patch(2, "PENDING")
        stream.patch(1, "IN_PROGRESS", "FAILED")
        assert stream.execute(Settle()) == []
        stream.patch(2, "IN_PROGRESS")
        assert stream.execute(Settle()) == []
        stream.patch(2, "COMPLETED")
        assert stream.statuses == {1: "FAILED", 2: "COMPLETED", 3: "PENDING", 4: "BLOCKED"}
        stream.patch(3, "SKIPPED")
        [moved] = stream.execute(Settle())
        assert (moved.data()["status"], moved.data()["cause"]) == ("FAILED", "engine")
        assert moved.content == "1 of 4 tasks wait for tasks that will not be completed"

    def test_does_nothing_to_what_people_work_and_to_what_is_empty(self) -> None:
        people = Stream().create()
        people.add(1)
        people.execute(Edit(status="IN_PROGRESS"))
        people.patch(1, "SKIPPED")
        for stream in (people, worked(), Stream().create()):
            assert stream.execute(Settle()) == []


class TestATimeOut:
    def test_fails_the_mission_and_what_awaits_an_approval(self) -> None:
        stream = worked((), (), (), (3,), approval_required=True)
        stream.end(1)
        stream.end(2)
        run_id = stream.claim(3)
        since = stream.state.engaged_at
        assert since is not None
        events = stream.execute(TimeOut(engaged_at=since))
        assert said(events) == [
            ("mission_status_changed", "FAILED", "timeout"),
            ("task_status_changed", "1", "FAILED", "timeout"),
            ("task_status_changed", "2", "FAILED", "timeout"),
        ]
        assert {event.content for event in events} == {"mission timed out"}
        assert stream.statuses == {1: "FAILED", 2: "FAILED", 3: "IN_PROGRESS", 4: "BLOCKED"}
        assert stream.task(1).error_message == "mission timed out"
        assert stream.task(3).run_id == run_id
        assert stream.state.completed_at == events[0].at

    def test_ends_the_leads_run(self) -> None:
        stream = planning()
        assert stream.state.engaged_at is not None
        assert said(stream.execute(TimeOut(engaged_at=stream.state.engaged_at)))[1] == ("run_ended",)
        assert stream.state.run is None

    def test_of_an_earlier_stint_is_ignored(self) -> None:
        stream = worked(())
        since = stream.state.engaged_at
        assert since is not None
        stream.execute(Edit(status="REVIEW"))
        assert stream.execute(TimeOut(engaged_at=since)) == []
        stream.execute(Edit(status="IN_PROGRESS"))
        assert stream.execute(TimeOut(engaged_at=since)) == []


def reviewing(*needs: tuple[int, ...]) -> Stream:
    """All tasks are done, and the LEAD reviews."""
    stream = worked(*needs)
    for number in range(1, len(needs) + 1):
        stream.end(number, result="done")
    stream.execute(Settle())
    stream.execute(REVIEW)
    return stream


def reviewed(stream: Stream, **fields: Any) -> list[Event]:
    return stream.execute(EndReview(run_id=a_run(2), **{"reason": "end_turn", **fields}))


class TestAReview:
    def test_begins_once_in_an_engaged_mission_in_review(self) -> None:
        stream = reviewing(())
        assert stream.state.run is not None
        assert stream.state.run.purpose == "review"
        assert stream.execute(REVIEW) == []
        people = Stream().create()
        people.execute(Edit(status="IN_PROGRESS"))
        people.execute(Edit(status="REVIEW"))
        for stream in (people, worked(())):
            assert stream.execute(REVIEW) == []

    def test_does_not_begin_while_a_task_has_not_ended(self) -> None:
        stream = worked((), ())
        stream.end(1)
        stream.claim(2)
        stream.execute(Edit(status="REVIEW"))
        assert stream.execute(REVIEW) == []
        stream.patch(2, "COMPLETED")
        assert stream.execute(REVIEW)

    @pytest.mark.parametrize("verdict", ["accept", "none"])
    def test_leaves_the_mission_to_people(self, verdict: str) -> None:
        stream = reviewing(())
        ended, recorded = reviewed(stream, verdict=verdict, notes="tight", by="agent:lead")
        assert (ended.type, recorded.type, recorded.actor) == ("run_ended", "review_recorded", "agent:lead")
        expected = {"verdict": verdict, "notes": "tight", "by": str(LEAD), "is_automatic": False}
        assert recorded.data() == expected
        review = stream.state.review
        assert review is not None
        assert (review.verdict, review.notes, review.by, review.at) == (verdict, "tight", LEAD, recorded.at)
        assert stream.state.status == "REVIEW"
        assert stream.execute(BeginReview(run_id=a_run(8), agent_id=LEAD)) == []
        stream.execute(Edit(status="COMPLETED"))
        assert stream.state.review == review

    def test_that_accepts_completes_where_the_crew_lets_it(self) -> None:
        stream = reviewing(())
        *_, recorded, moved = reviewed(stream, verdict="accept", auto_accept=True)
        assert recorded.data()["is_automatic"] is True
        assert (moved.data()["status"], moved.data()["cause"]) == ("COMPLETED", "review")
        assert stream.state.completed_at == moved.at

    def test_that_sends_back_takes_back_tasks_and_what_was_built_on_them_and_adds_new_ones(self) -> None:
        stream = reviewing((), (1,), (), (2, 3))
        new = (
            NewTask(id=a_task(5), title="paint", depends_on=(a_task(3),)),
            NewTask(id=a_task(6), title="polish", depends_on=(a_task(2), a_task(9))),
            NewTask(id=a_task(6), title="the same once more"),
        )
        events = reviewed(stream, verdict="rework", notes="leaks", reset=(a_task(2), a_task(9)), tasks=new)
        assert said(events) == [
            ("run_ended",),
            ("review_recorded",),
            ("mission_status_changed", "IN_PROGRESS", "review"),
            ("tasks_reset", "rework"),
            ("task_created", "5", "PENDING", "rework"),
            ("task_created", "6", "BLOCKED", "rework"),
        ]
        assert stream.statuses == {
            1: "COMPLETED", 2: "PENDING", 3: "COMPLETED", 4: "BLOCKED", 5: "PENDING", 6: "BLOCKED",
        }  # fmt: skip
        assert [stream.task(number).iteration for number in (1, 2, 3, 4)] == [1, 2, 1, 2]
        assert (stream.state.is_worked, stream.state.reworks, stream.state.completed_at) == (True, 1, None)
        assert stream.state.engaged_at == events[2].at
        assert folded(stream.events) == stream.state == stored_and_read(stream.state)
        assert stream.task(6).title == "polish"
        for number in (2, 5, 4, 6):
            stream.end(number)
        stream.execute(Settle())
        assert stream.state.review is None
        assert stream.execute(REVIEW)

    def test_that_names_nothing_to_do_again_leaves_the_mission_to_people(self) -> None:
        stream = reviewing(())
        events = reviewed(stream, verdict="rework", reset=(a_task(9),))
        assert [event.type for event in events] == ["run_ended", "review_recorded"]
        assert events[1].data()["is_automatic"] is False
        assert stream.state.status == "REVIEW"

    def test_sends_back_a_bounded_number_of_times_until_people_do(self) -> None:
        stream = reviewing(())
        for turn in range(limits.MAX_REWORKS):
            reviewed(stream, verdict="rework", reset=(a_task(1),))
            assert stream.state.reworks == turn + 1
            stream.end(1)
            stream.execute(Settle())
            stream.execute(REVIEW)
        reviewed(stream, verdict="rework", reset=(a_task(1),))
        assert (stream.state.status, stream.statuses) == ("REVIEW", {1: "COMPLETED"})
        stream.execute(Edit(status="IN_PROGRESS"))
        assert stream.state.reworks == 0

    @pytest.mark.parametrize("reason", ["crashed", "shutdown"])
    def test_that_was_lost_is_begun_again(self, reason: str) -> None:
        stream = reviewing(())
        assert [event.type for event in reviewed(stream, reason=reason, verdict="accept")] == ["run_ended"]
        assert stream.state.review is None
        assert stream.execute(BeginReview(run_id=a_run(8), agent_id=LEAD))

    def test_that_a_person_was_quicker_than_is_ignored(self) -> None:
        stream = reviewing(())
        stream.execute(Edit(status="COMPLETED"))
        assert stream.state.run is None
        assert reviewed(stream, verdict="rework", reset=(a_task(1),)) == []
        assert stream.state.status == "COMPLETED"

    def test_keeps_the_beginning_of_long_notes(self) -> None:
        stream = reviewing(())
        reviewed(stream, verdict="accept", notes="n" * 9_000)
        assert stream.state.review is not None
        assert stream.state.review.notes == "n" * 8_000 + "\n… [cut: 8000 of 9000 bytes]"
