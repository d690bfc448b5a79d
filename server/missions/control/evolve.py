"""From a state and an event to the next state. Pure."""

from typing import Any
from uuid import UUID

import msgspec

from server.agents.budgets import Budget, Use
from server.agents.policy import DEFAULT
from server.missions.control import below, sandboxing, tasks
from server.missions.control.state import LIFECYCLE, Mission, Queued, Run
from streams.event import Event


def created(event: Event) -> Mission:
    """The first state, of mission_created."""
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
        permission_policy=data.get("permission_policy", DEFAULT),
        budget=Budget(**data.get("budget", {})),
    )


def _said(state: Mission, event: Event) -> dict[str, Any]:
    data = event.data()
    message_id = event.event_id or ""
    if data["queued"]:
        return {"queue": (*state.queue, Queued(message_id, event.content, data.get("agent")))}
    run = Run(UUID(data["run_id"]), message_id, event.sequence, event.at, data.get("agent", state.agent))
    queue = tuple(message for message in state.queue if message.id != message_id)
    return {"queue": queue, "run": run, "repeats": state.repeats + len(state.queue) - len(queue)}


def _moved(state: Mission, event: Event) -> dict[str, Any]:
    data = event.data()
    status = data["status"]
    return {
        "status": status,
        "terminal_reason": data.get("terminal_reason"),
        "interrupted_at": event.at if status == "interrupted" else None,
    }


def _run_ended(state: Mission, event: Event) -> dict[str, Any]:
    data = event.data()
    spent = state.spent.plus(Use(**data["use"])) if "use" in data else state.spent
    return {"run": None, "session_id": data.get("session_id", state.session_id), "spent": spent}


def _cancelling(state: Mission, event: Event) -> dict[str, Any]:
    if state.run is None:
        return {}
    data = event.data()
    above = data.get("budget_of")
    run = msgspec.structs.replace(
        state.run,
        is_cancelling=True,
        is_over_budget=data.get("reason") == "budget",
        budget_of=UUID(above) if above else None,
    )
    return {"run": run}


def _unqueued(state: Mission, event: Event) -> dict[str, Any]:
    gone = set(event.data()["ids"])
    return {"queue": tuple(message for message in state.queue if message.id not in gone)}


def _renamed(state: Mission, event: Event) -> dict[str, Any]:
    return {"title": event.content}


def _configured(state: Mission, event: Event) -> dict[str, Any]:
    changed = dict(event.data())
    if "budget" in changed:
        changed |= {"budget": Budget(**changed["budget"]), "warned": (), "reached": ()}
    return changed


def _warned(state: Mission, event: Event) -> dict[str, Any]:
    return {"warned": (*state.warned, event.data()["limit"])}


def _reached(state: Mission, event: Event) -> dict[str, Any]:
    return {"reached": (*state.reached, event.data()["limit"])}


EVOLVE = {
    "user_message": _said,
    "mission_status_changed": _moved,
    "run_ended": _run_ended,
    "cancel_requested": _cancelling,
    "messages_removed": _unqueued,
    "mission_title_changed": _renamed,
    "mission_settings_updated": _configured,
    "budget_warning": _warned,
    "budget_reached": _reached,
    **tasks.EVOLVE,
    **below.EVOLVE,
    **sandboxing.EVOLVE,
}
