"""ControlRules: what each command leads to in each state, and that folding the events gives the state."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest

from server.agents.budgets import Spent, Use
from server.missions import control
from server.missions.control import (
    Cancel,
    Configure,
    ControlRules,
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
from server.missions.tasks import AddTask, Progress, ReportProgress
from storage.rules import Command, Decision
from streams.errors import Conflict, MissionstreamError, MoveRefused, NotFound, TooMany
from streams.event import Draft, Event, cleaned
from tests.unit.numbering import numbered

RULES = ControlRules()
ID, WORKSPACE, SPACE = UUID(int=1), UUID(int=2), UUID(int=3)


def a_run(number: int) -> UUID:
    return UUID(int=100 + number)


class Stream:
    """One mission's events, numbered as the writer would."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.state: Mission | None = None

    def execute(self, command: Command) -> Decision:
        decision = RULES.decide(self.state, command)
        for draft in map(cleaned, decision.drafts):
            if not draft.to_workspace:
                self.append(draft)
        return decision

    def append(self, draft: Draft) -> None:
        number = len(self.events) + 1
        event = numbered(draft, number, workspace_id=WORKSPACE, stream_id=ID)
        self.events.append(event)
        if event.type in RULES.state_events:
            self.state = RULES.evolve(self.state, event)


def folded(events: Sequence[Event]) -> Mission | None:
    state: Mission | None = None
    for event in events:
        if event.type in RULES.state_events:
            state = RULES.evolve(state, event)
    return state


CREATE = Create(id=ID, backend="demo", space_id=SPACE, by="ann")


def send(number: int = 1, *, has_slot: bool = True, content: str = "do it") -> Send:
    return Send(message_id=f"m{number}", content=content, run_id=a_run(number), has_slot=has_slot, by="ann")


def ended(number: int, reason: str, *, text: str = "", then: int | None = None, **fields: Any) -> EndRun:
    following = None if then is None else a_run(then)
    return EndRun(run_id=a_run(number), reason=reason, text=text, next_run_id=following, by="agent:demo", **fields)


HISTORIES: dict[str, tuple[Command, ...]] = {
    "new": (CREATE,),
    "queued": (CREATE, send(1, has_slot=False)),
    "running": (CREATE, send(1)),
    "running with a queue": (CREATE, send(1), send(2)),
    "cancelling": (CREATE, send(1), Cancel()),
    "completed": (CREATE, send(1), ended(1, "end_turn", text="all done")),
    "failed": (CREATE, send(1), ended(1, "failed", error="no")),
    "interrupted": (CREATE, send(1), Cancel(), ended(1, "cancelled")),
    "idle but active": (CREATE, SetStatus(status="active")),
}


def in_state(name: str) -> Stream:
    stream = Stream()
    for command in HISTORIES[name]:
        stream.execute(command)
    return stream


Result = list[str] | type[MissionstreamError]
"""The types of the drafts, or the error."""
RUNNING = ("running", "running with a queue", "cancelling")


def when(histories: Iterable[str], result: Result) -> dict[str, Result]:
    return dict.fromkeys(histories, result)


def always(result: Result) -> dict[str, Result]:
    return when(HISTORIES, result)


