"""The journal: which events of the log are entries of it, and what an entry says. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from server.dialects.crew import ids
from server.missions.crew.limits import cut
from server.missions.crew.state import LIFECYCLE
from streams.event import Event, timestamp

SEVERITIES = ("info", "notice", "warn", "error")
PRIORITIES = ("normal", "high", "pin", "permanent")
ACTORS = ("agent", "user", "system", "keeper", "sidecar", "orchestrator")
_SUMMARY_CHARACTERS = 300
MOST_ITEMS = 20
"""Of a list in a payload; beside it then stands `<name>_total`, how many there are."""
MOST_TEXT_BYTES = 2_000
"""Of a text in a payload; the whole of it is in the log."""


class Kind(NamedTuple):
    """Events that are one sort of entry: by their type, and by two words of their metadata; % is any.

    `why` is their cause, purpose or kind, `what` their status or reason. `actor` stands for events without an author.
    """

    type: str
    entry_type: str
    summary: str
    severity: str = "info"
    priority: str = "normal"
    actor: str = "orchestrator"
    why: str = "%"
    what: str = "%"

    @property
    def facet(self) -> str:
        """The pattern of its events' facets, as the log is asked for them."""
        return f"{self.type}/{self.why}/{self.what}"


_MISSION, _TASK, _RUN = "mission_status_changed", "task_status_changed", "run_ended"
KINDS = (
    Kind(_MISSION, "mission.status_change", "mission is back in {status}", what="PLANNING"),
    Kind(_MISSION, "mission.status_change", "mission is {status}", what="IN_PROGRESS"),
    Kind(_MISSION, "mission.status_change", "mission is in {status}", "notice", what="REVIEW"),
    Kind(_MISSION, "mission.status_change", "mission is {status}", "notice", "high", what="COMPLETED"),
    Kind(_MISSION, "mission.status_change", "mission {status}", "error", "high", what="FAILED"),
    Kind(_MISSION, "mission.status_change", "mission is {status}", "notice", what="CANCELLED"),
    Kind("mission_deleted", "mission.deleted", "mission was deleted", "notice", actor="user", why="crew", what=""),
    Kind(_TASK, "task.status_change", "{task} is {status}", actor="user", why="patch", what="PENDING"),
    Kind(_TASK, "task.status_change", "{task} is {status}", actor="user", why="patch", what="IN_PROGRESS"),
    Kind(_TASK, "task.status_change", "{task} is {status}", actor="user", why="patch", what="COMPLETED"),
    Kind(_TASK, "task.status_change", "{task} is {status}", "notice", actor="user", why="patch", what="SKIPPED"),
    Kind(_TASK, "task.status_change", "{task} {status}", "error", actor="user", why="patch", what="FAILED"),
    Kind(_TASK, "task.status_change", "{task} is ready", why="unblock"),
    Kind(_TASK, "task.status_change", "{task} FAILED", "error", why="cascade"),
    Kind(_TASK, "task.status_change", "{task} FAILED", "error", why="dispatch"),
    Kind(_TASK, "assignment.running", "{task} is worked on", why="claim"),
    Kind(_TASK, "assignment.completed", "{task} is {status}", why="end", what="COMPLETED"),
    Kind(_TASK, "assignment.failed", "{task} {status}", "error", why="end", what="FAILED"),
    Kind(_TASK, "approval.requested", "{task} awaits approval", "notice", "high", why="end", what="AWAITING_APPROVAL"),
    Kind(_TASK, "approval.granted", "{task} was approved", "notice", actor="user", why="approved"),
    Kind(_TASK, "approval.denied", "{task} was rejected", "warn", actor="user", why="rejected"),
    Kind(_TASK, "approval.timeout", "nobody approved {task} in time", "error", why="timeout"),
    Kind(_TASK, "task.retried", "{task} is tried again", "warn", why="retry"),
    Kind(_TASK, "task.retried", "{task} is set back", "warn", why="loop_back"),
    Kind(_TASK, "task.requeued", "{task} is given out again", "warn", why="requeue"),
    Kind("tasks_reset", "task.reset", "tasks are set back", "notice", why="restart"),
    Kind("tasks_reset", "task.reset", "tasks are set back", "notice", why="resume"),
    Kind("tasks_reset", "task.reset", "tasks are set back", "notice", why="rework"),
    Kind("task_waiting", "task.waiting", "{task} waits", "notice"),
    Kind("mission_waiting", "mission.waiting", "mission waits for a plan", "notice"),
    Kind("run_started", "run.started", "run began, {purpose}"),
    Kind(_RUN, "run.failed", "run failed", "error", what="failed"),
    Kind(_RUN, "run.failed", "run was lost", "warn", what="crashed"),
    Kind(_RUN, "run.cancelled", "run was cancelled", "notice", what="cancelled"),
    Kind(_RUN, "run.cancelled", "run was ended with the server", "notice", what="shutdown"),
    Kind(_RUN, "run.timeout", "run took too long", "error", what="timeout"),
    Kind(_RUN, "run.completed", "run ended: {reason}"),
    Kind("review_recorded", "mission.reviewed", "verdict: {verdict}", "notice", actor="agent"),
    Kind("confidence_low", "confidence.low", "the agent is not sure of its result", "warn"),
    Kind("checkpoint_created", "checkpoint.created", "checkpoint", "notice", actor="user"),
    Kind("checkpoint_restored", "checkpoint.restored", "checkpoint looked back at", "notice", actor="user"),
    Kind("fork_created", "fork.created", "forked from another mission", "notice", actor="user"),
    Kind("crew.created", "crew.created", "crew was made", actor="user"),
    Kind("crew.updated", "crew.updated", "crew was changed", actor="user"),
    Kind("crew.deleted", "crew.deleted", "crew was removed", "notice", actor="user"),
    Kind("agent.created", "agent.created", "agent was made", actor="user"),
    Kind("agent.updated", "agent.updated", "agent was changed", actor="user"),
    Kind("agent.deleted", "agent.deleted", "agent was removed", "notice", actor="user"),
)
"""Every sort of entry. Of two that fit one event, which may only differ in their `what`, the exact one counts.

Creation, new tasks and edits are no entries (a mission that nobody moved has none), nor is what agents say and do.
"""

