"""What models cost: list prices by name, with their dates, for turns whose agent reports no cost. Data, and one look-up."""

import re
from datetime import date

import msgspec


class Price(msgspec.Struct, frozen=True):
    """US dollars per million tokens, which is millionths of a dollar per token; `as_of` is when the list said so."""

    names: tuple[str, ...]
    input: float
    cached: float
    output: float
    as_of: date


# Models whose price depends on the length of each prompt are here only where the lower price is what turns mostly pay;
# where it would be off by a factor they are left out: an unknown cost is better than a wrong one.
PRICES: tuple[Price, ...] = (
    Price(("claude-fable-5-1",), 10, 0.25, 50, date(2026, 10, 10)),
    Price(("claude-fable-5",), 10, 1, 50, date(2026, 10, 10)),
    Price(("claude-opus-5-5",), 4, 0.2, 20, date(2026, 10, 10)),
    Price(("claude-opus-5", "claude-opus-4-8", "claude-opus-4-7"), 5, 0.5, 25, date(2026, 10, 10)),
    Price(("claude-opus-4-6", "claude-opus-4-5"), 5, 0.5, 25, date(2026, 10, 10)),
    Price(("claude-sonnet-5-5", "claude-sonnet-5"), 2, 0.2, 10, date(2026, 10, 10)),
    Price(("claude-sonnet-4-6", "claude-sonnet-4-5"), 3, 0.3, 15, date(2026, 10, 10)),
    Price(("claude-haiku-4-5",), 1, 0.1, 5, date(2026, 10, 10)),
    Price(("gpt-5.6-sol",), 5, 0.5, 30, date(2026, 7, 26)),
    Price(("gpt-5.6-terra",), 2, 0.2, 12, date(2026, 9, 15)),
    Price(("gpt-5.6-luna",), 0.2, 0.02, 1.2, date(2026, 9, 15)),
    Price(("gpt-5.2", "gpt-5.2-codex"), 1.75, 0.175, 14, date(2026, 2, 1)),
    Price(("gpt-5.1", "gpt-5.1-codex", "gpt-5", "gpt-5-codex"), 1.25, 0.125, 10, date(2026, 2, 1)),
    Price(("gpt-5-mini",), 0.25, 0.025, 2, date(2026, 2, 1)),
    Price(("gemini-3.5-flash",), 1.5, 0.15, 9, date(2026, 7, 1)),
    Price(("gemini-3.1-pro-preview", "gemini-3.1-pro-preview-customtools"), 2, 0.2, 12, date(2026, 7, 1)),
    Price(("gemini-3-flash-preview",), 0.5, 0.05, 3, date(2026, 7, 1)),
    Price(("gemini-2.5-pro",), 1.25, 0.125, 10, date(2026, 7, 1)),
    Price(("gemini-2.5-flash",), 0.3, 0.03, 2.5, date(2026, 7, 1)),
    Price(("gemini-2.5-flash-lite",), 0.1, 0.01, 0.4, date(2026, 7, 1)),
)

# What is written around a model's name: who serves it, an effort or context in brackets, the day of its release.
_NAME = re.compile(r"(?:.*/)?(?P<name>[^/\[]+?)(?:-20\d{2}-?\d{2}-?\d{2})?(?:\[[^\]]*\])*")
_BY_NAME = {name: price for price in PRICES for name in price.names}


def price_of(model: str | None) -> Price | None:
    """The price of a model as agents name it (`anthropic/claude-opus-5[1m]`); None for one that the table lacks."""
    found = _NAME.fullmatch((model or "").strip().lower())
    return _BY_NAME.get(found["name"]) if found else None
