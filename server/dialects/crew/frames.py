"""What crew's WebSocket says of each event: names, channels and payloads, as a table; and the encodings made of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from server.dialects.crew import ids, journal
from server.missions.crew.state import LIFECYCLE, TRANSIENT, UNDECIDED
from server.timeline import TimelineSocket
from streams import websocket
from streams.channels import Channel
from streams.event import Event, Signal
from streams.feed import Face

WORKSPACE, CREW, MISSION, SESSION, JOURNAL = "workspace", "crew", "mission", "session", "journal"
"""The prefixes of the channels that carry events. A mission's id is also its session's."""


class Told(NamedTuple):
    """One message: the prefix of its channel, its type and its payload, whose values are all strings but an entry's."""

    prefix: str
    type: str
    payload: dict[str, str] | journal.Entry


_Teller = Callable[[Event, dict[str, Any]], Iterable[Told]]


def _created(event: Event, data: dict[str, Any]) -> Iterator[Told]:
    mission, crew, status = _mission(event), _crew(event), LIFECYCLE.initial
    if data["cause"] == "create":
        yield Told(CREW, "mission.created", {"id": mission, "title": event.content})
        yield Told(WORKSPACE, "mission.updated", {"id": mission, "crew_id": crew, "status": status})
    elif data["cause"] == "clone":
        yield Told(WORKSPACE, "mission.created", {"id": mission, "crew_id": crew, "status": status})


def _moved(event: Event, data: dict[str, Any]) -> Iterator[Told]:
    yield from _MOVES[data["cause"]](event, data["status"], {"title": data["title"]} if "title" in data else {})


def _patched(event: Event, status: str, title: dict[str, str]) -> Iterator[Told]:
    yield Told(MISSION, "mission.status", {"id": _mission(event), "status": status})
    yield _mission_updated(event, status)


def _started(event: Event, status: str, title: dict[str, str]) -> Iterator[Told]:
    yield from _by_engine(event, "STARTED", title)
    yield Told(MISSION, "mission.updated", {"id": _mission(event), "status": status})
    yield _mission_updated(event, status)


def _restarted(event: Event, status: str, title: dict[str, str]) -> Iterator[Told]:
    yield _mission_updated(event, status)


def _resumed(event: Event, status: str, title: dict[str, str]) -> Iterator[Told]:
    if status not in TRANSIENT:
        yield _mission_updated(event, status)


def _by_engine(event: Event, status: str, title: dict[str, str]) -> Iterator[Told]:
    yield Told(MISSION, "mission.status", {"id": _mission(event), **title, "status": status})
    yield _mission_updated(event, status, **title)


_MOVES: Mapping[str, Callable[[Event, str, dict[str, str]], Iterator[Told]]] = {
    "patch": _patched,
    "cancel": _patched,
    "start": _started,
    "restart": _restarted,
    "resume": _resumed,
    "engine": _by_engine,
    "review": _by_engine,
    "timeout": _by_engine,
}
"""By the cause of a mission's move. STARTED is no status of a mission: the engine of the original says it first."""


def _task_created(event: Event, data: dict[str, Any]) -> Iterator[Told]:
    if data["cause"] not in ("clone", "fork"):
        task, status = _id(data["task_id"]), data["status"]
        yield Told(MISSION, "task.created", {"id": task, "title": event.content, "status": status})
        yield _task_updated(event, task, status)


def _task_moved(event: Event, data: dict[str, Any]) -> Iterator[Told]:
    cause, task, status = data["cause"], _id(data["task_id"]), data["status"]
    if cause == "depends":
        return
    yield from _task_status(event, task, status)
    about = {"task_id": task, "mission_id": _mission(event)}
    if status in UNDECIDED:
        yield Told(WORKSPACE, "approval.required", about)
    if cause in _DECISIONS:
        yield Told(WORKSPACE, "approval.resolved", {**about, "action": _DECISIONS[cause]})


_DECISIONS = {"approved": "approve", "rejected": "reject"}


def _tasks_reset(event: Event, data: dict[str, Any]) -> Iterator[Told]:
    for reset in data["tasks"] if data["cause"] != "restart" else ():
        task = _id(reset["task_id"])
        if data["cause"] == "rework":
            yield from _task_status(event, task, reset["status"])
        else:
            yield _task_updated(event, task, reset["status"])


def _low_confidence(event: Event, data: dict[str, Any]) -> Iterator[Told]:
    about = {"task_id": _id(data["task_id"]), "mission_id": _mission(event), "level": data["level"]}
    yield Told(WORKSPACE, "confidence.low", about)


def _run_started(event: Event, data: dict[str, Any]) -> Iterator[Told]:
    about = _assignment(data)
    for name in ("assignment_created", "assignment_running"):
        yield Told(SESSION, name, {**about, "status": _ASSIGNMENT[name]})
    yield from _assignment_updated(event, data, name, "RUNNING")
    yield Told(
        WORKSPACE,
        "run.started",
        {"id": _id(data["run_id"]), "mission_id": _mission(event), "agent_id": about["target"]},
    )


def _run_ended(event: Event, data: dict[str, Any]) -> Iterator[Told]:
    name = "assignment_completed" if data["reason"] in _COMPLETED else "assignment_failed"
    yield Told(SESSION, name, {**_assignment(data), "status": _ASSIGNMENT[name]})
    yield from _assignment_updated(event, data, name, "IDLE")


