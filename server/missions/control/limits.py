"""What a control mission's budget leads to: warnings, the end of its turn, and the refusal of more. Pure."""

from typing import Any
from uuid import UUID

import msgspec

from server.agents.budgets import WARNING_PERCENT, Budget, Limit, Spent, allowance, shown_use, told
from server.missions.control.state import Mission, Queued
from streams.errors import Conflict
from streams.event import Draft


def refuse_if_spent(state: Mission, spent_above: UUID | None = None) -> None:
    """Conflict, with the way to raise it, when the budget is used up, or that of a mission above."""
    if spent_above is not None:
        raise Conflict(used_up_above(spent_above))
    if state.reached:
        raise Conflict(used_up(state.id, state.budget, state.spent_in_all, state.reached))


def used_up(mission_id: UUID, budget: Budget, spent: Spent, reached: tuple[Limit, ...]) -> str:
    """What people read when a budget is used up: how much, and what to do.

    While turns go on below, what has ended may be less than what is used.
    """
    full = budget.beyond(spent, 100)
    parts = " and ".join(
        told(budget, spent, limit) if limit in full else f"all {allowance(budget, limit)}, with the missions below"
        for limit in reached
    )
    example = msgspec.json.encode({"budget": {reached[0]: 2 * budget.limits()[reached[0]]}}).decode()
    return (
        f"The mission's budget is used up: {parts}. Raise it with POST /api/control/missions/{mission_id}/settings, "
        f"for example {example}, and send the message again."
    )


def used_up_above(mission_id: UUID) -> str:
    """What people read when it is the budget of a mission above that is used up."""
    return (
        f"The budget of the mission above, {mission_id}, is used up, and this mission is a part of it. Raise it with "
        f"POST /api/control/missions/{mission_id}/settings, and send the message again."
    )


def crossed(budget: Budget, spent: Spent, *, warned: tuple[Limit, ...], reached: tuple[Limit, ...]) -> list[Draft]:
    """The events that a new sum calls for: one warning for each limit, and one event when it is used up."""
    full = budget.beyond(spent, 100)
    near = tuple(limit for limit in budget.beyond(spent, WARNING_PERCENT) if limit not in full)
    drafts = [_draft("budget_warning", budget, spent, limit) for limit in near if limit not in warned]
    return [*drafts, *(_draft("budget_reached", budget, spent, limit) for limit in full if limit not in reached)]


def limited(state: Mission, crossings: list[Draft]) -> list[Draft]:
    """The events of a budget, and what follows when it is used up: nothing runs on, and nothing waits."""
    drafts = list(crossings)
    if reached_in(crossings):
        if state.queue:
            drafts.append(removed(state.queue))
        if state.run is not None and not state.run.is_cancelling:
            metadata = {"run_id": str(state.run.id), "reason": "budget"}
            drafts.append(Draft(type="cancel_requested", metadata=metadata))
    return drafts


def removed(messages: tuple[Queued, ...], by: str | None = None) -> Draft:
    """The event that these messages wait no more."""
    return Draft(type="messages_removed", metadata={"ids": [message.id for message in messages]}, actor=by)


def reached_in(drafts: list[Draft]) -> tuple[Limit, ...]:
    """The limits that these events call used up."""
    return tuple(draft.metadata["limit"] for draft in drafts if draft.type == "budget_reached")


def _draft(type: str, budget: Budget, spent: Spent, limit: Limit) -> Draft:
    words = told(budget, spent, limit)
    content = f"{words} are used" if type == "budget_warning" else f"The budget is used up: {words}"
    metadata: dict[str, Any] = {"limit": limit, "used": shown_use(spent, limit), "allowed": budget.limits()[limit]}
    return Draft(type=type, content=content, metadata=metadata)