FACETS = tuple(kind.facet for kind in KINDS)
_EXACT: Mapping[tuple[str, str, str], Kind] = {(kind.type, kind.why, kind.what): kind for kind in KINDS}
_BEFORE = {
    "start": "PLANNING",
    "resume": "FAILED",
    "engine": "IN_PROGRESS",
    "timeout": "IN_PROGRESS",
    "review": "REVIEW",
}
"""What a mission was before it moved for this cause."""
_REFS = (
    "checkpoint_id", "journal_cursor", "mission_id", "divergence_count", "parent_mission", "new_mission", "fork_of",
    "new_checkpoint_id",
)  # fmt: skip
"""What an entry's refs show of its event, and its payload too."""
_SPELLED: Mapping[str, str] = {
    "checkpoint_id": ids.CHECKPOINT,
    "new_checkpoint_id": ids.CHECKPOINT,
    "fork_of": ids.CHECKPOINT,
    "run_id": ids.ASSIGNMENT,
    "assignment_id": ids.ASSIGNMENT,
}
"""The prefixes of ids that are none of the usual entities'."""


class Entry(msgspec.Struct, kw_only=True):
    """One entry. What it does not have is left out: null for an optional member is refused by clients."""

    id: str
    workspace_id: str
    ts: str
    entry_type: str
    severity: str
    priority: str
    actor_type: str
    summary: str
    crew_id: str | UnsetType = UNSET
    agent_id: str | UnsetType = UNSET
    mission_id: str | UnsetType = UNSET
    actor_id: str | UnsetType = UNSET
    trace_id: str | UnsetType = UNSET
    payload: dict[str, Any] | UnsetType = UNSET
    refs: dict[str, Any] | UnsetType = UNSET


def facet_words(data: Mapping[str, Any]) -> tuple[str, str]:
    """The two words of an event's metadata that say, with its type, which entry it is; empty where it has none."""
    why = next((data[name] for name in ("cause", "purpose", "kind") if data.get(name) is not None), "")
    what = next((data[name] for name in ("status", "reason") if data.get(name) is not None), "")
    return str(why), str(what)


def kind_of(event: Event) -> Kind | None:
    """Which sort of entry an event is; None for one that is none."""
    if event.crew_id is None and event.stream_id != event.workspace_id:
        return None  # of a mission of another kind
    if event.type not in _TYPES:
        return None
    why, what = facet_words(event.data())
    fits = ((why, what), ("%", what), (why, "%"), ("%", "%"))
    return next((kind for words in fits if (kind := _EXACT.get((event.type, *words))) is not None), None)


_TYPES = frozenset(kind.type for kind in KINDS)


