"""What people do with a crew mission: make, edit, start, restart, resume, cancel, delete; what is refused, and how."""

from typing import Any
from uuid import UUID

import msgspec
import pytest

from server.agents.budgets import Use
from server.missions.crew import limits
from server.missions.crew.commands import Cancel, Create, Delete, Edit, Restart, Resume, Start
from server.missions.crew.steps import BeginPlanning, EndRun, EndTask, Settle
from server.missions.tasks import AddTask, ReportProgress
from storage.rules import Command, PartRow
from streams.errors import BadRequest, Conflict, MissionstreamError
from tests.unit.crew.stream import CREW, ID, LEAD, RULES, WORKER, Stream, a_run, a_task, folded, refer, said
from tests.unit.crew.test_statuses import MISSION_EDGES, a_mission


def test_a_new_mission_is_planning_and_not_engaged() -> None:
    stream = Stream()
    wish = Create(
        id=ID,
        crew_id=CREW,
        lead_agent_id=LEAD,
        title="build a boat",
        description="of oak",
        workflow_template="standard",
        parent_id=UUID(int=77),
        by="user:1",
    )
    [event] = stream.execute(wish)
    assert (event.type, event.content, event.actor) == ("mission_created", "build a boat", "user:1")
    assert event.data() == {
        "crew_id": str(CREW),
        "lead_agent_id": str(LEAD),
        "cause": "create",
        "description": "of oak",
        "workflow_template": "standard",
        "parent_mission_id": str(UUID(int=77)),
    }
    state = stream.state
    assert (state.status, state.is_engaged, state.total, state.created_by) == ("PLANNING", False, 0, "user:1")
    assert (state.token_count, state.estimated_cost, state.completed_at) == (None, None, None)
    assert set(state.stats.values()) == {0}
    assert state.size == len("build a boat") + len("of oak") + len("standard")
    row = RULES.row(state)
    assert (row.status, row.phase, row.crew_id, row.parent_id) == ("PLANNING", "pending", CREW, UUID(int=77))
    assert row.run_id is None


REFUSALS: list[tuple[str, Command, type[MissionstreamError], str]] = [
    *(
        (status, Start(), BadRequest, f"cannot start mission in {status} state, must be PLANNING")
        for status in MISSION_EDGES
        if status != "PLANNING"
    ),
    *(
        (status, Start(seen="PLANNING"), Conflict, "Mission was already started by another request")
        for status in MISSION_EDGES
        if status != "PLANNING"
    ),
    *(
        (status, Restart(), Conflict, f"cannot restart mission in {status} state")
        for status in ("PLANNING", "IN_PROGRESS", "REVIEW")
    ),
    *(
        (status, Resume(), Conflict, f"can only resume FAILED missions, current status: {status}")
        for status in MISSION_EDGES
        if status != "FAILED"
    ),
    ("FAILED", Resume(), BadRequest, "No failed tasks to resume from"),
    *(
        (status, Delete(), BadRequest, "Only PLANNING or CANCELLED missions can be deleted")
        for status in ("IN_PROGRESS", "REVIEW", "COMPLETED", "FAILED")
    ),
]


@pytest.mark.parametrize(("status", "wish", "kind", "text"), REFUSALS)
def test_what_a_status_does_not_allow_is_refused_in_the_apis_words(
    status: str, wish: Command, kind: type[MissionstreamError], text: str
) -> None:
    stream = a_mission(status)
    before = stream.state
    with pytest.raises(MissionstreamError) as refused:
        stream.execute(wish)
    assert (type(refused.value), refused.value.message) == (kind, text)
    assert stream.state == before


def test_a_mission_without_a_title_is_not_made() -> None:
    with pytest.raises(BadRequest, match=r"^title is required$"):
        Stream().create(title="")


