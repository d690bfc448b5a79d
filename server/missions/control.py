"""Control missions, agent sessions: their state, commands, and the rules that turn wishes into events."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from server.missions.kinds import Facts
from server.missions.lifecycle import Lifecycle, every_move
from storage.rules import Command, Decision, Row
from streams.errors import Conflict, MoveRefused, NotFound, TooMany
from streams.event import Draft, Event

KIND = "control"
MAX_QUEUE = 100
MAX_QUEUED_CHARACTERS = 1 << 20

LIFECYCLE = Lifecycle(
    initial="pending",
    transitions=every_move("pending", "active", "completed", "failed", "interrupted"),
    phases={s: s for s in ("pending", "active", "completed", "failed", "interrupted")},
)
RESUMABLE = frozenset({"interrupted", "failed"})

_STATUS_AFTER = {
    "end_turn": "completed",
    "max_tokens": "completed",
    "max_turn_requests": "completed",
    "refusal": "failed",
    "failed": "failed",
    "cancelled": "interrupted",
    "shutdown": "interrupted",
    "crashed": "interrupted",
}
"""The status that a turn's reason to end leads to, when nothing is queued behind it."""

_STOPS_THE_QUEUE = frozenset({"shutdown"})
"""After these the queue waits for the next server instead of starting its next message."""


class Queued(msgspec.Struct, frozen=True):
    """A message that waits for its turn."""

    id: str
    content: str
    agent: str | None = None


class Run(msgspec.Struct, frozen=True):
    """The turn that is going on; `sequence` is its user_message."""

    id: UUID
    message_id: str
    sequence: int
    started_at: datetime
    agent: str | None = None
    is_cancelling: bool = False


