"""What crew's WebSocket says of each event: the contract's table, line by line, from events that the rules decide."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from server.dialects.crew import ids
from server.dialects.crew.frames import CrewFrames, Faces, SpelledTimeline, Told, told
from server.missions.crew import CrewRules, Mission, commands, steps
from streams.channels import Channel
from streams.event import Event, ascii_json
from tests.unit.numbering import numbered

WORKSPACE, CREW, MISSION, LEAD, WORKER = (UUID(int=number) for number in range(1, 6))
ONE, TWO, RUN = (UUID(int=number) for number in range(11, 14))
M, C, T1, T2, W, L = map(ids.spell, (MISSION, CREW, ONE, TWO, WORKER, LEAD))
A = ids.spell(RUN, ids.ASSIGNMENT)
RULES = CrewRules()


class World:
    """A mission that is folded in memory; `do` gives what is said of a command's events."""

    def __init__(self) -> None:
        self.state: Mission | None = None
        self.events: list[Event] = []

    def do(self, command: Any) -> list[Told]:
        started = len(self.events)
        for draft in RULES.decide(self.state, command).drafts:
            event = numbered(
                draft,
                len(self.events) + 1,
                workspace_id=WORKSPACE,
                stream_id=WORKSPACE if draft.to_workspace else MISSION,
                crew_id=CREW,
            )
            self.events.append(event)
            if draft.type in RULES.state_events:
                self.state = RULES.evolve(self.state, event)
        return [message for event in self.events[started:] for message in told(event)]


def create(**more: Any) -> commands.Create:
    return commands.Create(id=MISSION, crew_id=CREW, lead_agent_id=LEAD, title="Build", **more)


@pytest.fixture
def world() -> World:
    """A started mission of two tasks: TWO depends on ONE."""
    world = World()
    world.do(create())
    world.do(commands.CreateTask(id=ONE, title="first", approval_required=False))
    world.do(commands.CreateTask(id=TWO, title="second", depends_on=(commands.Reference(T1, ONE),)))
    world.do(commands.Start())
    return world


def updated(status: str, **more: str) -> Told:
    return Told("workspace", "mission.updated", {"id": M, "crew_id": C, **more, "status": status})


def status(status: str, **more: str) -> Told:
    return Told("mission", "mission.status", {"id": M, **more, "status": status})


def task(identity: str, status: str) -> list[Told]:
    return [Told("mission", "task.status", {"id": identity, "status": status}), touched(identity, status)]


def touched(identity: str, status: str) -> Told:
    return Told("workspace", "task.updated", {"id": identity, "mission_id": M, "status": status})


def running(status: str, agent: str, *, named: Sequence[str]) -> list[Told]:
    about = {"id": A, "target": agent, "task_id": T1}
    said = [
        Told("session", name, {**about, "status": "PENDING" if name == "assignment_created" else status})
        for name in named
    ]
    return [
        *said,
        Told("workspace", "assignment.updated", {"id": A, "mission_id": M, "status": status}),
        Told("workspace", "agent.status", {"id": agent, "status": "RUNNING" if status == "RUNNING" else "IDLE"}),
    ]


def test_a_new_mission_is_told_to_its_crew_and_its_workspace() -> None:
    assert World().do(create()) == [Told("crew", "mission.created", {"id": M, "title": "Build"}), updated("PLANNING")]


def test_a_clone_is_told_to_the_workspace_alone_and_its_tasks_to_nobody() -> None:
    made = create(cause="clone", source=UUID(int=99), tasks=(commands.NewTask(id=ONE, title="first"),))
    created = Told("workspace", "mission.created", {"id": M, "crew_id": C, "status": "PLANNING"})
    assert World().do(made) == [created]


def test_a_fork_is_told_to_nobody() -> None:
    assert World().do(create(cause="fork", tasks=(commands.NewTask(id=ONE, title="first"),))) == []


def test_a_new_task_is_told_with_the_status_that_it_has() -> None:
    world = World()
    world.do(create())
    for identity, spelled, needs, expected in ((ONE, T1, (), "PENDING"), (TWO, T2, (ONE,), "BLOCKED")):
        references = tuple(commands.Reference(str(needed), needed) for needed in needs)
        made = world.do(commands.CreateTask(id=identity, title="do", depends_on=references))
        assert made == [
            Told("mission", "task.created", {"id": spelled, "title": "do", "status": expected}),
            touched(spelled, expected),
        ]