class TestEditing:
    def test_stores_what_is_given_and_leaves_the_rest(self) -> None:
        stream = Stream().create(description="of oak")
        [event] = stream.execute(Edit(title="", plan="1. cut wood"))
        assert (event.type, event.data()) == ("mission_edited", {"fields": {"title": "", "plan": "1. cut wood"}})
        state = stream.state
        assert (state.title, state.description, state.plan) == ("", "of oak", "1. cut wood")
        assert state.updated_at == event.at
        assert state.size == len("of oak") + len("1. cut wood")

    def test_that_changes_nothing_leaves_no_trace(self) -> None:
        stream = Stream().create()
        before = stream.state
        assert stream.execute(Edit()) == []
        assert stream.execute(Edit(title="build a boat")) == []
        assert stream.state == before

    def test_to_in_progress_does_not_engage_and_checks_no_graph(self) -> None:
        stream = Stream().create()
        stream.add(1)
        stream.add(2, 1)
        stream.patch(1, depends_on=refer(2))
        stream.execute(Edit(status="IN_PROGRESS"))
        assert not stream.state.is_worked
        stream.claim(1)
        assert stream.statuses == {1: "BLOCKED", 2: "BLOCKED"}

    def test_back_from_review_engages_again_if_it_was_engaged(self) -> None:
        stream = Stream().create()
        stream.add(1)
        stream.start()
        since = stream.state.engaged_at
        stream.execute(Edit(status="REVIEW"))
        assert (stream.state.is_engaged, stream.state.is_worked) == (True, False)
        [moved] = stream.execute(Edit(status="IN_PROGRESS"))
        assert "is_engaged" not in moved.data()
        assert stream.state.is_worked
        assert stream.state.engaged_at == moved.at != since

    def test_of_the_status_ends_the_leads_run(self) -> None:
        stream = Stream().create()
        stream.start()
        stream.execute(BeginPlanning(run_id=a_run(1), agent_id=LEAD))
        moved, ended = stream.execute(Edit(status="CANCELLED"))
        assert moved.data()["status"] == "CANCELLED"
        assert (ended.type, ended.data()["reason"], ended.data()["purpose"]) == ("run_ended", "cancelled", "plan")
        assert stream.state.run is None
        assert not stream.state.has_planned


class TestStarting:
    def test_engages_and_sets_the_clock(self) -> None:
        stream = Stream().create()
        [moved] = stream.start()
        moves = {"status": "IN_PROGRESS", "phase": "active", "cause": "start", "is_engaged": True}
        assert moved.data() == moves | {"title": stream.state.title}
        assert stream.state.is_worked
        assert stream.state.engaged_at == moved.at

    def test_needs_no_task(self) -> None:
        stream = Stream().create()
        stream.execute(Start(seen="PLANNING"))
        assert stream.state.status == "IN_PROGRESS"

    def test_refuses_a_cycle_and_names_its_path(self) -> None:
        stream = Stream().create()
        for number, title in ((1, "lay keel"), (2, "plank hull"), (3, "step mast")):
            stream.add(number, *range(1, number), title=title)
        stream.patch(1, depends_on=refer(3))
        stream.patch(3, depends_on=refer(1))
        with pytest.raises(BadRequest) as refused:
            stream.start()
        text = "Invalid task DAG: circular dependency detected: 2 tasks involved in cycle: "
        assert refused.value.message.startswith(text)
        path = refused.value.message.removeprefix(text).split(" -> ")
        assert path[0] == path[-1]
        assert set(path) == {"lay keel", "step mast"}
        assert stream.state.status == "PLANNING"


def a_finished_mission(*, last: str = "FAILED") -> Stream:
    """Tasks: 1 COMPLETED; 2 (of 1) FAILED; 3 (of 2) BLOCKED; 4 SKIPPED; 5 (of 1) awaits approval; 6 (of 1) by hand."""
    stream = Stream().create()
    stream.add(1)
    stream.add(2, 1)
    stream.add(3, 2)
    stream.add(4)
    stream.add(5, 1, approval_required=True)
    stream.add(6, 1)
    stream.start()
    stream.end(1, result="cut")
    stream.end(2, error="no saw")
    stream.patch(4, "SKIPPED")
    stream.end(5, result="glued")
    stream.patch(6, "IN_PROGRESS", result_summary="half")
    stream.execute(Edit(status=last))
    assert list(stream.statuses.values()) == [
        "COMPLETED", "FAILED", "BLOCKED", "SKIPPED", "AWAITING_APPROVAL", "IN_PROGRESS",
    ]  # fmt: skip
    return stream


RESET = ("error_message", "result_summary", "started_at", "completed_at", "duration_ms", "assignment_id", "run_id",
         "approval_status", "approved_by", "approved_at", "waiting")  # fmt: skip
KEPT = ("title", "order", "depends_on", "agent_id", "output_path", "token_count", "estimated_cost", "confidence",
        "needs_review", "handoff_context", "evaluation_status", "evaluation_notes", "approval_required",
        "created_at", "number")  # fmt: skip


def assert_set_back(stream: Stream, before: Any, numbers: set[int]) -> None:
    for number in stream.statuses:
        task, old = stream.task(number), before.tasks[a_task(number)]
        if number not in numbers:
            assert task == old
            continue
        assert [getattr(task, name) for name in RESET] == [None] * len(RESET)
        assert [getattr(task, name) for name in KEPT] == [getattr(old, name) for name in KEPT]
        assert task.iteration == old.iteration + 1