class Mission(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a control mission."""

    id: UUID
    status: str
    backend: str
    space_id: UUID
    created_at: datetime
    updated_at: datetime
    title: str | None = None
    agent: str | None = None
    model_override: str | None = None
    config_profile: str | None = None
    parent_id: UUID | None = None
    created_by: str | None = None
    queue: tuple[Queued, ...] = ()
    run: Run | None = None
    interrupted_at: datetime | None = None
    terminal_reason: str | None = None
    session_id: str | None = None

    @property
    def is_resumable(self) -> bool:
        return self.status in RESUMABLE


class Create(Command, frozen=True, kw_only=True):
    """Make a mission, pending."""

    creates: ClassVar[bool] = True

    id: UUID
    backend: str
    space_id: UUID
    title: str | None = None
    agent: str | None = None
    model_override: str | None = None
    config_profile: str | None = None
    parent_id: UUID | None = None
    by: str | None = None


class Send(Command, frozen=True, kw_only=True):
    """Give a message to the agent: as the next turn when it is free and there is a slot, else queued."""

    message_id: str
    content: str
    run_id: UUID
    has_slot: bool
    agent: str | None = None
    by: str | None = None


class StartNext(Command, frozen=True, kw_only=True):
    """Begin the turn of the first queued message, if the mission is free."""

    run_id: UUID


class EndRun(Command, frozen=True, kw_only=True):
    """End a turn: its last words, its outcome, and what follows. A run that has ended already is left alone."""

    run_id: UUID
    reason: str
    text: str = ""
    error: str | None = None
    summary: str | None = None
    model: str | None = None
    cost_cents: int = 0
    usage: dict[str, int] = {}
    session_id: str | None = None
    next_run_id: UUID | None = None
    by: str | None = None


class Cancel(Command, frozen=True, kw_only=True):
    """Stop the running turn; with `whole_mission` drop its queue too."""

    by: str | None = None
    whole_mission: bool = False


class SetStatus(Command, frozen=True, kw_only=True):
    """Set any status; does not stop a turn."""

    status: str
    by: str | None = None


class Resume(Command, frozen=True, kw_only=True):
    """Take up an interrupted or failed mission; with `content`, by sending that message."""

    run_id: UUID
    message_id: str
    has_slot: bool
    content: str | None = None
    by: str | None = None


class RemoveQueued(Command, frozen=True, kw_only=True):
    """Take messages out of the queue; None takes all."""

    message_id: str | None = None
    by: str | None = None


class Rename(Command, frozen=True, kw_only=True):
    """Change the title."""

    title: str
    by: str | None = None


class Interrupt(Command, frozen=True, kw_only=True):
    """Mark a mission that is active without a turn (a server died between two) as interrupted."""

    reason: str


class Delete(Command, frozen=True, kw_only=True):
    """Hide the mission for ever; not while it runs."""

    touches_workspace: ClassVar[bool] = True
    by: str | None = None


def _status(status: str, *, summary: str = "", reason: str | None = None, by: str | None = None) -> Draft:
    metadata: dict[str, Any] = {"status": status}
    if reason is not None:
        metadata["terminal_reason"] = reason
    return Draft(type="mission_status_changed", content=summary, metadata=metadata, actor=by)


def _message(message: Queued, *, by: str | None, run_id: UUID | None) -> Draft:
    metadata: dict[str, Any] = {"queued": run_id is None}
    if run_id is not None:
        metadata["run_id"] = str(run_id)
    if message.agent is not None:
        metadata["agent"] = message.agent
    return Draft(type="user_message", content=message.content, metadata=metadata, event_id=message.id, actor=by)


def _start(state: Mission, message: Queued, run_id: UUID, by: str | None = None) -> tuple[Draft, ...]:
    flip = () if state.status == "active" else (_status("active"),)
    return (*flip, _message(message, by=by, run_id=run_id))


def _create(state: None, command: Create) -> Decision:
    fields = {
        name: value
        for name in ("backend", "agent", "model_override", "config_profile")
        if (value := getattr(command, name)) is not None
    }
    links = {"space_id": str(command.space_id)}
    if command.parent_id is not None:
        links["parent_mission_id"] = str(command.parent_id)
    return Decision(
        (Draft(type="mission_created", content=command.title or "", metadata=fields | links, actor=command.by),)
    )


def _send(state: Mission, command: Send) -> Decision:
    message = Queued(command.message_id, command.content, command.agent)
    if state.run is None and not state.queue and command.has_slot:
        return Decision(_start(state, message, command.run_id, command.by))
    waiting = sum(len(queued.content) for queued in state.queue)
    if len(state.queue) >= MAX_QUEUE or waiting + len(command.content) > MAX_QUEUED_CHARACTERS:
        raise TooMany("the mission's queue is full; wait until its agent has caught up", retry_after=5)
    return Decision((_message(message, by=command.by, run_id=None),))


def _start_next(state: Mission, command: StartNext) -> Decision:
    if state.run is not None or not state.queue:
        return Decision()
    return Decision(_start(state, state.queue[0], command.run_id))


def _end_run(state: Mission, command: EndRun) -> Decision:
    if state.run is None or state.run.id != command.run_id:
        return Decision()
    is_success = _STATUS_AFTER[command.reason] == "completed"
    drafts: list[Draft] = []
    text = command.text or ("Cancelled" if command.reason == "cancelled" else "")
    if command.error is not None:
        drafts.append(Draft(type="error", content=command.error, metadata={"resumable": True}))
    if text:
        metadata: dict[str, Any] = {
            "success": is_success,
            "cost_cents": command.cost_cents,
            "model": command.model,
            "run_id": str(command.run_id),
        }
        if not is_success:
            metadata["resumable"] = True
        drafts.append(
            Draft(
                type="assistant_message",
                content=text,
                metadata=metadata,
                event_id=f"{command.run_id}-final",
                actor=command.by,
            )
        )
    ended: dict[str, Any] = {"run_id": str(command.run_id), "reason": command.reason, "usage": command.usage}
    if command.session_id is not None:
        ended["session_id"] = command.session_id
    drafts.append(Draft(type="run_ended", metadata=ended))
    if not state.title and text and (title := _title(text)):
        drafts.append(Draft(type="mission_title_changed", content=title))
    if state.queue and command.next_run_id is not None and command.reason not in _STOPS_THE_QUEUE:
        drafts.append(_message(state.queue[0], by=None, run_id=command.next_run_id))
    elif state.status == "active":
        status = _STATUS_AFTER[command.reason]
        drafts.append(_status(status, summary=command.summary or "", reason=command.reason))
    return Decision(tuple(drafts))


def _title(text: str) -> str:
    lines = (line.strip().lstrip("#").strip() for line in text.splitlines())
    return next((line[:100] for line in lines if len(line) > 3), "")


def _cancel(state: Mission, command: Cancel) -> Decision:
    if state.run is None and not state.queue:
        raise NotFound(f"Mission {state.id} is not running")
    drafts: list[Draft] = []
    if command.whole_mission and state.queue:
        drafts.append(_removed(state.queue, command.by))
    if state.run is not None:
        if not state.run.is_cancelling:
            drafts.append(Draft(type="cancel_requested", metadata={"run_id": str(state.run.id)}, actor=command.by))
    elif state.status == "active":
        drafts.append(_status("interrupted", reason="cancelled", by=command.by))
    return Decision(tuple(drafts))


def _removed(messages: tuple[Queued, ...], by: str | None) -> Draft:
    return Draft(type="messages_removed", metadata={"ids": [message.id for message in messages]}, actor=by)


def _set_status(state: Mission, command: SetStatus) -> Decision:
    LIFECYCLE.check(state.status, command.status)
    return Decision((_status(command.status, by=command.by),))


def _resume(state: Mission, command: Resume) -> Decision:
    if not state.is_resumable:
        raise MoveRefused(f"Mission {state.id} is {state.status}; only an interrupted or failed mission can be resumed")
    if command.content is None:
        return Decision((_status("active", by=command.by),))
    message = Queued(command.message_id, command.content)
    if state.run is None and command.has_slot and not state.queue:
        return Decision(_start(state, message, command.run_id, command.by))
    return Decision((_status("active", by=command.by), _message(message, by=command.by, run_id=None)))


def _remove_queued(state: Mission, command: RemoveQueued) -> Decision:
    gone = tuple(m for m in state.queue if command.message_id in (None, m.id))
    if command.message_id is not None and not gone:
        raise NotFound("message not in queue")
    return Decision((_removed(gone, command.by),) if gone else ())


def _rename(state: Mission, command: Rename) -> Decision:
    if command.title == state.title:
        return Decision()
    return Decision((Draft(type="mission_title_changed", content=command.title, actor=command.by),))


def _interrupt(state: Mission, command: Interrupt) -> Decision:
    if state.run is not None or state.status != "active" or state.queue:
        return Decision()
    return Decision((_status("interrupted", summary=command.reason, reason="crashed"),))


def _delete(state: Mission, command: Delete) -> Decision:
    if state.run is not None:
        raise Conflict("Mission is running; cancel it before deleting it")
    draft = Draft(
        type="mission_deleted",
        metadata={"mission_id": str(state.id), "kind": KIND},
        actor=command.by,
        to_workspace=True,
    )
    return Decision((draft,), deletes=True)


_DECIDE: dict[type[Command], Any] = {
    Create: _create,
    Send: _send,
    StartNext: _start_next,
    EndRun: _end_run,
    Cancel: _cancel,
    SetStatus: _set_status,
    Resume: _resume,
    RemoveQueued: _remove_queued,
    Rename: _rename,
    Interrupt: _interrupt,
    Delete: _delete,
}


def _created(state: None, event: Event) -> Mission:
    data = event.data()
    parent = data.get("parent_mission_id")
    return Mission(
        id=event.stream_id,
        status=LIFECYCLE.initial,
        backend=data["backend"],
        space_id=UUID(data["space_id"]),
        created_at=event.at,
        updated_at=event.at,
        title=event.content or None,
        agent=data.get("agent"),
        model_override=data.get("model_override"),
        config_profile=data.get("config_profile"),
        parent_id=UUID(parent) if parent else None,
        created_by=event.actor,
    )


def _said(state: Mission, event: Event) -> dict[str, Any]:
    data = event.data()
    message_id = event.event_id or ""
    if data["queued"]:
        return {"queue": (*state.queue, Queued(message_id, event.content, data.get("agent")))}
    run = Run(UUID(data["run_id"]), message_id, event.sequence, event.at, data.get("agent"))
    return {"queue": tuple(m for m in state.queue if m.id != message_id), "run": run}


def _moved(state: Mission, event: Event) -> dict[str, Any]:
    data = event.data()
    status = data["status"]
    return {
        "status": status,
        "terminal_reason": data.get("terminal_reason"),
        "interrupted_at": event.at if status == "interrupted" else None,
    }


def _run_ended(state: Mission, event: Event) -> dict[str, Any]:
    return {"run": None, "session_id": event.data().get("session_id", state.session_id)}


def _cancelling(state: Mission, event: Event) -> dict[str, Any]:
    return {"run": state.run and msgspec.structs.replace(state.run, is_cancelling=True)}


def _unqueued(state: Mission, event: Event) -> dict[str, Any]:
    gone = set(event.data()["ids"])
    return {"queue": tuple(message for message in state.queue if message.id not in gone)}


def _renamed(state: Mission, event: Event) -> dict[str, Any]:
    return {"title": event.content}


_EVOLVE = {
    "user_message": _said,
    "mission_status_changed": _moved,
    "run_ended": _run_ended,
    "cancel_requested": _cancelling,
    "messages_removed": _unqueued,
    "mission_title_changed": _renamed,
}


class ControlRules:
    """The pure pair of this kind, as the writer uses it."""

    kind = KIND
    api = "/api/control"
    state_type = Mission
    commands: ClassVar[Mapping[str, type[Command]]] = {
        "send": Send,
        "start_next": StartNext,
        "end_run": EndRun,
        "cancel": Cancel,
        "set_status": SetStatus,
        "resume": Resume,
        "remove_queued": RemoveQueued,
        "rename": Rename,
        "interrupt": Interrupt,
        "delete": Delete,
    }
    state_events = frozenset({"mission_created", *_EVOLVE})

    def decide(self, state: Mission | None, command: Command) -> Decision:
        """Turn a command into drafts, or raise why not."""
        decision: Decision = _DECIDE[type(command)](state, command)
        return decision

    def evolve(self, state: Mission | None, event: Event) -> Mission:
        """Fold one state event."""
        if state is None:
            return _created(None, event)
        return msgspec.structs.replace(state, updated_at=event.at, **_EVOLVE[event.type](state, event))

    def row(self, state: Mission) -> Row:
        """The projection of a state."""
        return Row(
            status=state.status,
            phase=LIFECYCLE.phases[state.status],
            title=state.title,
            created_at=state.created_at,
            updated_at=state.updated_at,
            parent_id=state.parent_id,
            run_id=state.run.id if state.run else None,
            queued=len(state.queue),
        )

    def facts(self, state: Mission) -> Facts:
        """What any dialect may show of a state."""
        return Facts(
            backend=state.backend,
            space_id=state.space_id,
            agent=state.agent,
            model_override=state.model_override,
            config_profile=state.config_profile,
            session_id=state.session_id,
            terminal_reason=state.terminal_reason,
            interrupted_at=state.interrupted_at,
            is_resumable=state.is_resumable,
            queue=tuple((message.id, message.content, message.agent) for message in state.queue),
            run_id=state.run.id if state.run else None,
            run_sequence=state.run.sequence if state.run else None,
            run_agent=state.run.agent if state.run else None,
        )
