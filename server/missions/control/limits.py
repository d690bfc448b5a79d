"""What a control mission's budget leads to: warnings, the end of its turn, and the refusal of more. Pure."""

from typing import Any
from uuid import UUID

import msgspec

from server.agents.budgets import WARNING_PERCENT, Budget, Limit, Spent, shown_use, told
from server.missions.control.state import Mission
from streams.errors import Conflict
from streams.event import Draft


def refuse_if_spent(state: Mission) -> None:
    """Conflict, with the way to raise it, when the budget is used up."""
    if state.reached:
        raise Conflict(used_up(state.id, state.budget, state.spent, state.reached))


def used_up(mission_id: UUID, budget: Budget, spent: Spent, reached: tuple[Limit, ...]) -> str:
    """What people read when a budget is used up: how much, and what to do."""
    parts = " and ".join(told(budget, spent, limit) for limit in reached)
    example = msgspec.json.encode({"budget": {reached[0]: 2 * budget.limits()[reached[0]]}}).decode()
    return (
        f"The mission's budget is used up: {parts}. Raise it with POST /api/control/missions/{mission_id}/settings, "
        f"for example {example}, and send the message again."
    )


def crossed(budget: Budget, spent: Spent, *, warned: tuple[Limit, ...], reached: tuple[Limit, ...]) -> list[Draft]:
    """The events that a new sum calls for: one warning for each limit, and one event when it is used up."""
    full = budget.beyond(spent, 100)
    near = tuple(limit for limit in budget.beyond(spent, WARNING_PERCENT) if limit not in full)
    drafts = [_draft("budget_warning", budget, spent, limit) for limit in near if limit not in warned]
    return [*drafts, *(_draft("budget_reached", budget, spent, limit) for limit in full if limit not in reached)]


def reached_in(drafts: list[Draft]) -> tuple[Limit, ...]:
    """The limits that these events call used up."""
    return tuple(draft.metadata["limit"] for draft in drafts if draft.type == "budget_reached")


def _draft(type: str, budget: Budget, spent: Spent, limit: Limit) -> Draft:
    words = told(budget, spent, limit)
    content = f"{words} are used" if type == "budget_warning" else f"The budget is used up: {words}"
    metadata: dict[str, Any] = {"limit": limit, "used": shown_use(spent, limit), "allowed": budget.limits()[limit]}
    return Draft(type=type, content=content, metadata=metadata)
