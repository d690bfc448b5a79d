"""ControlRules: whatever is commanded, folding the events gives the state."""

from uuid import UUID

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from server.agents.budgets import Budget, Spent, Use
from server.agents.modes import check
from server.agents.policy import POLICIES
from server.missions import control
from server.missions.control import (
    Cancel,
    Configure,
    Create,
    Delete,
    EndRun,
    Interrupt,
    Mission,
    RemoveQueued,
    Rename,
    Resume,
    Send,
    SetStatus,
    Spend,
    StartNext,
)
from server.missions.control.below import CountBelow, SpendBelow, StopForParent
from server.missions.control.sandboxing import NoteSandbox
from server.missions.control.tasks import UpdateTask
from server.missions.tasks import TASK_LIFECYCLE, AddTask, Progress, ReportProgress
from storage.rules import Command
from streams.errors import MissionstreamError
from tests.unit.test_control_rules import ID, RULES, SPACE, Stream, a_run, folded

_texts = st.text(max_size=8)
_some = st.integers(1, 4)
_agents = st.sampled_from(["yolo", "plan", "agent-full-access", "workspace-write", "Sisyphus"])
_reasons = st.sampled_from(sorted(control.decide.STATUS_AFTER))
_uses = st.builds(
    Use,
    input=st.integers(0, 60),
    output=st.integers(0, 60),
    cost_micros=st.integers(0, 900_000),
    source=st.sampled_from(["reported", "priced", "unknown"]),
    milliseconds=st.integers(0, 90_000),
)
_limits = st.dictionaries(st.sampled_from(["tokens", "cost_cents", "seconds"]), st.none() | st.integers(1, 200))
_commands = st.one_of(
    st.builds(
        Send,
        message_id=_some.map(lambda n: f"m{n}"),
        content=_texts,
        run_id=_some.map(a_run),
        has_slot=st.booleans(),
        agent=st.none() | _agents,
        by=st.none() | _texts,
    ),
    st.builds(StartNext, run_id=_some.map(a_run)),
    st.builds(
        EndRun,
        run_id=_some.map(a_run),
        reason=_reasons,
        text=_texts,
        error=st.none() | _texts,
        summary=st.none() | _texts,
        session_id=st.none() | _texts,
        next_run_id=st.none() | _some.map(a_run),
        use=_uses,
    ),
    st.builds(NoteSandbox, run_id=_some.map(a_run), sandbox=st.sampled_from(["bubblewrap", "none"])),
    st.builds(CountBelow, spent=_uses.map(Spent().plus)),
    st.builds(SpendBelow, spent=_uses.map(Spent().plus)),
    st.builds(StopForParent, above=st.just(UUID(int=9))),
    st.builds(Spend, run_id=_some.map(a_run), use=_uses),
    st.builds(Cancel, whole_mission=st.booleans()),
    st.builds(SetStatus, status=st.sampled_from([*control.LIFECYCLE.transitions, "paused", ""])),
    st.builds(
        Resume,
        run_id=_some.map(a_run),
        message_id=_some.map(lambda n: f"m{n}"),
        has_slot=st.booleans(),
        content=st.none() | _texts,
    ),
    st.builds(RemoveQueued, message_id=st.none() | _some.map(lambda n: f"m{n}")),
    st.builds(Rename, title=_texts),
    st.builds(
        Configure,
        agent=st.just(msgspec.UNSET) | st.none() | _agents,
        permission_policy=st.just(msgspec.UNSET) | st.sampled_from(POLICIES),
        budget=st.just(msgspec.UNSET) | st.none() | _limits,
    ),
    st.builds(Interrupt, reason=_texts),
    st.builds(Delete),
    st.builds(
        ReportProgress, progress=st.builds(Progress, _some, _some, st.none() | st.text(min_size=1, max_size=8), _some)
    ),
    st.builds(AddTask, task_id=_some.map(str), title=_texts, description=_texts),
    st.builds(
        UpdateTask,
        task_id=_some.map(str),
        title=st.none() | _texts,
        description=st.none() | _texts,
        status=st.none() | st.sampled_from([*TASK_LIFECYCLE.transitions, "paused"]),
    ),
)
_creations = st.builds(
    Create,
    id=st.just(ID),
    backend=st.sampled_from(["gemini", "codex", "demo", "a stranger"]),
    space_id=st.just(SPACE),
    title=st.none() | _texts,
    agent=st.none() | _agents,
    model_override=st.none() | _texts,
    parent_id=st.none() | st.just(UUID(int=9)),
    permission_policy=st.sampled_from(POLICIES),
    budget=st.builds(Budget, tokens=st.none() | st.integers(1, 200), seconds=st.none() | st.integers(1, 100)),
)


@settings(max_examples=300, deadline=None)
@given(_creations, st.lists(_commands, max_size=20))
def test_folding_the_events_of_any_commands_gives_the_state(creation: Create, commands: list[Command]) -> None:
    stream = Stream()
    try:
        stream.execute(creation)
    except MissionstreamError:
        assert stream.state is None
        return
    for command in commands:
        before = stream.state
        try:
            decision = stream.execute(command)
        except MissionstreamError:
            assert stream.state == before
            continue
        if not [draft for draft in decision.drafts if not draft.to_workspace]:
            assert stream.state == before
        state = stream.state
        assert state is not None
        assert folded(stream.events) == state
        assert msgspec.json.decode(msgspec.json.encode(state), type=Mission) == state
        assert RULES.row(state).phase in control.LIFECYCLE.phases.values()
        assert RULES.facts(state).is_resumable == (state.status in control.state.RESUMABLE)
        assert (state.interrupted_at is not None) == (state.status == "interrupted")
        for agent in (state.agent, state.run and state.run.agent, *(message.agent for message in state.queue)):
            check(state.backend, agent, state.permission_policy)  # nobody works unasked beyond the policy
        assert set(state.budget.beyond(state.spent, 100)) <= set(state.reached) <= set(state.budget.limits())
        assert len(set(state.warned)) == len(state.warned)  # each warning comes once
        assert not (state.reached and state.queue)  # nothing waits for a budget that is used up
        assert not state.reached or state.run is None or state.run.is_cancelling
