"""Tokens and cost of a turn, from the several places where agents report them."""

import re
from typing import Any

from server.agents.budgets import Use, billed, counted
from server.agents.content import as_count, as_object, as_text

_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_MAX_KEYS = 16
_ROUNDING = 1e-6


class Usage:
    """What was last reported. Reports replace each other: agents send running totals."""

    def __init__(self) -> None:
        self.tokens: dict[str, int] = {}
        self.context: dict[str, int] = {}
        self.cost: float | None = None
        self.cost_before = 0.0
        self.currency = ""

    def take_update(self, update: dict[str, Any]) -> None:
        """A `usage_update`: the context window (used, size) and the session's cost so far."""
        self.context = _counts({key: update.get(key) for key in ("used", "size")}) or self.context
        cost = as_object(update.get("cost"))
        amount = cost.get("amount")
        if isinstance(amount, int | float) and not isinstance(amount, bool) and 0 <= amount < 1e9:
            self.cost, self.currency = float(amount), as_text(cost.get("currency"))[:3].upper() or "USD"
            if amount < self.cost_before - _ROUNDING:  # the agent has begun to count anew
                self.cost_before = 0.0

    def take_response(self, response: dict[str, Any]) -> None:
        """The prompt's response: `usage`, or what some agents put into `_meta` instead."""
        meta = as_object(response.get("_meta"))
        places = (response.get("usage"), meta.get("usage"), as_object(meta.get("quota")).get("token_count"))
        self.tokens = next(filter(None, (_tokens(as_object(place)) for place in places)), self.tokens)

    def use(self, model: str | None) -> Use:
        """What the turn is known to have used so far, with its cost; a cost in another currency than dollars is not known.

        Until the tokens are reported, those in the context window are the least that was used. `cost_before` is what
        the session had cost when the turn began.
        """
        reported = None
        if self.cost is not None and self.currency == "USD":
            reported = max(0.0, self.cost - self.cost_before)
        return billed(counted(self.tokens, at_least=self.context.get("used", 0)), model, reported)

    def metadata(self) -> dict[str, Any] | None:
        """The body of the usage event, or None when nothing was reported."""
        cost = {"amount": self.cost, "currency": self.currency} if self.cost is not None else None
        if not (self.tokens or self.context or cost):
            return None
        return {"kind": "usage", "tokens": self.tokens, "context": self.context, "cost": cost}


def _tokens(fields: dict[str, Any]) -> dict[str, int]:
    """The counts of tokens; one agent mixes milliseconds and numbers of calls in."""
    return {name: count for name, count in _counts(fields).items() if name.endswith("tokens")}


def _counts(fields: dict[str, Any]) -> dict[str, int]:
    counts = {_CAPITAL.sub(r"_\1", key).lower()[:40]: as_count(value) for key, value in fields.items()}
    kept = {key: count for key, count in counts.items() if count is not None and count >= 0}
    return dict(list(kept.items())[:_MAX_KEYS])