NEW_STATUS = "mission_status_changed"
SAID = "user_message"
OUTCOMES: dict[str, tuple[Command, dict[str, Result]]] = {
    "send": (
        send(9),
        {
            "new": [NEW_STATUS, SAID],
            "queued": [SAID],
            "running": [SAID],
            "running with a queue": [SAID],
            "cancelling": [SAID],
            "completed": [NEW_STATUS, SAID],
            "failed": [NEW_STATUS, SAID],
            "interrupted": [NEW_STATUS, SAID],
            "idle but active": [SAID],
        },
    ),
    "send without a slot": (send(9, has_slot=False), always([SAID])),
    "start next": (
        StartNext(run_id=a_run(9)),
        always([]) | {"queued": [NEW_STATUS, SAID]},
    ),
    "end the run": (
        ended(1, "end_turn", text="finished"),
        always([])
        | when(RUNNING,
            ["assistant_message", "run_ended", "mission_title_changed", NEW_STATUS],
        ),
    ),
    "end the run and go on": (
        ended(1, "end_turn", text="ok", then=9),
        always([])
        | {
            "running": ["assistant_message", "run_ended", NEW_STATUS],
            "running with a queue": ["assistant_message", "run_ended", SAID],
            "cancelling": ["assistant_message", "run_ended", NEW_STATUS],
        },
    ),
    "end another run": (ended(8, "end_turn"), always([])),
    "cancel": (
        Cancel(by="ann"),
        {
            "new": NotFound,
            "queued": [],
            "running": ["cancel_requested"],
            "running with a queue": ["cancel_requested"],
            "cancelling": [],
            "completed": NotFound,
            "failed": NotFound,
            "interrupted": NotFound,
            "idle but active": NotFound,
        },
    ),
    "cancel the whole mission": (
        Cancel(whole_mission=True),
        {
            "new": NotFound,
            "queued": ["messages_removed"],
            "running": ["cancel_requested"],
            "running with a queue": ["messages_removed", "cancel_requested"],
            "cancelling": [],
            "completed": NotFound,
            "failed": NotFound,
            "interrupted": NotFound,
            "idle but active": NotFound,
        },
    ),
    "set a status": (SetStatus(status="completed"), always([NEW_STATUS])),
    "set no status of ours": (SetStatus(status="awaiting_user"), always(MoveRefused)),
    "resume": (
        Resume(run_id=a_run(9), message_id="m9", has_slot=True, content="go on"),
        always(MoveRefused) | when(("failed", "interrupted"), [NEW_STATUS, SAID]),
    ),
    "resume without a message": (
        Resume(run_id=a_run(9), message_id="m9", has_slot=True),
        always(MoveRefused) | when(("failed", "interrupted"), [NEW_STATUS]),
    ),
    "remove all queued": (
        RemoveQueued(),
        always([])
        | when(("queued", "running with a queue"), ["messages_removed"]),
    ),
    "remove one queued": (
        RemoveQueued(message_id="m2"),
        always(NotFound) | {"running with a queue": ["messages_removed"]},
    ),
    "rename": (Rename(title="A title"), always(["mission_title_changed"])),
    "spend without a budget": (Spend(run_id=a_run(1), use=Use(input=10**9)), always([])),
    "set a budget": (Configure(budget={"tokens": 10}), always(["mission_settings_updated"])),
    "lift no budget": (Configure(budget=None), always([])),
    "change the policy": (Configure(permission_policy="allow_all"), always(["mission_settings_updated"])),
    "change nothing": (Configure(permission_policy="ask"), always([])),
    "interrupt": (
        Interrupt(reason="restarted"),
        always([]) | {"idle but active": [NEW_STATUS]},
    ),
    "delete": (
        Delete(by="ann"),
        always(["mission_deleted"])
        | when(RUNNING, Conflict),
    ),
    "report progress": (ReportProgress(progress=Progress(3, 1, "paint")), always(["progress"])),
    "note the sandbox": (
        NoteSandbox(run_id=a_run(1), sandbox="none"),
        always([]) | when(RUNNING, ["sandbox_changed"]),
    ),
    "count what is below": (CountBelow(spent=Spent(turns=1, input=5)), always(["children_spent"])),
    "count nothing below": (CountBelow(spent=Spent()), always([])),
    "spend below without a budget": (SpendBelow(spent=Spent(input=10**9)), always([])),
    "stop for the budget above": (
        StopForParent(above=UUID(int=77)),
        always([])
        | {"running": ["cancel_requested"], "running with a queue": ["messages_removed", "cancel_requested"]},
    ),
    "create a task": (AddTask(task_id="t1", title="paint"), always(["task_created"])),
    "update a task that is not there": (UpdateTask(task_id="t1", title="paint"), always(NotFound)),
}  # fmt: skip
CASES = [
    pytest.param(command, history, outcome, id=f"{name} when {history}")
    for name, (command, outcomes) in OUTCOMES.items()
    for history, outcome in outcomes.items()
]


def test_the_table_covers_every_command_in_every_state() -> None:
    assert {type(command) for command, _ in OUTCOMES.values()} == set(control.decide.DECIDE) - {Create}
    assert all(set(outcomes) == set(HISTORIES) for _, outcomes in OUTCOMES.values())


@pytest.mark.parametrize(("command", "history", "outcome"), CASES)
def test_a_command_in_a_state_gives_these_drafts_or_this_error(command: Command, history: str, outcome: Result) -> None:
    stream = in_state(history)
    before = stream.state
    if isinstance(outcome, list):
        decision = stream.execute(command)
        assert [draft.type for draft in decision.drafts] == outcome
        assert decision.deletes == isinstance(command, Delete)
    else:
        with pytest.raises(outcome):
            stream.execute(command)
        assert stream.state == before


def test_the_verbs_of_other_dialects_name_every_command_but_create() -> None:
    assert set(RULES.commands.values()) == set(control.decide.DECIDE) - {Create}
    assert RULES.state_events >= set(control.evolve.EVOLVE)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("end_turn", "completed"),
        ("max_tokens", "completed"),
        ("max_turn_requests", "completed"),
        ("refusal", "failed"),
        ("failed", "failed"),
        ("cancelled", "interrupted"),
        ("shutdown", "interrupted"),
        ("crashed", "interrupted"),
    ],
)
def test_a_turns_end_moves_the_mission(reason: str, status: str) -> None:
    stream = in_state("running")
    stream.execute(ended(1, reason, text="words", session_id="s1"))
    state = stream.state
    assert state is not None
    assert (state.status, state.terminal_reason, state.run, state.session_id) == (status, reason, None, "s1")
    assert (state.interrupted_at is not None) == (status == "interrupted")
    assert state.is_resumable == (status in ("failed", "interrupted"))
    [said] = [event for event in stream.events if event.type == "assistant_message"]
    assert said.data()["success"] == (status == "completed")
    assert said.data().get("resumable", False) == (status != "completed")


