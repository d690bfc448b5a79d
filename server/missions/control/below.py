"""A mission's budget holds for the missions below it too: what they use, and what it leads to. Pure."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from server.agents.budgets import Spent
from server.missions.control.limits import crossed, limited, removed
from storage.rules import Command, Decision
from streams.event import Draft, Event

if TYPE_CHECKING:
    from server.missions.control.state import Mission


class CountBelow(Command, frozen=True, kw_only=True):
    """Say what all turns that have ended on the missions below have used together. What is known is not said again."""

    spent: Spent


class SpendBelow(Command, frozen=True, kw_only=True):
    """Say what the turns that go on, here and below, have used so far together, so that the budget can warn or stop."""

    spent: Spent


class StopForParent(Command, frozen=True, kw_only=True):
    """Stop the turn and drop the queue: the budget of a mission `above` is used up."""

    above: UUID


def _count(state: "Mission", command: CountBelow) -> Decision:
    if command.spent == state.spent_below:
        return Decision()
    fact = Draft(type="children_spent", metadata=msgspec.to_builtins(command.spent))
    drafts = crossed(state.budget, state.spent.joined(command.spent), warned=state.warned, reached=state.reached)
    return Decision((fact, *limited(state, drafts)))


def _spend(state: "Mission", command: SpendBelow) -> Decision:
    drafts = crossed(state.budget, state.spent_in_all.joined(command.spent), warned=state.warned, reached=state.reached)
    return Decision(tuple(limited(state, drafts)))


def _stop(state: "Mission", command: StopForParent) -> Decision:
    if state.run is None or state.run.is_cancelling:
        return Decision()
    stop = {"run_id": str(state.run.id), "reason": "budget", "budget_of": str(command.above)}
    waiting = (removed(state.queue),) if state.queue else ()
    return Decision((*waiting, Draft(type="cancel_requested", metadata=stop)))


def _counted(state: "Mission", event: Event) -> dict[str, Any]:
    return {"spent_below": msgspec.convert(event.data(), Spent)}


COMMANDS: Mapping[str, type[Command]] = {
    "count_below": CountBelow,
    "spend_below": SpendBelow,
    "stop_for_parent": StopForParent,
}
DECIDE: dict[type[Command], Any] = {CountBelow: _count, SpendBelow: _spend, StopForParent: _stop}
EVOLVE = {"children_spent": _counted}