def entry(event: Event, kind: Kind) -> Entry:
    """The entry of an event that is of this kind."""
    data = event.data()
    author, actor = _author(event.actor, kind)
    is_of_mission = event.stream_id != event.workspace_id
    agent_id = agent_of(data)
    payload = _payload(event, data)
    refs = {name: payload[name] for name in _REFS if name in payload}
    return Entry(
        id=ids.spell_entry(event.position),
        workspace_id=ids.spell(event.workspace_id),
        ts=timestamp(event.at),
        entry_type=kind.entry_type,
        severity=kind.severity,
        priority=kind.priority,
        actor_type=actor,
        summary=_summary(event, kind, data),
        crew_id=UNSET if event.crew_id is None else ids.spell(event.crew_id),
        agent_id=UNSET if agent_id is None else _spelled("agent_id", agent_id),
        mission_id=ids.spell(event.stream_id) if is_of_mission else UNSET,
        actor_id=author,
        trace_id=ids.spell(event.stream_id, ids.TRACE) if is_of_mission else UNSET,
        payload=payload or UNSET,
        refs=refs or UNSET,
    )


def agent_of(data: Mapping[str, Any]) -> str | None:
    """The agent that an event's metadata names, as it stands there."""
    found: str | None = data.get("agent_id") or (data.get("fields") or {}).get("agent_id")
    return found


def run_of(data: Mapping[str, Any]) -> str | None:
    """The run that an event's metadata names, as it stands there."""
    found: str | None = data.get("run_id") or (data.get("fields") or {}).get("run_id")
    return found


def author_of(event: Event, kind: Kind) -> str:
    """The actor_type of an entry."""
    return _author(event.actor, kind)[1]


def _author(actor: str | None, kind: Kind) -> tuple[str | UnsetType, str]:
    if actor is None:
        return UNSET, kind.actor
    if actor.startswith("agent:"):
        return actor, "agent"
    return _spelled("actor_id", actor), "user"


def _payload(event: Event, data: Mapping[str, Any]) -> dict[str, Any]:
    """The event's metadata, shortened, with ids as crew spells them; of a mission's move what changed, and why."""
    if event.type == _MISSION:
        before = _before(data)
        known = {} if before is None else {"from": before}
        return {"action": data["cause"], "details": cut(event.content, MOST_TEXT_BYTES), **known, "to": data["status"]}
    payload = _shortened({name: value for name, value in data.items() if value is not None})
    if event.type == "fork_created":
        payload |= {"new_mission": ids.spell(event.stream_id)}
    return payload


def _before(data: Mapping[str, Any]) -> str | None:
    """What the mission was before, where it can have been one thing only."""
    if data["cause"] in _BEFORE:
        return _BEFORE[data["cause"]]
    candidates = [status for status, after in LIFECYCLE.transitions.items() if data["status"] in after]
    return candidates[0] if len(candidates) == 1 else None


def _shortened(data: Mapping[str, Any]) -> dict[str, Any]:
    totals = {f"{name}_total": len(value) for name, value in data.items() if _is_long(value)}
    return {name: _spelled(name, value) for name, value in data.items()} | totals


def _is_long(value: Any) -> bool:
    return isinstance(value, list) and len(value) > MOST_ITEMS


def _spelled(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return _shortened(value)
    if isinstance(value, list):
        return [_spelled(name, item) for item in value[:MOST_ITEMS]]
    if not isinstance(value, str):
        return value
    if len(value) == 36 and (read := ids.read(value)) is not None:
        return ids.spell(read, _SPELLED.get(name, ids.ENTITY))
    return cut(value, MOST_TEXT_BYTES)


def _summary(event: Event, kind: Kind, data: Mapping[str, Any]) -> str:
    title = data.get("title")
    text = kind.summary.format_map(_Words(data, task=f"task “{title}”" if title else "task"))
    said = event.content or data.get("notes") or data.get("label") or ""
    return (f"{text}: {said}" if said else text)[:_SUMMARY_CHARACTERS]


class _Words(dict[str, Any]):
    """The metadata as a summary's words; what is missing reads as nothing."""

    def __missing__(self, key: str) -> str:
        return ""


def of(event: Event) -> Entry | None:
    """The entry of an event; None for one that is none."""
    kind = kind_of(event)
    return None if kind is None else entry(event, kind)


def mission_named(text: str) -> UUID:
    """The mission that a trace id, or an id, stands for; one that nothing has for any other text."""
    return ids.read(text, ids.TRACE) or ids.known(text)
