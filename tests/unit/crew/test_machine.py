"""Missions and tasks under any sequence of wishes and steps, beside a small model that looks at everything anew."""

from collections import Counter
from itertools import count
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from server.agents.budgets import Use
from server.missions.crew import limits
from server.missions.crew.commands import Decide, Edit, Restart, Resume, Start
from server.missions.crew.copies import clone, fork
from server.missions.crew.graph import graph_of
from server.missions.crew.state import LIFECYCLE, TASK_LIFECYCLE
from server.missions.crew.steps import BeginReview, Claim, EndReview, EndTask, Requeue, Settle, TimeOut
from storage.rules import Command
from streams.errors import MissionstreamError
from streams.event import Event
from tests.unit.crew.model import Model
from tests.unit.crew.stream import ID, LEAD, RULES, WORKER, Stream, a_run, a_task, folded, refer, stored_and_read

_statuses = st.sampled_from(sorted(LIFECYCLE.transitions))
_task_statuses = st.sampled_from(sorted(TASK_LIFECYCLE.transitions))
_tokens = st.integers(0, 9)
_limits = st.sampled_from([None, 1, 3, 4])
_seldom = st.integers(0, 4).map(lambda number: number == 0)


SEEN: Counter[tuple[str, str, str]] = Counter()
"""What came about, by whose status, which, and the cause."""