def test_a_start_is_told_as_the_engine_of_the_original_tells_it() -> None:
    world = World()
    world.do(create())
    assert world.do(commands.Start()) == [
        status("STARTED", title="Build"),
        updated("STARTED", title="Build"),
        Told("mission", "mission.updated", {"id": M, "status": "IN_PROGRESS"}),
        updated("IN_PROGRESS"),
    ]


@pytest.mark.parametrize("moved", ["REVIEW", "FAILED", "CANCELLED"])
def test_a_status_that_a_person_sets_is_told_twice(world: World, moved: str) -> None:
    assert world.do(commands.Edit(status=moved)) == [status(moved), updated(moved)]


def test_an_edit_without_a_status_is_told_to_nobody(world: World) -> None:
    assert world.do(commands.Edit(title="Other", plan="1. …")) == []
    assert world.do(commands.UpdateTask(id=ONE, title="Other", token_count=5)) == []


def test_a_change_of_dependencies_is_told_to_nobody(world: World) -> None:
    assert world.do(commands.UpdateTask(id=TWO, depends_on=())) == []
    assert world.state is not None
    assert world.state.tasks[TWO].status == "PENDING"


def test_a_completion_is_told_before_what_it_unblocks(world: World) -> None:
    world.do(commands.UpdateTask(id=ONE, status="IN_PROGRESS"))
    said = world.do(commands.UpdateTask(id=ONE, status="COMPLETED"))
    assert said == [*task(T1, "COMPLETED"), *task(T2, "PENDING")]


def test_a_restart_is_one_message_and_tells_of_no_task(world: World) -> None:
    world.do(commands.Edit(status="FAILED"))
    assert world.do(commands.Restart()) == [updated("PLANNING")]


def test_a_resume_tells_of_each_task_that_it_resets_and_never_of_resuming(world: World) -> None:
    world.do(commands.UpdateTask(id=ONE, status="IN_PROGRESS"))
    world.do(commands.UpdateTask(id=ONE, status="FAILED"))
    world.do(commands.Edit(status="FAILED"))
    said = world.do(commands.Resume())
    assert said == [updated("IN_PROGRESS"), touched(T1, "PENDING"), touched(T2, "BLOCKED")]


def test_a_run_is_told_from_its_claim_to_its_end(world: World) -> None:
    begun = world.do(steps.Claim(task_id=ONE, agent_id=WORKER, run_id=RUN))
    started = Told("workspace", "run.started", {"id": ids.spell(RUN), "mission_id": M, "agent_id": W})
    both = ["assignment_created", "assignment_running"]
    assert begun == [*task(T1, "IN_PROGRESS"), *running("RUNNING", W, named=both), started]
    ended = world.do(steps.EndTask(task_id=ONE, run_id=RUN, outcome="completed", reason="end_turn", result="done"))
    over = running("COMPLETED", W, named=["assignment_completed"])
    assert ended == [*over, *task(T1, "COMPLETED"), *task(T2, "PENDING")]


def test_a_run_that_failed_says_so(world: World) -> None:
    world.do(steps.Claim(task_id=ONE, agent_id=WORKER, run_id=RUN))
    failed = steps.EndTask(task_id=ONE, run_id=RUN, outcome="failed", reason="failed", error="no")
    assert world.do(failed) == [*running("FAILED", W, named=["assignment_failed"]), *task(T1, "FAILED")]


@pytest.mark.parametrize(
    ("is_approved", "action", "after"),
    [(True, "approve", [*task(T1, "COMPLETED"), *task(T2, "PENDING")]), (False, "reject", None)],
)
def test_an_approval_is_asked_for_and_resolved(is_approved: bool, action: str, after: list[Told] | None) -> None:
    world = World()
    world.do(create())
    world.do(commands.CreateTask(id=ONE, title="first", approval_required=True))
    world.do(commands.CreateTask(id=TWO, title="second", depends_on=(commands.Reference(T1, ONE),)))
    world.do(commands.Start())
    world.do(steps.Claim(task_id=ONE, agent_id=WORKER, run_id=RUN))
    about = {"task_id": T1, "mission_id": M}
    asked = world.do(steps.EndTask(task_id=ONE, run_id=RUN, outcome="completed", reason="end_turn", result="done"))
    required = Told("workspace", "approval.required", about)
    assert asked[-3:] == [*task(T1, "AWAITING_APPROVAL"), required]
    said = world.do(commands.Decide(task_id=ONE, approved=is_approved, user="someone"))
    resolved = Told("workspace", "approval.resolved", {**about, "action": action})
    expected = after if after is not None else [*task(T1, "FAILED"), *task(T2, "FAILED")]
    assert [message for message in said if message != resolved] == expected
    assert said.count(resolved) == 1
    assert said.index(resolved) < said.index(expected[-1]), "the cause comes first"