_ASSIGNMENT = {
    "assignment_created": "PENDING",
    "assignment_running": "RUNNING",
    "assignment_completed": "COMPLETED",
    "assignment_failed": "FAILED",
}
"""The wire's own statuses of an assignment, by the message that tells of it."""
_COMPLETED = frozenset({"end_turn", "max_tokens", "max_turn_requests"})
"""A run's reasons to end that leave a result."""


def _resource(event: Event, data: dict[str, Any]) -> Iterator[Told]:
    yield Told(WORKSPACE, event.type, {name: _spelled(name, value) for name, value in data.items()})


_TELLERS: Mapping[str, _Teller] = {
    "mission_created": _created,
    "mission_status_changed": _moved,
    "task_created": _task_created,
    "task_status_changed": _task_moved,
    "tasks_reset": _tasks_reset,
    "confidence_low": _low_confidence,
    "run_started": _run_started,
    "run_ended": _run_ended,
}
_RESOURCES: Mapping[str, _Teller] = {
    f"{noun}.{verb}": _resource for noun in ("crew", "agent") for verb in ("created", "updated", "deleted")
}


def told(event: Event) -> Iterable[Told]:
    """The messages of an event, in the order of their being said; none for an event that crew's clients do not know.

    A crew mission's events carry its crew; crews and agents themselves are spoken of in the workspace's own stream.
    """
    tellers = _RESOURCES if event.stream_id == event.workspace_id else _TELLERS if event.crew_id is not None else {}
    teller = tellers.get(event.type)
    return () if teller is None else teller(event, event.data())


def _told_on(prefix: str, event: Event) -> list[Told]:
    """What an event says on the channels of a prefix; on the journal's, the whole entry."""
    if prefix != JOURNAL:
        return [message for message in told(event) if message.prefix == prefix]
    entry = journal.of(event)
    return [] if entry is None else [Told(JOURNAL, "journal.entry", entry)]


def _id(text: str) -> str:
    return ids.spell(UUID(text))


def _spelled(name: str, value: Any) -> str:
    return _id(value) if name == "id" or name.endswith("_id") else str(value)


def _mission(event: Event) -> str:
    return ids.spell(event.stream_id)


def _crew(event: Event) -> str:
    assert event.crew_id is not None
    return ids.spell(event.crew_id)


def _mission_updated(event: Event, status: str, **more: str) -> Told:
    return Told(
        WORKSPACE, "mission.updated", {"id": _mission(event), "crew_id": _crew(event), **more, "status": status}
    )


def _task_updated(event: Event, task: str, status: str) -> Told:
    return Told(WORKSPACE, "task.updated", {"id": task, "mission_id": _mission(event), "status": status})


def _task_status(event: Event, task: str, status: str) -> Iterator[Told]:
    yield Told(MISSION, "task.status", {"id": task, "status": status})
    yield _task_updated(event, task, status)


def _assignment(data: dict[str, Any]) -> dict[str, str]:
    about = {"id": ids.spell(UUID(data["run_id"]), ids.ASSIGNMENT), "target": _id(data["agent_id"])}
    return about | ({"task_id": _id(data["task_id"])} if data.get("task_id") else {})


def _assignment_updated(event: Event, data: dict[str, Any], name: str, agent_status: str) -> Iterator[Told]:
    about, status = _assignment(data), _ASSIGNMENT[name]
    yield Told(WORKSPACE, "assignment.updated", {"id": about["id"], "mission_id": _mission(event), "status": status})
    yield Told(WORKSPACE, "agent.status", {"id": about["target"], "status": agent_status})


class CrewFrames:
    """The frames of one channel. Those of one event share `seq`; `n` counts down, and the one with 0 moves the cursor."""

    is_whole = False
    lingers = True

    def __init__(self, name: str, prefix: str) -> None:
        self._name = name
        self._prefix = prefix

    def event(self, event: Event, prev: int) -> bytes:
        here = _told_on(self._prefix, event)
        return b"".join(
            websocket.frame(
                {
                    "type": message.type,
                    "channel": self._name,
                    "payload": message.payload,
                    "seq": event.position,
                    "prev": prev,
                    "n": n,
                }
            )
            for n, message in zip(range(len(here) - 1, -1, -1), here, strict=True)
        )

    def signal(self, signal: Signal) -> bytes:
        return b""

    def heartbeat(self, through: int, head: int) -> bytes:
        return websocket.frame(
            {"type": "ping", "channel": self._name, "payload": None, "head": head, "through": through}
        )

    def notice(self, name: str, body: dict[str, Any]) -> bytes:
        return websocket.frame({"type": name, "channel": self._name, "payload": body})


class Faces(NamedTuple):
    """A prefix's encodings: a channel is called as its subscriber has spelled it."""

    spelled: Face
    plain: Face

    def as_in(self, is_spelled: bool) -> Face:
        return self.spelled if is_spelled else self.plain

    @classmethod
    def of(cls, prefix: str) -> "Faces":
        """The encodings of a prefix."""
        return cls(
            lambda channel, epoch: CrewFrames(f"{prefix}:{ids.spell(channel.id)}", prefix),
            lambda channel, epoch: CrewFrames(f"{prefix}:{channel.id}", prefix),
        )


class SpelledTimeline(TimelineSocket):
    """Stored events on a `timeline:` channel whose id is spelled as crew spells ids."""

    def __init__(self, channel: Channel, epoch: str) -> None:
        super().__init__(channel, epoch)
        self._name = f"timeline:{ids.spell(channel.id)}"