@pytest.mark.parametrize("last", ["FAILED", "CANCELLED"])
def test_restart_sets_back_all_that_is_not_completed(last: str) -> None:
    stream = a_finished_mission(last=last)
    before = stream.state
    moved, reset = stream.execute(Restart(by="user:1"))
    assert moved.data() == {"status": "PLANNING", "phase": "pending", "cause": "restart", "is_engaged": False}
    assert (reset.type, reset.data()["cause"], reset.actor) == ("tasks_reset", "restart", "user:1")
    assert len(reset.data()["tasks"]) == stream.state.reset_tasks == 5
    assert_set_back(stream, before, {2, 3, 4, 5, 6})
    assert stream.statuses == {1: "COMPLETED", 2: "PENDING", 3: "BLOCKED", 4: "PENDING", 5: "PENDING", 6: "PENDING"}
    state = stream.state
    assert (state.is_engaged, state.engaged_at, state.completed_at) == (False, None, None)
    assert folded(stream.events) == state
    stream.start()
    assert stream.state.is_worked


def test_restart_of_a_completed_mission_keeps_its_work() -> None:
    stream = Stream().create()
    stream.add(1)
    stream.start()
    stream.end(1, result="cut")
    stream.execute(Settle())
    stream.execute(Edit(status="COMPLETED"))
    assert said(stream.execute(Restart())) == [("mission_status_changed", "PLANNING", "restart")]
    assert stream.task(1).result_summary == "cut"


def test_restart_ends_the_runs_that_still_work() -> None:
    stream = Stream().create()
    stream.add(1)
    stream.start()
    run_id = stream.claim(1)
    stream.execute(Cancel())
    assert stream.task(1).run_id == run_id  # cancelling leaves the tasks as they are
    moved, ended, reset = stream.execute(Restart())
    assert (ended.type, ended.data()["run_id"], ended.data()["reason"]) == ("run_ended", str(run_id), "cancelled")
    assert reset.type == "tasks_reset"
    late = EndTask(task_id=a_task(1), run_id=run_id, outcome="completed", reason="end_turn", result="late")
    assert stream.execute(late) == []


def test_resume_sets_back_failures_and_all_that_waits_for_them_and_keeps_the_rest() -> None:
    stream = a_finished_mission()
    before = stream.state
    *moved, reset = stream.execute(Resume(by="user:1"))
    assert [event.data()["status"] for event in moved] == ["RESUMING", "IN_PROGRESS"]
    assert reset.data()["cause"] == "resume"
    assert_set_back(stream, before, {2, 3, 5})
    assert stream.state.reset_tasks == 3
    assert stream.statuses == {
        1: "COMPLETED", 2: "PENDING", 3: "BLOCKED", 4: "SKIPPED", 5: "PENDING", 6: "IN_PROGRESS",
    }  # fmt: skip
    assert stream.state.is_worked
    assert stream.state.engaged_at == moved[-1].at
    assert stream.state.completed_at is None


def test_resume_sets_back_what_was_completed_downstream_of_a_failure() -> None:
    stream = Stream().create()
    stream.add(1)
    stream.add(2, 1)
    stream.add(3, 2)
    stream.start()
    stream.end(1, error="broken")
    stream.patch(2, "PENDING")
    stream.patch(2, "IN_PROGRESS", "COMPLETED")  # a person went on without
    assert stream.statuses == {1: "FAILED", 2: "COMPLETED", 3: "PENDING"}
    stream.execute(Edit(status="FAILED"))
    stream.execute(Resume())
    assert stream.statuses == {1: "PENDING", 2: "BLOCKED", 3: "BLOCKED"}
    assert stream.state.reset_tasks == 3


def test_resume_engages_a_mission_that_people_worked_before() -> None:
    stream = Stream().create()
    stream.add(1)
    stream.execute(Edit(status="IN_PROGRESS"))
    stream.patch(1, "IN_PROGRESS", "FAILED")
    stream.execute(Edit(status="FAILED"))
    *_, moved, _reset = stream.execute(Resume())
    assert moved.data()["is_engaged"] is True


