"""What missions use and what they may use: tokens, cost and time, their sums and their limits. Pure."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from server.agents.prices import price_of

Source = Literal["reported", "priced", "unknown"]
Limit = Literal["tokens", "cost_cents", "seconds"]

WARNING_PERCENT = 80
MICROS_PER_CENT = 10_000
_MOST = 2**53
"""The largest whole number that every JSON reader holds exactly; sums stop there."""

_CACHED = ("cached_read_tokens", "cached_input_tokens")
_WRITTEN = ("cached_write_tokens", "cache_write_input_tokens", "cache_creation_tokens")


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What one turn has used. `input` are tokens that were not read from a cache; cost is in millionths of a dollar."""

    input: int = 0
    cached: int = 0
    output: int = 0
    cost_micros: int = 0
    source: Source = "unknown"
    milliseconds: int = 0

    @property
    def tokens(self) -> int:
        return self.input + self.cached + self.output


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """The sum over a mission's turns; how many of them have a cost from which source."""

    turns: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    cost_micros: int = 0
    milliseconds: int = 0
    reported: int = 0
    priced: int = 0
    unknown: int = 0

    def plus(self, use: Use) -> "Spent":
        """The sum with one more turn."""
        numbers = ("input", "cached", "output", "cost_micros", "milliseconds")
        sums = {name: min(getattr(self, name) + max(0, getattr(use, name)), _MOST) for name in numbers}
        return msgspec.structs.replace(
            self, turns=self.turns + 1, **sums, **{use.source: getattr(self, use.source) + 1}
        )

    def joined(self, other: "Spent") -> "Spent":
        """The sum of both."""
        names = self.__struct_fields__
        return Spent(**{name: min(getattr(self, name) + getattr(other, name), _MOST) for name in names})

    @property
    def tokens(self) -> int:
        return self.input + self.cached + self.output

    @property
    def cost_cents(self) -> float:
        """US cents, to the hundredth."""
        return round(self.cost_micros / MICROS_PER_CENT, 2)

    @property
    def cost_source(self) -> str:
        """Where the cost is from: one source, or `mixed`; `unknown` where no turn has a cost."""
        sources = [name for name in ("reported", "priced", "unknown") if getattr(self, name)]
        return sources[0] if len(sources) == 1 else "mixed" if sources else "unknown"


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What all turns of a mission together may use; None is no limit."""

    tokens: int | None = None
    cost_cents: int | None = None
    seconds: int | None = None

    def limits(self) -> dict[Limit, int]:
        """The limits that are set."""
        pairs: tuple[tuple[Limit, int | None], ...] = (
            ("tokens", self.tokens),
            ("cost_cents", self.cost_cents),
            ("seconds", self.seconds),
        )
        return {name: value for name, value in pairs if value is not None}

    def beyond(self, spent: Spent, percent: int) -> tuple[Limit, ...]:
        """The limits of which this share, or more, is used."""
        units = {"tokens": 1, "cost_cents": MICROS_PER_CENT, "seconds": 1_000}
        return tuple(
            name
            for name, allowed in self.limits().items()
            if _used(spent, name) * 100 >= allowed * units[name] * percent
        )


_USED: Mapping[Limit, str] = {"tokens": "tokens", "cost_cents": "cost_micros", "seconds": "milliseconds"}
_WORDS: Mapping[Limit, str] = {"tokens": "{:,} tokens", "cost_cents": "{:,} cents", "seconds": "{:,} seconds"}


def _used(spent: Spent, limit: Limit) -> int:
    value: int = getattr(spent, _USED[limit])
    return value


def shown_use(spent: Spent, limit: Limit) -> int | float:
    """What is used of a limit, in its own unit."""
    return {"tokens": spent.tokens, "cost_cents": spent.cost_cents, "seconds": round(spent.milliseconds / 1000, 3)}[
        limit
    ]


def told(budget: Budget, spent: Spent, limit: Limit) -> str:
    """A limit in words: `800 of 1,000 tokens`."""
    return f"{shown_use(spent, limit):,} of {allowance(budget, limit)}"


def allowance(budget: Budget, limit: Limit) -> str:
    """What a limit allows: `1,000 tokens`."""
    return _WORDS[limit].format(budget.limits()[limit])


def counted(tokens: Mapping[str, int], *, at_least: int = 0) -> Use:
    """The tokens of a turn, from the names under which agents report them. `at_least` counts where they report none.

    Some count what was read from a cache within the input, others beside it: their total tells. Writing to a cache
    counts as input, and what a total holds besides (thoughts) as output.
    """
    given, said = tokens.get("input_tokens", 0), tokens.get("output_tokens", 0)
    read = next((tokens[name] for name in _CACHED if name in tokens), 0)
    written = next((tokens[name] for name in _WRITTEN if name in tokens), 0)
    total = tokens.get("total_tokens", 0)
    is_beside = not total or total >= given + said + read + written
    fresh = given + written if is_beside else max(0, given - read)
    if not (fresh or read or said or total):
        return Use(input=at_least)
    return Use(input=fresh, cached=read, output=said + max(0, total - fresh - read - said))


def billed(use: Use, model: str | None, reported_usd: float | None) -> Use:
    """The use with its cost: what the agent reports, else by the table of prices.

    A reported zero for tokens that were used is what agents say of models whose price they do not know.
    """
    if reported_usd is not None and (reported_usd > 0 or not use.tokens):
        return msgspec.structs.replace(use, cost_micros=round(reported_usd * 1_000_000), source="reported")
    price = price_of(model)
    if price is None or not use.tokens:
        return use
    micros = use.input * price.input + use.cached * price.cached + use.output * price.output
    return msgspec.structs.replace(use, cost_micros=round(micros), source="priced")


def use_body(use: Use) -> dict[str, Any]:
    """What a turn has used so far, as the signal `usage` shows it."""
    cost = round(use.cost_micros / MICROS_PER_CENT, 4)
    return {"total_tokens": use.tokens, "cost_cents": cost, "cost_source": use.source}


def usage_body(spent: Spent) -> dict[str, Any]:
    """A mission's `usage`, as it is shown."""
    return {
        "turns": spent.turns,
        "input_tokens": spent.input,
        "cached_tokens": spent.cached,
        "output_tokens": spent.output,
        "total_tokens": spent.tokens,
        "cost_cents": spent.cost_cents,
        "cost_source": spent.cost_source,
        "seconds": shown_use(spent, "seconds"),
    }
