"""What a running turn learns from the committed events of its mission: cancels, answers, other settings."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import msgspec

from server.agents.budgets import Budget, Spent
from server.runs.turn import Turn
from streams.event import Event


def _cancelled(turn: Turn, event: Event) -> None:
    if UUID(event.data()["run_id"]) == turn.run_id:
        turn.cancel.set()


def _configured(turn: Turn, event: Event) -> None:
    turn.policy = event.data().get("permission_policy", turn.policy)
    if "budget" in event.data():
        turn.meter.allow(Budget(**event.data()["budget"]))


def _counted(turn: Turn, event: Event) -> None:
    turn.meter.count_below(msgspec.convert(event.data(), Spent))


def _answered(turn: Turn, event: Event) -> None:
    if event.tool_call_id is not None and not (event.actor or "").startswith("agent"):
        turn.answered(event.tool_call_id, _decoded(event.content))


def _decoded(content: str) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, RecursionError):
        return content


HEARD: Mapping[str, Callable[[Turn, Event], None]] = {
    "cancel_requested": _cancelled,
    "mission_settings_updated": _configured,
    "children_spent": _counted,
    "tool_result": _answered,
}
"""By the type of event; others tell a turn nothing."""
