"""From a wish and a state to events, or to why not. Pure."""

from typing import Any
from uuid import UUID

import msgspec

from server.agents import modes
from server.agents.budgets import MICROS_PER_CENT, Budget
from server.agents.policy import DEFAULT
from server.missions.control import below, sandboxing, tasks
from server.missions.control.commands import (
    Cancel,
    Configure,
    Create,
    Delete,
    EndRun,
    Interrupt,
    RemoveQueued,
    Rename,
    Resume,
    Send,
    SetStatus,
    Spend,
    StartNext,
)
from server.missions.control.limits import (
    crossed,
    limited,
    reached_in,
    refuse_if_spent,
    removed,
    used_up,
    used_up_above,
)
from server.missions.control.state import KIND, LIFECYCLE, MAX_QUEUE, MAX_QUEUED_CHARACTERS, Mission, Queued, id_in
from storage.rules import Command, Decision
from streams.errors import Conflict, MoveRefused, NotFound, TooMany
from streams.event import Draft

STATUS_AFTER = {
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

STOPS_THE_QUEUE = frozenset({"shutdown"})
"""After these the queue waits for the next server instead of starting its next message."""


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
    modes.check(command.backend, command.agent, command.permission_policy)
    fields = {
        name: value
        for name in ("backend", "agent", "model_override", "config_profile")
        if (value := getattr(command, name)) is not None
    }
    if command.permission_policy != DEFAULT:
        fields["permission_policy"] = command.permission_policy
    if limits := command.budget.limits():
        fields["budget"] = limits
    links = {"space_id": str(command.space_id)}
    if command.parent_id is not None:
        links["parent_mission_id"] = str(command.parent_id)
    return Decision(
        (Draft(type="mission_created", content=command.title or "", metadata=fields | links, actor=command.by),)
    )


def _send(state: Mission, command: Send) -> Decision:
    modes.check(state.backend, command.agent, state.permission_policy)
    refuse_if_spent(state, command.spent_above)
    message = Queued(id_in(state, command.message_id, command.by), command.content, command.agent)
    if state.run is None and not state.queue and command.has_slot:
        return Decision(_start(state, message, command.run_id, command.by))
    if command.must_start:
        raise Conflict("Mission is already running" if state.run else "Every slot for parallel missions is taken")
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
    is_success = STATUS_AFTER[command.reason] == "completed"
    drafts: list[Draft] = []
    spent = state.spent_in_all.plus(command.use)
    crossings = crossed(state.budget, spent, warned=state.warned, reached=state.reached)
    reached = (*state.reached, *reached_in(crossings))
    is_stopped = state.run.is_over_budget and command.reason == "cancelled"
    text = command.text or ("Cancelled" if command.reason == "cancelled" else "")
    error = command.error
    if is_stopped and state.run.budget_of is not None:
        error = used_up_above(state.run.budget_of)
    elif is_stopped and reached:
        error = used_up(state.id, state.budget, spent, reached)
    if error is not None:
        drafts.append(Draft(type="error", content=error, metadata={"resumable": True}))
    if text:
        metadata: dict[str, Any] = {
            "success": is_success,
            "cost_cents": round(command.use.cost_micros / MICROS_PER_CENT),
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
    ended: dict[str, Any] = {
        "run_id": str(command.run_id),
        "reason": command.reason,
        "usage": command.usage,
        "use": msgspec.to_builtins(command.use),
    }
    if command.session_id is not None:
        ended["session_id"] = command.session_id
    drafts.append(Draft(type="run_ended", metadata=ended))
    drafts += crossings
    if not state.title and text and (title := _title(text)):
        drafts.append(Draft(type="mission_title_changed", content=title))
    if state.queue and reached:
        drafts.append(removed(state.queue))
    if state.queue and not reached and command.next_run_id is not None and command.reason not in STOPS_THE_QUEUE:
        drafts.append(_message(state.queue[0], by=None, run_id=command.next_run_id))
    elif state.status == "active":
        status = STATUS_AFTER[command.reason]
        reason = "budget" if is_stopped else command.reason
        drafts.append(_status(status, summary=command.summary or "", reason=reason))
    return Decision(tuple(drafts))


def _title(text: str) -> str:
    lines = (line.strip().lstrip("#").strip() for line in text.splitlines())
    return next((line[:100] for line in lines if len(line) > 3), "")


def _spend(state: Mission, command: Spend) -> Decision:
    if state.run is None or state.run.id != command.run_id or state.run.is_cancelling:
        return Decision()
    spent = state.spent_in_all.plus(command.use)
    return Decision(tuple(limited(state, crossed(state.budget, spent, warned=state.warned, reached=state.reached))))


def _cancel(state: Mission, command: Cancel) -> Decision:
    if state.run is None and not state.queue:
        raise NotFound(f"Mission {state.id} is not running")
    drafts: list[Draft] = []
    if command.whole_mission and state.queue:
        drafts.append(removed(state.queue, command.by))
    if state.run is not None:
        if not state.run.is_cancelling:
            drafts.append(Draft(type="cancel_requested", metadata={"run_id": str(state.run.id)}, actor=command.by))
    elif state.status == "active":
        drafts.append(_status("interrupted", reason="cancelled", by=command.by))
    return Decision(tuple(drafts))


def _set_status(state: Mission, command: SetStatus) -> Decision:
    LIFECYCLE.check(state.status, command.status)
    return Decision((_status(command.status, by=command.by),))


def _resume(state: Mission, command: Resume) -> Decision:
    refuse_if_spent(state, command.spent_above)
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
    return Decision((removed(gone, command.by),) if gone else ())


def _rename(state: Mission, command: Rename) -> Decision:
    if command.title == state.title:
        return Decision()
    return Decision((Draft(type="mission_title_changed", content=command.title, actor=command.by),))


def _configure(state: Mission, command: Configure) -> Decision:
    changed = {
        name: value
        for name in ("agent", "permission_policy")
        if (value := getattr(command, name)) is not msgspec.UNSET and value != getattr(state, name)
    }
    policy = changed.get("permission_policy", state.permission_policy)
    # Whoever works or waits already must be allowed what they do, too.
    begun = (state.run.agent,) if state.run else ()
    for agent in (changed.get("agent", state.agent), *begun, *(message.agent for message in state.queue)):
        modes.check(state.backend, agent, policy)
    drafts: list[Draft] = []
    budget = _budget(state.budget, command)
    if budget != state.budget:
        changed["budget"] = budget.limits()
        drafts = limited(state, crossed(budget, state.spent_in_all, warned=(), reached=()))
    if not changed:
        return Decision()
    return Decision((Draft(type="mission_settings_updated", metadata=changed, actor=command.by), *drafts))


def _budget(before: Budget, command: Configure) -> Budget:
    if isinstance(command.budget, msgspec.UnsetType):
        return before
    return Budget() if command.budget is None else msgspec.structs.replace(before, **command.budget)


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


DECIDE: dict[type[Command], Any] = {
    Create: _create,
    Send: _send,
    StartNext: _start_next,
    EndRun: _end_run,
    Spend: _spend,
    Cancel: _cancel,
    SetStatus: _set_status,
    Resume: _resume,
    RemoveQueued: _remove_queued,
    Rename: _rename,
    Configure: _configure,
    Interrupt: _interrupt,
    Delete: _delete,
    **tasks.DECIDE,
    **below.DECIDE,
    **sandboxing.DECIDE,
}