def test_the_tool_results_and_last_words_come_before_the_status() -> None:
    stream = in_state("running")
    stream.execute(ended(1, "failed", text="so far", error="it broke"))
    assert [event.type for event in stream.events[-5:]] == [
        "error", "assistant_message", "run_ended", "mission_title_changed", "mission_status_changed",
    ]  # fmt: skip


def test_a_cancelled_turn_without_words_says_cancelled() -> None:
    stream = in_state("cancelling")
    stream.execute(ended(1, "cancelled"))
    [said] = [event for event in stream.events if event.type == "assistant_message"]
    assert said.content == "Cancelled"


def test_a_status_that_people_have_set_survives_the_turns_end() -> None:
    stream = in_state("running")
    stream.execute(SetStatus(status="completed"))
    stream.execute(ended(1, "failed"))
    assert stream.state is not None
    assert stream.state.status == "completed"


def test_a_mission_keeps_the_sandbox_of_its_last_agent_and_the_log_tells_changes_alone() -> None:
    stream = in_state("running with a queue")
    stream.execute(NoteSandbox(run_id=a_run(1), sandbox="none"))
    stream.execute(ended(1, "end_turn", then=3))
    stream.execute(NoteSandbox(run_id=a_run(3), sandbox="none"))
    stream.execute(NoteSandbox(run_id=a_run(1), sandbox="bubblewrap"))
    stream.execute(NoteSandbox(run_id=a_run(3), sandbox="bubblewrap"))
    stream.execute(ended(3, "end_turn"))
    changes = [event.data() for event in stream.events if event.type == "sandbox_changed"]
    assert changes == [
        {"run_id": str(a_run(1)), "sandbox": "none"},
        {"run_id": str(a_run(3)), "sandbox": "bubblewrap"},
    ]
    assert stream.state is not None
    assert RULES.facts(stream.state).sandbox == "bubblewrap"


def test_a_shutdown_leaves_the_queue_for_the_next_server() -> None:
    stream = in_state("running with a queue")
    stream.execute(ended(1, "shutdown", then=5))
    assert stream.state is not None
    assert (stream.state.status, stream.state.run, len(stream.state.queue)) == ("interrupted", None, 1)


def test_messages_run_in_the_order_they_came() -> None:
    stream = in_state("running with a queue")
    stream.execute(send(3))
    stream.execute(ended(1, "end_turn", then=4))
    state = stream.state
    assert state is not None
    assert state.run is not None
    assert (state.run.message_id, [message.id for message in state.queue]) == ("m2", ["m3"])
    assert [event.event_id for event in stream.events if event.type == "user_message"] == ["m1", "m2", "m3", "m2"]


def test_the_queue_is_bounded_by_messages_and_by_characters() -> None:
    stream = in_state("running")
    for number in range(control.state.MAX_QUEUE):
        stream.execute(send(10 + number))
    with pytest.raises(TooMany):
        stream.execute(send(999))
    stream = in_state("running")
    stream.execute(send(2, content="x" * (control.state.MAX_QUEUED_CHARACTERS - 1)))
    with pytest.raises(TooMany):
        stream.execute(send(3, content="xx"))
    stream.execute(send(3, content="x"))


@pytest.mark.parametrize(
    ("text", "title"),
    [("# Heading\nmore", "Heading"), ("ok\n\nA longer line", "A longer line"), ("x" * 300, "x" * 100), ("no", None)],
)
def test_the_first_substantive_line_becomes_the_title_of_an_untitled_mission(text: str, title: str | None) -> None:
    stream = in_state("running")
    stream.execute(ended(1, "end_turn", text=text))
    assert stream.state is not None
    assert stream.state.title == title


def test_a_title_that_is_there_stays() -> None:
    stream = Stream()
    stream.execute(msgspec.structs.replace(CREATE, title="Mine"))
    stream.execute(send(1))
    stream.execute(ended(1, "end_turn", text="Another title"))
    assert stream.state is not None
    assert stream.state.title == "Mine"
    assert stream.execute(Rename(title="Mine")).drafts == ()


def test_delete_is_said_on_the_workspaces_stream() -> None:
    [draft] = RULES.decide(in_state("completed").state, Delete(by="ann")).drafts
    assert draft.to_workspace
    assert draft.metadata == {"mission_id": str(ID), "kind": "control"}
    assert Delete.touches_workspace
    assert Create.creates


def test_the_row_and_the_facts_say_what_the_state_says() -> None:
    state = in_state("running with a queue").state
    assert state is not None
    row, facts = RULES.row(state), RULES.facts(state)
    assert (row.status, row.phase, row.run_id, row.queued) == ("active", "active", a_run(1), 1)
    assert (facts.backend, facts.space_id, facts.run_id) == ("demo", SPACE, a_run(1))
    assert facts.queue == (("m2", "do it", None),)
    assert state.run is not None
    assert facts.run_sequence == state.run.sequence


# any sequence of commands
