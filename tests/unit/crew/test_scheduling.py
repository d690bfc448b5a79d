"""What the engine does next: by tables, and played against the rules until nothing is left to do."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.missions.crew import Mission
from server.missions.crew.commands import Edit
from server.missions.crew.steps import (
    AnnounceUnplanned,
    AnnounceWaiting,
    BeginPlanning,
    BeginReview,
    Claim,
    EndPlanning,
    EndTask,
    FailTask,
    Settle,
    TimeOut,
)
from server.runs.crew.breaker import THRESHOLD, Breaker
from server.runs.crew.roster import Roster, Worker
from server.runs.crew.scheduling import NO_LEAD, NOBODY, NOT_IN_CREW, Next, begins, least_loaded, next_steps
from storage.rules import Command
from tests.unit.crew.stream import LEAD, WORKER, Stream, a_run, a_task, folded, stored_and_read
from tests.unit.numbering import AT

OTHER, HAND, GONE = (UUID(int=number) for number in range(50, 53))
_BY_HAND = "Hand's tasks are done by people"


def a_worker(identity: UUID, name: str, **fields: Any) -> Worker:
    return Worker(**{"id": identity, "name": name, "slug": name.lower(), "backend": "demo", **fields})


THE_LEAD = a_worker(LEAD, "Lead", is_lead=True)
ANN, BOB = a_worker(WORKER, "Ann"), a_worker(OTHER, "Bob")
BY_HAND = a_worker(HAND, "Hand", backend=None, manual=_BY_HAND)


def a_roster(*workers: Worker, **fields: Any) -> Roster:
    return Roster(agents={worker.id: worker for worker in workers or (THE_LEAD, ANN, BOB)}, **fields)


def steps(
    state: Mission,
    roster: Roster | None = None,
    *,
    slots: int = 9,
    seconds: float = 1,
    tripped: Callable[[UUID], str | None] = lambda agent_id: None,
) -> Next:
    """The next steps `seconds` after the mission was engaged."""
    now = (state.engaged_at or AT) + timedelta(seconds=seconds)
    return next_steps(state, roster or a_roster(), now=now, slots=slots, new_id=uuid4, tripped=tripped)


def started(*tasks: tuple[int, tuple[int, ...]], **fields: Any) -> Stream:
    stream = Stream().create()
    for number, needs in tasks:
        stream.add(number, *needs, **fields)
    stream.start()
    return stream


def claimed(todo: Next) -> list[tuple[int, UUID]]:
    return [(step.task_id.int - 1_000, step.agent_id) for step in todo.commands if isinstance(step, Claim)]


def types(todo: Next) -> list[type[Command]]:
    return [type(step) for step in todo.commands]


class TestPlanning:
    def test_a_mission_without_tasks_is_planned_by_its_lead(self) -> None:
        [begin] = steps(started().state).commands
        assert isinstance(begin, BeginPlanning)
        assert begin.agent_id == LEAD

    @pytest.mark.parametrize(
        "roster",
        [
            a_roster(a_worker(LEAD, "Lead", is_lead=True, is_passive=True), ANN),
            a_roster(a_worker(LEAD, "Lead", is_lead=True, is_passive=True, backend=None), ANN),
        ],
        ids=["passive", "passive and manual"],
    )
    def test_a_passive_lead_leaves_it_to_people(self, roster: Roster) -> None:
        assert steps(started().state, roster).commands == ()

    @pytest.mark.parametrize(
        ("roster", "reason"),
        [
            (a_roster(a_worker(LEAD, "Lead", is_lead=True, backend=None, manual=_BY_HAND), ANN), _BY_HAND),
            (a_roster(ANN), NO_LEAD),
        ],
        ids=["manual", "gone"],
    )
    def test_that_nobody_plans_is_said_once(self, roster: Roster, reason: str) -> None:
        stream = started()
        [step] = steps(stream.state, roster).commands
        assert isinstance(step, AnnounceUnplanned)
        [told] = stream.execute(step)
        assert (told.type, told.content) == ("mission_waiting", reason)
        assert stream.execute(step) == []
        assert steps(stream.state, roster).commands == ()
        assert folded(stream.events) == stream.state == stored_and_read(stream.state)
        [begin] = steps(stream.state).commands
        assert stream.execute(begin)
        assert stream.state.waiting is None

    @pytest.mark.parametrize("others", [(), (a_worker(LEAD, "Old"),)], ids=["deleted", "no LEAD any more"])
    def test_the_crews_new_lead_takes_it_up(self, others: tuple[Worker, ...]) -> None:
        [begin] = steps(started().state, a_roster(*others, ANN, a_worker(OTHER, "New", is_lead=True))).commands
        assert isinstance(begin, BeginPlanning)
        assert begin.agent_id == OTHER

    def test_it_is_planned_once_and_nothing_else_happens_meanwhile(self) -> None:
        stream = started()
        stream.execute(BeginPlanning(run_id=a_run(1), agent_id=LEAD))
        stream.add(1)
        assert steps(stream.state).commands == ()
        stream.execute(EndPlanning(run_id=a_run(1), reason="end_turn"))
        assert claimed(steps(stream.state)) == [(1, WORKER)]

    def test_without_a_slot_it_waits_for_one(self) -> None:
        assert steps(started().state, slots=0)[:2] == ((), True)

    def test_half_a_plan_is_not_worked_but_planned_again(self) -> None:
        stream = started()
        stream.execute(BeginPlanning(run_id=a_run(1), agent_id=LEAD))
        stream.add(1, cause="plan")
        stream.execute(EndPlanning(run_id=a_run(1), reason="shutdown"))
        assert types(steps(stream.state)) == [BeginPlanning]
        passive = a_worker(LEAD, "Lead", is_lead=True, is_passive=True)
        assert types(steps(stream.state, a_roster(passive, ANN))) == [Claim]


class TestTasks:
    def test_are_begun_in_their_order_up_to_the_crews_limit(self) -> None:
        stream = Stream().create()
        for number, order in ((1, 2), (2, 1), (3, 1), (4, 0)):
            stream.add(number, order=order, agent_id=WORKER)
        stream.start()
        todo = steps(stream.state, a_roster(max_parallel_tasks=3))
        assert [number for number, _ in claimed(todo)] == [4, 2, 3]
        assert todo.is_starved is False

    def test_those_that_run_count(self) -> None:
        stream = started((1, ()), (2, ()), (3, ()))
        stream.claim(1)
        assert len(claimed(steps(stream.state, a_roster(max_parallel_tasks=2)))) == 1

    def test_what_people_work_on_takes_no_place(self) -> None:
        stream = started((1, ()), (2, ()))
        stream.patch(1, "IN_PROGRESS")
        assert len(claimed(steps(stream.state, a_roster(max_parallel_tasks=1)))) == 1

    @pytest.mark.parametrize(("slots", "begun", "is_starved"), [(0, 0, True), (1, 1, True), (2, 2, False)])
    def test_the_servers_slots_bound_them_too(self, slots: int, begun: int, is_starved: bool) -> None:
        todo = steps(started((1, ()), (2, ())).state, slots=slots)
        assert (len(claimed(todo)), todo.is_starved) == (begun, is_starved)

    def test_those_that_wait_for_others_are_left_alone(self) -> None:
        assert claimed(steps(started((1, ()), (2, (1,))).state)) == [(1, WORKER)]

    def test_go_to_whoever_has_fewest_of_the_mission_by_name_where_even(self) -> None:
        stream = Stream().create()
        stream.add(1, agent_id=WORKER)
        for number in (2, 3, 4):
            stream.add(number)
        stream.start()
        assert claimed(steps(stream.state, a_roster(max_parallel_tasks=9))) == [
            (1, WORKER), (2, OTHER), (3, WORKER), (4, OTHER),
        ]  # fmt: skip

    def test_the_lead_does_what_nobody_else_can(self) -> None:
        assert claimed(steps(started((1, ())).state, a_roster(THE_LEAD))) == [(1, LEAD)]

    def test_an_agent_that_works_comes_before_people(self) -> None:
        assert least_loaded(a_roster(BY_HAND, ANN), {WORKER: 9}) == ANN
        assert least_loaded(a_roster(BY_HAND, THE_LEAD), {}) == THE_LEAD
        assert least_loaded(a_roster(BY_HAND), {}) == BY_HAND

    def test_nobody_at_all_fails_it(self) -> None:
        [step] = steps(started((1, ())).state, Roster(agents={})).commands
        assert step == FailTask(task_id=a_task(1), error=NOBODY)

    def test_somebody_of_another_crew_fails_it(self) -> None:
        [step] = steps(started((1, ()), agent_id=GONE).state).commands
        assert step == FailTask(task_id=a_task(1), error=NOT_IN_CREW, agent_id=GONE)

    def test_manual_ones_are_announced_once_and_again_for_another_reason(self) -> None:
        stream = started((1, ()), agent_id=HAND)
        [step] = steps(stream.state, a_roster(BY_HAND)).commands
        assert step == AnnounceWaiting(task_id=a_task(1), reason=_BY_HAND, agent_id=HAND)
        stream.execute(step)
        assert steps(stream.state, a_roster(BY_HAND)).commands == ()
        changed = a_worker(HAND, "Hand", backend=None, manual="not installed")
        assert types(steps(stream.state, a_roster(changed))) == [AnnounceWaiting]

    def test_an_agent_that_the_breaker_stopped_fails_its_tasks_and_those_alone(self) -> None:
        stream = Stream().create()
        stream.add(1, agent_id=WORKER)
        stream.add(2, agent_id=OTHER)
        stream.start()
        todo = steps(stream.state, tripped=lambda agent_id: "broken" if agent_id == WORKER else None)
        assert types(todo) == [FailTask, Claim]


class TestReview:
    def reviewed(self) -> Stream:
        stream = started((1, ()))
        stream.end(1)
        stream.execute(Settle())
        return stream

    def test_the_lead_reviews_once(self) -> None:
        stream = self.reviewed()
        [begin] = steps(stream.state).commands
        assert isinstance(begin, BeginReview)
        stream.execute(begin)
        assert steps(stream.state).commands == ()

    def test_a_lead_that_does_not_lead_leaves_it_to_people(self) -> None:
        assert steps(self.reviewed().state, a_roster(ANN)).commands == ()

    @pytest.mark.parametrize("status", ["PENDING", "IN_PROGRESS", "AWAITING_APPROVAL"])
    def test_what_a_person_stopped_in_mid_work_is_not_reviewed(self, status: str) -> None:
        stream = started((1, ()), approval_required=True)
        if status != "PENDING":
            stream.claim(1)
        if status == "AWAITING_APPROVAL":
            stream.end(1, claims=False)
        stream.execute(Edit(status="REVIEW"))
        assert stream.task(1).status == status
        assert steps(stream.state) == Next()

    def test_nothing_done_is_nothing_to_review(self) -> None:
        stream = started()
        stream.execute(Edit(status="REVIEW"))
        assert steps(stream.state).commands == ()

    def test_without_a_slot_it_waits_for_one(self) -> None:
        assert steps(self.reviewed().state, slots=0)[:2] == ((), True)


class TestTime:
    def test_is_up_after_the_crews_time_and_not_before(self) -> None:
        stream = started((1, ()))
        roster = a_roster(timeout_seconds=10)
        assert types(steps(stream.state, roster, seconds=10)) == [TimeOut]
        todo = steps(stream.state, roster, seconds=9.9)
        assert types(todo) == [Claim]
        assert todo.wake_at == (stream.state.engaged_at or AT) + timedelta(seconds=10)

    def test_counts_while_the_lead_plans(self) -> None:
        stream = started()
        stream.execute(BeginPlanning(run_id=a_run(1), agent_id=LEAD))
        assert steps(stream.state).wake_at is not None
        assert types(steps(stream.state, a_roster(timeout_seconds=10), seconds=11)) == [TimeOut]


@pytest.mark.parametrize("status", ["PLANNING", "FAILED", "CANCELLED", "COMPLETED"])
def test_a_mission_that_is_not_worked_is_left_alone(status: str) -> None:
    stream = Stream().create()
    stream.add(1)
    if status != "PLANNING":
        stream.start()
        for step in {"COMPLETED": ("REVIEW", "COMPLETED")}.get(status, (status,)):
            stream.execute(Edit(status=step))
    assert steps(stream.state) == Next()


def test_a_mission_that_nobody_engaged_is_left_alone() -> None:
    stream = Stream().create()
    stream.add(1)
    stream.execute(Edit(status="IN_PROGRESS"))
    assert steps(stream.state) == Next()


def test_the_breaker_counts_failures_in_a_row() -> None:
    breaker = Breaker()
    for _ in range(THRESHOLD - 1):
        breaker.failed(WORKER)
    assert breaker.tripped(WORKER) is None
    breaker.cleared(WORKER)
    for _ in range(THRESHOLD):
        assert breaker.tripped(WORKER) is None
        breaker.failed(WORKER)
    assert breaker.tripped(WORKER) == "circuit breaker: agent has 3 consecutive failures (threshold: 3)"
    assert breaker.tripped(OTHER) is None


@st.composite
def _graphs(draw: st.DrawFn) -> Sequence[tuple[tuple[int, ...], int | None, UUID | None]]:
    """Tasks: the earlier ones that each needs, its limit of attempts, its agent."""
    count = draw(st.integers(1, 8))
    agents = st.sampled_from([None, WORKER, OTHER, LEAD, HAND, GONE])
    return [
        (
            tuple(sorted(draw(st.sets(st.integers(1, number - 1), max_size=3)))) if number > 1 else (),
            draw(st.sampled_from([None, 1, 2, 3])),
            draw(agents),
        )
        for number in range(1, count + 1)
    ]


@settings(max_examples=150, deadline=None)
@given(_graphs(), st.integers(1, 3), st.integers(1, 3), st.randoms(use_true_random=False))
def test_whatever_happens_a_mission_comes_to_its_end_and_no_step_is_in_vain(
    graph: Sequence[tuple[tuple[int, ...], int | None, UUID | None]], most: int, slots: int, chance: Any
) -> None:
    stream = Stream().create()
    for number, (needs, limit, agent_id) in enumerate(graph, 1):
        stream.add(number, *needs, max_iterations=limit, agent_id=agent_id)
    stream.start()
    roster = a_roster(THE_LEAD, ANN, BOB, BY_HAND, max_parallel_tasks=most)
    for _ in range(500):
        stream.execute(Settle())
        if not stream.state.is_worked:
            break
        running = [task for task in stream.state.tasks.values() if task.run_id is not None]
        todo = steps(stream.state, roster, slots=slots - len(running))
        for step in todo.commands:
            assert stream.execute(step), step  # each leads to something
        assert sum(map(begins, todo.commands)) + len(running) <= min(most, slots)
        running = [task for task in stream.state.tasks.values() if task.run_id is not None]
        by_hand = [task for task in stream.state.tasks.values() if task.waiting]
        if not running and not todo.commands:
            assert by_hand, stream.statuses  # somebody else must have something to do
        if running:
            task = chance.choice(running)
            outcome = chance.choice(["completed", "failed"])
            error = None if outcome == "completed" else "no"
            end = {"outcome": outcome, "reason": "end_turn", "error": error}
            stream.execute(EndTask(task_id=task.id, run_id=task.run_id, **end))
        elif by_hand:
            number = chance.choice(by_hand).id.int - 1_000
            stream.patch(number, "IN_PROGRESS", chance.choice(["COMPLETED", "FAILED", "SKIPPED"]))
    assert stream.state.status in ("REVIEW", "FAILED")