def test_low_confidence_is_told_to_the_workspace(world: World) -> None:
    world.do(steps.Claim(task_id=ONE, agent_id=WORKER, run_id=RUN))
    end = steps.EndTask(
        task_id=ONE,
        run_id=RUN,
        outcome="completed",
        reason="end_turn",
        handoff=steps.Handoff(summary="so so", confidence=0.4),
        gate=steps.Gate(notify_threshold=0.5),
    )
    low = Told("workspace", "confidence.low", {"task_id": T1, "mission_id": M, "level": "notify"})
    assert low in world.do(end)


def test_the_end_of_a_mission_is_told_with_its_title(world: World) -> None:
    for identity in (ONE, TWO):
        world.do(commands.UpdateTask(id=identity, status="SKIPPED"))
    assert world.do(steps.Settle()) == [status("REVIEW", title="Build"), updated("REVIEW", title="Build")]


def test_every_value_is_text_and_every_id_is_spelled(world: World) -> None:
    world.do(steps.Claim(task_id=ONE, agent_id=WORKER, run_id=RUN))
    world.do(steps.EndTask(task_id=ONE, run_id=RUN, outcome="completed", reason="end_turn"))
    messages = [message for event in world.events for message in told(event)]
    assert messages
    for message in messages:
        for name, value in message.payload.items():
            assert isinstance(value, str)
            if name == "id" or name.endswith("_id"):
                prefix = ids.ASSIGNMENT if message.type.startswith("assignment") and name == "id" else ids.ENTITY
                assert ids.read(value, prefix) is not None


def test_crews_and_agents_are_told_to_the_workspace() -> None:
    event = Event(
        workspace_id=WORKSPACE,
        position=1,
        stream_id=WORKSPACE,
        sequence=1,
        type="crew.created",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        metadata=ascii_json({"id": str(CREW), "name": "Builders", "slug": "builders"}).decode(),
    )
    assert list(told(event)) == [
        Told("workspace", "crew.created", {"id": C, "name": "Builders", "slug": "builders"}),
    ]


@pytest.mark.parametrize(
    "made", [lambda e: {"crew_id": None}, lambda e: {"type": "tool_call"}, lambda e: {"type": "x"}]
)
def test_what_is_not_crew_s_gives_no_frame(world: World, made: Callable[[Event], dict[str, Any]]) -> None:
    for event in world.events:
        other = msgspec.structs.replace(event, **made(event))
        assert list(told(other)) == []
        assert CrewFrames("mission:x", "mission").event(other, 0) == b""


def _decoded(frames: bytes) -> list[dict[str, Any]]:
    decoded, rest = [], frames
    while rest:
        size, start = rest[1], 2
        if size == 126:
            size, start = int.from_bytes(rest[2:4], "big"), 4
        decoded.append(msgspec.json.decode(rest[start : start + size]))
        rest = rest[start + size :]
    return decoded


def test_the_frames_of_one_event_share_its_number_and_count_down(world: World) -> None:
    started = world.events[-1]
    face = Faces.of("workspace").spelled(Channel(WORKSPACE, "workspace", WORKSPACE), "e")
    frames = _decoded(face.event(started, 7))
    assert [(frame["seq"], frame["prev"], frame["n"]) for frame in frames] == [
        (started.position, 7, 1),
        (started.position, 7, 0),
    ]
    assert {frame["channel"] for frame in frames} == {f"workspace:{ids.spell(WORKSPACE)}"}
    assert [frame["payload"]["status"] for frame in frames] == ["STARTED", "IN_PROGRESS"]


def test_a_channel_is_called_as_its_subscriber_spelled_it() -> None:
    channel = Channel(WORKSPACE, "mission", MISSION)
    spelled, plain = Faces.of("mission")
    assert _decoded(spelled(channel, "e").heartbeat(3, 4))[0]["channel"] == f"mission:{M}"
    assert _decoded(plain(channel, "e").heartbeat(3, 4))[0]["channel"] == f"mission:{MISSION}"
    assert _decoded(SpelledTimeline(channel, "e").heartbeat(3, 4))[0]["channel"] == f"timeline:{M}"