class Missions(RuleBasedStateMachine):
    """One mission at a time; a clone or a fork takes its place."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = Stream().create()
        self.model = Model()
        self.numbers = count(1)
        self.runs = count(1)
        self.steps = 0
        self.checked = 0
        self.before: dict[str, str] = {}

    def attempt(self, wish: Command, is_granted: bool) -> list[Event]:
        """Both must agree whether a wish is granted; a refusal changes nothing."""
        state = self.stream.state
        try:
            events = self.stream.execute(wish)
        except MissionstreamError:
            assert not is_granted, wish
            assert self.stream.state == state
            return []
        assert is_granted, wish
        return events

    def pick(self, data: st.DataObject, *statuses: str) -> int:
        """A task, by its number; of these statuses if there is one."""
        every = self.model.parts
        fitting = [number for number, part in every.items() if part.status in statuses] or list(every)
        return data.draw(st.sampled_from(fitting))

    def has_tasks(self) -> bool:
        return bool(self.model.parts)

    def has(self, *statuses: str) -> bool:
        return any(part.status in statuses for part in self.model.parts.values())

    @initialize(data=st.data(), size=st.integers(0, 7), is_started=st.booleans())
    def begin(self, data: st.DataObject, size: int, is_started: bool) -> None:
        for _ in range(size):
            self.add(data, data.draw(_limits), data.draw(_seldom))
        if is_started:
            self.start()

    # people

    @rule(data=st.data(), limit=_limits, must_ask=_seldom)
    def add(self, data: st.DataObject, limit: int | None, must_ask: bool) -> None:
        number = next(self.numbers)
        known = sorted(self.model.parts)
        fewest = data.draw(st.sampled_from([0, 1, 1])) if known else 0
        needs = tuple(data.draw(st.lists(st.sampled_from(known or [0]), min_size=fewest, max_size=3 if known else 0)))
        granted = self.model.add(number, needs, limit, must_ask)
        try:
            self.stream.add(number, *needs, max_iterations=limit, approval_required=must_ask, description="d" * number)
        except MissionstreamError:
            assert not granted
        else:
            assert granted

    @precondition(lambda self: self.steps % 5 == 0)
    @rule(data=st.data(), is_wild=_seldom)
    def edit(self, data: st.DataObject, is_wild: bool) -> None:
        allowed = sorted(LIFECYCLE.transitions[self.model.status])
        status = data.draw(_statuses if is_wild or not allowed else st.sampled_from(allowed))
        self.attempt(Edit(status=status, plan=f"to be {status}"), self.model.edit(status))

    @precondition(lambda self: self.model.status in ("PLANNING", "IN_PROGRESS"))
    @rule()
    def start(self) -> None:
        self.attempt(Start(), self.model.start())

    @precondition(lambda self: self.model.status not in ("PLANNING", "IN_PROGRESS"))
    @rule()
    def restart(self) -> None:
        self.attempt(Restart(), self.model.restart())

    @precondition(lambda self: self.model.status in ("FAILED", "REVIEW"))
    @rule()
    def resume(self) -> None:
        self.attempt(Resume(), self.model.resume())

    @precondition(has_tasks)
    @rule(data=st.data(), status=_task_statuses)
    def patch(self, data: st.DataObject, status: str) -> None:
        number = self.pick(data, *(before for before, after in TASK_LIFECYCLE.transitions.items() if status in after))
        wish: dict[str, Any] = {"status": status, "result_summary": f"by hand to {status}"}
        granted = self.model.patch(number, status)
        try:
            self.stream.patch(number, **wish)
        except MissionstreamError:
            assert not granted
        else:
            assert granted

    @precondition(has_tasks)
    @rule(data=st.data(), tokens=st.integers(-5, 5))
    def patch_tokens(self, data: st.DataObject, tokens: int) -> None:
        number = self.pick(data)
        self.stream.patch(number, token_count=tokens, estimated_cost=tokens / 3)
        self.model.parts[number].tokens = tokens

    @precondition(has_tasks)
    @rule(data=st.data())
    def rewire(self, data: st.DataObject) -> None:
        number = self.pick(data, "PENDING", "BLOCKED")
        needs = tuple(data.draw(st.lists(st.sampled_from(sorted(self.model.parts)), max_size=3)))
        granted = self.model.rewire(number, needs)
        try:
            self.stream.patch(number, depends_on=refer(*needs))
        except MissionstreamError:
            assert not granted
        else:
            assert granted

    @precondition(lambda self: self.has("AWAITING_APPROVAL"))
    @rule(data=st.data(), approved=st.booleans())
    def decide(self, data: st.DataObject, approved: bool) -> None:
        number = self.pick(data, "AWAITING_APPROVAL")
        wish = Decide(task_id=a_task(number), approved=approved, user="u1", notes="n")
        self.attempt(wish, self.model.decide(number, approved))

    @precondition(lambda self: len(self.stream.events) > 25 and self.steps % 5 == 0)
    @rule(is_fork=st.booleans())
    def copy(self, is_fork: bool) -> None:
        # the copy's tasks get the numbers of the source's, so that the model needs no other names
        old = [task.id for task in sorted(self.stream.state.tasks.values(), key=lambda task: task.number)]
        ids = iter(old)
        made = (fork if is_fork else clone)(self.stream.state, ID, lambda: next(ids))
        self.stream = Stream()
        self.stream.execute(made)
        self.model = self.model.cloned(is_fork=is_fork)
        self.checked, self.before = 0, {}

    # the engine

    @precondition(has_tasks)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        number, run = self.pick(data, "PENDING"), next(self.runs)
        events = self.stream.execute(Claim(task_id=a_task(number), agent_id=WORKER, run_id=a_run(run)))
        assert bool(events) == self.model.claim(number, run)

    @precondition(lambda self: self.model.is_worked and self.stream.state.ready)
    @rule(data=st.data(), outcomes=st.lists(st.tuples(st.booleans(), _tokens), min_size=1, max_size=6))
    def work(self, data: st.DataObject, outcomes: list[tuple[bool, int]]) -> None:
        """Claim ready tasks and end them, one after the other."""
        for is_good, tokens in outcomes:
            if ready := [task.id.int - 1_000 for task in self.stream.state.ready]:
                number, run = data.draw(st.sampled_from(ready)), next(self.runs)
                # whoever goes on from others' work fails more often: what is to be mended lies there
                is_good = is_good or not self.model.parts[number].needs
                assert self.stream.execute(Claim(task_id=a_task(number), agent_id=WORKER, run_id=a_run(run)))
                assert self.model.claim(number, run)
                self.finish(number, is_good, tokens)

    @precondition(lambda self: self.has("IN_PROGRESS"))
    @rule(data=st.data(), is_good=st.booleans(), tokens=_tokens)
    def end(self, data: st.DataObject, is_good: bool, tokens: int) -> None:
        self.finish(self.pick(data, "IN_PROGRESS"), is_good, tokens)

    def finish(self, number: int, is_good: bool, tokens: int) -> None:
        run = self.model.parts[number].run
        ending = EndTask(
            task_id=a_task(number),
            run_id=a_run(run or 0),
            outcome="completed" if is_good else "failed",
            reason="end_turn",
            result="r" * tokens,
            error="broken",
            use=Use(input=tokens, cost_micros=tokens * 100, source="reported"),
        )
        events = self.stream.execute(ending)
        assert bool(events) == (run is not None)
        if run is not None:
            (self.model.complete if is_good else self.model.fail)(number, tokens)
        assert self.stream.execute(ending) == []

    @precondition(lambda self: self.has("IN_PROGRESS"))
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        number = self.pick(data, "IN_PROGRESS")
        run = self.model.parts[number].run
        self.stream.execute(Requeue(task_id=a_task(number), run_id=a_run(run or 0), reason="crashed"))
        if run is not None:
            self.model.requeue(number)

    @rule()
    def settle(self) -> None:
        self.stream.execute(Settle())
        self.model.settle()

    @precondition(lambda self: self.model.is_worked and self.steps % 5 == 0)
    @rule()
    def time_out(self) -> None:
        since = self.stream.state.engaged_at
        assert since is not None
        self.stream.execute(TimeOut(engaged_at=since))
        self.model.time_out()

    @precondition(lambda self: self.model.status == "REVIEW" and self.model.is_engaged and self.model.parts)
    @rule(data=st.data())
    def rework(self, data: st.DataObject) -> None:
        run_id = a_run(next(self.runs))
        began = self.stream.execute(BeginReview(run_id=run_id, agent_id=LEAD))
        if not began:
            assert self.stream.state.review is not None or not self.model.is_done
            return
        assert self.model.is_done
        numbers = data.draw(st.sets(st.sampled_from(sorted(self.model.parts)), max_size=2))
        again = tuple(map(a_task, numbers))
        self.stream.execute(EndReview(run_id=run_id, reason="end_turn", verdict="rework", reset=again))
        self.model.rework(numbers)

    # what holds always

    @invariant()
    def time_goes_on(self) -> None:
        self.steps += 1  # who ends or changes the whole mission comes at every fifth step only

    @invariant()
    def the_log_and_the_rows_give_the_state(self) -> None:
        state = self.stream.state
        assert folded(self.stream.events) == state
        assert stored_and_read(state) == state
        assert state.graph == graph_of(state.tasks)

    @invariant()
    def the_model_agrees(self) -> None:
        state = self.stream.state
        assert (state.status, state.is_engaged) == (self.model.status, self.model.is_engaged)
        parts = self.model.parts
        assert self.stream.statuses == {number: part.status for number, part in parts.items()}
        for number, part in parts.items():
            task = self.stream.task(number)
            assert (task.iteration, task.token_count) == (part.iteration, part.tokens)
            assert task.run_id == (None if part.run is None else a_run(part.run))

    @invariant()
    def statuses_fit_dependencies(self) -> None:
        for number, part in self.model.parts.items():
            task = self.stream.task(number)
            done = all(self.stream.state.tasks[needed].status == "COMPLETED" for needed in task.depends_on)
            if task.status == "PENDING":
                assert done or part.is_by_hand
            if task.status == "BLOCKED":
                assert not done
            if TASK_LIFECYCLE.phases[task.status] == "pending":
                times = (task.started_at, task.completed_at, task.duration_ms, task.run_id, task.assignment_id)
                assert times == (None,) * 5
            assert (task.status == "IN_PROGRESS") or task.run_id is None

    @invariant()
    def sums_equal_a_recount(self) -> None:
        state = self.stream.state
        tasks = list(state.tasks.values())
        assert Counter(state.stats) == Counter(
            {**dict.fromkeys(TASK_LIFECYCLE.phases, 0), **Counter(t.status for t in tasks)}
        )
        assert state.total == len(tasks)
        tokens = [task.token_count for task in tasks if task.token_count is not None]
        assert state.token_count == (sum(tokens) if tokens else None)
        costs = [round(task.estimated_cost * 1_000_000) for task in tasks if task.estimated_cost is not None]
        assert state.estimated_cost == (sum(costs) / 1_000_000 if costs else None)
        texts = [state.title, state.description, state.plan, state.workflow_template]
        texts += [getattr(task, name) for task in tasks for name in limits._TASK_TEXTS]
        edges = sum(len(task.depends_on) for task in tasks)
        assert state.size == sum(len((text or "").encode()) for text in texts) + 36 * edges

    @invariant()
    def every_change_of_a_status_is_an_edge(self) -> None:
        for event in self.stream.events[self.checked :]:
            for who, table, status, cause in _moves(event):
                before = self.before.get(who)
                if before is not None and before != status:
                    is_edge = status in table.transitions[before]
                    assert is_edge or cause in table.moves[before][status], (who, before, status, cause)
                SEEN[("mission" if who == "mission" else "task", status, cause)] += 1
                self.before[who] = status
        self.checked = len(self.stream.events)

    @invariant()
    def the_row_is_of_the_state(self) -> None:
        row = RULES.row(self.stream.state)
        assert row.phase == LIFECYCLE.phases[self.model.status]
        assert (self.stream.state.completed_at is not None) >= (self.model.status in LIFECYCLE.terminal)


def _moves(event: Event) -> list[tuple[str, Any, str, str]]:
    data = event.data()
    if event.type == "mission_status_changed":
        return [("mission", LIFECYCLE, data["status"], data["cause"])]
    if event.type in ("task_created", "task_status_changed"):
        return [(data["task_id"], TASK_LIFECYCLE, data["status"], data["cause"])]
    if event.type == "tasks_reset":
        return [(task["task_id"], TASK_LIFECYCLE, task["status"], data["cause"]) for task in data["tasks"]]
    return []


_SETTINGS = settings(stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck))

TestMissions = Missions.TestCase
TestMissions.settings = settings(_SETTINGS, max_examples=60)


def test_the_machine_gets_deep() -> None:
    """The same wishes at every run of this test, and among them all that make a mission interesting."""
    SEEN.clear()
    run_state_machine_as_test(Missions, settings=settings(_SETTINGS, max_examples=100, derandomize=True, database=None))
    task_causes = {cause for who, _, cause in SEEN if who == "task"}
    assert task_causes >= {"create", "clone", "fork", "patch", "depends", "unblock"}, SEEN
    assert task_causes >= {"claim", "end", "retry", "loop_back", "requeue", "restart", "resume"}, SEEN
    assert {cause for who, _, cause in SEEN if who == "mission"} >= {"start", "patch", "engine", "restart", "resume"}, (
        SEEN
    )
