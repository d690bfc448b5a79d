"""Runs whose process died, and tasks that a LEAD plans: the verbs that a crew mission takes from the server itself."""

import pytest

from server.agents.budgets import Use
from server.missions.crew import CrewRules
from server.missions.crew.commands import Edit
from server.missions.crew.steps import BeginPlanning, EndPlanning, EndRun, Settle
from server.missions.tasks import AddTask
from streams.errors import BadRequest, Conflict
from tests.unit.crew.stream import LEAD, WORKER, Stream, a_run, a_task, folded, said, stored_and_read

USE = Use(input=5, output=2, cost_micros=100, source="reported")


def test_a_lost_run_of_a_task_keeps_its_words_and_its_use_and_begins_again() -> None:
    stream = Stream().create()
    stream.add(1)
    stream.start()
    run_id = stream.claim(1)
    events = stream.execute(EndRun(run_id=run_id, reason="crashed", text="I was", summary="restarted", use=USE))
    assert [event.type for event in events] == ["assistant_message", "run_ended", "task_status_changed"]
    assert events[0].data() == {"success": False, "run_id": str(run_id), "task_id": str(a_task(1))}
    assert (events[1].data()["reason"], events[1].data()["task_id"]) == ("crashed", str(a_task(1)))
    task = stream.task(1)
    assert (task.status, task.run_id, task.iteration, task.token_count) == ("PENDING", None, 1, 7)
    assert stream.execute(EndRun(run_id=run_id, reason="crashed")) == []


def test_a_lost_run_of_the_lead_leaves_the_mission_unplanned() -> None:
    stream = Stream().create()
    stream.start()
    stream.execute(BeginPlanning(run_id=a_run(1), agent_id=LEAD))
    assert CrewRules().row(stream.state).run_id == a_run(1)
    [ended] = stream.execute(EndRun(run_id=a_run(1), reason="crashed"))
    assert ended.data()["purpose"] == "plan"
    assert (stream.state.run, stream.state.has_planned) == (None, False)
    assert CrewRules().row(stream.state).run_id is None


def test_a_run_that_nobody_knows_is_no_news() -> None:
    assert Stream().create().execute(EndRun(run_id=a_run(1), reason="crashed", text="words")) == []


class TestPlanning:
    def planned(self) -> Stream:
        stream = Stream().create()
        stream.start()
        stream.execute(BeginPlanning(run_id=a_run(1), agent_id=LEAD))
        return stream

    def wish(self, number: int, title: str, *needs: str, run: int | None = 1) -> AddTask:
        return AddTask(
            task_id=str(a_task(number)),
            title=title,
            depends_on=needs,
            agent_id=WORKER,
            run_id=None if run is None else a_run(run),
            by="agent:demo",
        )

    def test_names_dependencies_by_title_or_id(self) -> None:
        stream = self.planned()
        stream.execute(self.wish(1, "The Hull"))
        stream.execute(self.wish(2, "mast", " the hull", str(a_task(1))))
        assert stream.task(2).depends_on == (a_task(1), a_task(1))
        assert (stream.task(2).status, stream.task(2).agent_id) == ("BLOCKED", WORKER)
        stream.execute(EndPlanning(run_id=a_run(1), reason="end_turn"))
        assert stream.state.total == 2

    def test_is_counted_for_its_run_and_those_of_people_are_not(self) -> None:
        stream = self.planned()
        stream.add(1)
        stream.execute(self.wish(2, "mast"))
        assert stream.state.run is not None
        assert stream.state.run.made == 1
        assert folded(stream.events) == stream.state == stored_and_read(stream.state)
        stream.execute(EndPlanning(run_id=a_run(1), reason="shutdown"))
        stream.execute(BeginPlanning(run_id=a_run(7), agent_id=LEAD))
        assert stream.state.run.made == 0

    def test_refuses_what_it_does_not_know(self) -> None:
        with pytest.raises(BadRequest, match=r"^dependency task not found: keel$"):
            self.planned().execute(self.wish(1, "hull", "keel"))

    @pytest.mark.parametrize("run", [None, 2], ids=["people", "another agent"])
    def test_is_the_leads_alone(self, run: int | None) -> None:
        with pytest.raises(Conflict, match=r"made by its LEAD while it plans, and by people through /api/v1$"):
            self.planned().execute(self.wish(1, "hull", run=run))


def test_a_mission_that_a_person_sent_back_is_not_over_before_a_task_changes() -> None:
    stream = Stream().create()
    stream.add(1)
    stream.start()
    stream.end(1)
    stream.execute(Settle())
    stream.execute(Edit(status="IN_PROGRESS"))
    assert stream.execute(Settle()) == []
    stream.add(2)
    stream.end(2)
    assert said(stream.execute(Settle()))
    assert stream.state.status == "REVIEW"