def test_resume_refuses_a_cycle_and_leaves_the_mission_failed() -> None:
    stream = Stream().create()
    for number in (1, 2, 3):
        stream.add(number)
    stream.start()
    stream.patch(2, depends_on=refer(3))
    stream.patch(3, depends_on=refer(2))
    stream.end(1, error="broken")
    stream.execute(Settle())
    assert stream.state.status == "FAILED"
    with pytest.raises(BadRequest, match=r"^Invalid task DAG: circular dependency detected: 2 tasks involved in cycle"):
        stream.execute(Resume())
    assert stream.state.status == "FAILED"


@pytest.mark.parametrize("status", ["PLANNING", "CANCELLED"])
def test_deleting_goes_to_the_workspaces_stream(status: str) -> None:
    decision = RULES.decide(a_mission(status).state, Delete(by="user:1"))
    [draft] = decision.drafts
    assert decision.deletes
    assert draft.to_workspace
    assert Delete.touches_workspace
    assert (draft.type, draft.metadata) == ("mission_deleted", {"mission_id": str(ID), "kind": "crew"})


def test_cancelling_is_the_only_verb_for_people_of_other_dialects_and_takes_what_they_say() -> None:
    agents = {"create_task": AddTask, "report_progress": ReportProgress}
    assert RULES.commands == {"cancel": Cancel, "end_run": EndRun, **agents}
    stream = a_mission("IN_PROGRESS")
    stream.execute(RULES.commands["cancel"](by="user:1", whole_mission=True))
    assert stream.state.status == "CANCELLED"


def test_what_other_dialects_are_shown() -> None:
    state = a_finished_mission().state
    facts = RULES.facts(state)
    assert [task.status for task in facts.tasks] == ["completed", "failed", "pending", "failed", "running", "running"]
    assert facts.progress is not None
    assert (facts.progress.total_subtasks, facts.progress.completed_subtasks) == (6, 1)
    header, tasks = RULES.split(state)
    assert RULES.facts(header).tasks == ()
    assert RULES.facts(header).progress == facts.progress
    assert RULES.row(header) == RULES.row(state)
    assert len(tasks) == 6
    assert RULES.facts(Stream().create().state).progress is None


def test_the_missions_document_holds_no_task_and_nothing_that_follows_from_tasks() -> None:
    state = a_finished_mission().state
    header, tasks = RULES.split(state)
    document = msgspec.json.decode(msgspec.json.encode(header))
    assert tasks is state.tasks
    assert "tasks" not in document
    assert "graph" not in document
    assert document["stats"]["COMPLETED"] == 1
    joined = RULES.join(header, dict(reversed(tasks.items())))
    assert joined == state
    assert list(joined.tasks) == list(state.tasks)  # as they were made


def test_a_tasks_row_is_its_columns() -> None:
    stream = Stream().create()
    stream.add(1)
    stream.start()
    run_id = stream.claim(1)
    row = RULES.part_row(stream.task(1))
    task = stream.task(1)
    assert row == PartRow(
        status="IN_PROGRESS",
        number=1,
        created_at=task.created_at,
        updated_at=task.updated_at,
        agent_id=WORKER,
        run_id=run_id,
    )
    stream.end(1, claims=False, use=Use(input=7, cost_micros=50_000, source="priced"))
    row = RULES.part_row(stream.task(1))
    assert (row.token_count, row.estimated_cost, row.completed_at) == (7, 0.05, stream.task(1).completed_at)


def test_texts_are_bounded_and_the_refusal_says_what_to_do() -> None:
    text = "x" * (limits.MAX_TEXT_BYTES + 1)
    for field in ("title", "description", "plan"):
        with pytest.raises(BadRequest, match=rf"^{field} has 65537 bytes, at most 65536 are kept; shorten it"):
            Stream().create(**{field: text})
        with pytest.raises(BadRequest, match=rf"^{field} has 65537 bytes"):
            Stream().create().execute(Edit(**{field: text}))
    stream = Stream().create(description="é" * (limits.MAX_TEXT_BYTES // 2))  # exactly as many bytes as are kept
    assert stream.state.size == limits.MAX_TEXT_BYTES + len("build a boat")


def test_a_mission_that_is_full_takes_no_more_text_but_a_shorter_one() -> None:
    stream = Stream().create(plan="x" * 100)
    stream.current = msgspec.structs.replace(stream.state, size=limits.MAX_MISSION_BYTES)
    with pytest.raises(Conflict, match=r"^the texts of a mission have at most 8388608 bytes; shorten"):
        stream.execute(Edit(plan="x" * 101))
    stream.current = msgspec.structs.replace(stream.state, size=limits.MAX_MISSION_BYTES + 10)
    stream.execute(Edit(plan="x" * 99))
    assert stream.state.size == limits.MAX_MISSION_BYTES + 9
