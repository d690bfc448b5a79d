"""Counting what turns use, pricing it, and holding it against a budget."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.agents.budgets import Budget, Spent, Use, billed, counted, told, usage_body, use_body
from server.agents.prices import PRICES, price_of
from server.agents.usage import Usage


@pytest.mark.parametrize(
    ("reported", "numbers"),
    [
        ({}, (0, 0, 0)),
        ({"input_tokens": 120, "output_tokens": 30, "total_tokens": 150}, (120, 0, 30)),
        ({"input_tokens": 240, "output_tokens": 60}, (240, 0, 60)),
        # beside the input, as one vendor counts
        (
            {
                "input_tokens": 100,
                "cached_read_tokens": 400,
                "cached_write_tokens": 50,
                "output_tokens": 60,
                "total_tokens": 610,
            },
            (150, 400, 60),
        ),
        # within the input, as others do
        ({"input_tokens": 500, "cached_read_tokens": 400, "output_tokens": 60, "total_tokens": 560}, (100, 400, 60)),
        ({"input_tokens": 500, "cached_input_tokens": 400, "output_tokens": 60, "total_tokens": 560}, (100, 400, 60)),
        # thoughts that only the total holds
        ({"input_tokens": 100, "output_tokens": 10, "thought_tokens": 40, "total_tokens": 150}, (100, 0, 50)),
        ({"total_tokens": 70}, (0, 0, 70)),
    ],
)
def test_tokens_are_counted_once_however_agents_report_them(reported: dict[str, int], numbers: Any) -> None:
    use = counted(reported)
    assert (use.input, use.cached, use.output) == numbers
    assert use.tokens == max(reported.get("total_tokens", 0), sum(numbers))


def test_where_no_tokens_are_reported_the_context_window_is_the_least() -> None:
    assert counted({}, at_least=900).tokens == 900
    assert counted({"input_tokens": 5}, at_least=900).tokens == 5


NAMES = [
    ("claude-opus-4-5", 5),
    ("claude-opus-4-5-20251101", 5),
    ("anthropic/claude-opus-4-5", 5),
    ("claude-sonnet-4-6[1m]", 3),
    ("gpt-5.1-codex[high]", 1.25),
    ("gpt-5-2025-08-07", 1.25),
    ("openai/gpt-5-mini", 0.25),
    ("models/gemini-2.5-flash-lite", 0.1),
    ("Gemini-2.5-Pro", 1.25),
]


@pytest.mark.parametrize(("model", "price"), NAMES)
def test_a_price_is_found_by_the_models_name_whatever_stands_around_it(model: str, price: float) -> None:
    found = price_of(model)
    assert found is not None
    assert found.input == price


@pytest.mark.parametrize(
    "model", [None, "", "default", "opus", "gpt-5-nano", "gpt-5.1-codex-max", "claude-opus", "x" * 500]
)
def test_a_model_that_the_table_lacks_has_no_price(model: str | None) -> None:
    assert price_of(model) is None


def test_the_table_is_sound() -> None:
    names = [name for price in PRICES for name in price.names]
    assert len(set(names)) == len(names)
    for price in PRICES:
        assert 0 < price.cached < price.input < price.output
        assert price.as_of.year >= 2026


@pytest.mark.parametrize(
    ("model", "reported", "micros", "source"),
    [
        ("claude-sonnet-4-6", 0.25, 250_000, "reported"),
        ("claude-sonnet-4-6", None, 3 * 1000 + 0.3 * 2000 + 15 * 100, "priced"),
        ("claude-sonnet-4-6", 0.0, 3 * 1000 + 0.3 * 2000 + 15 * 100, "priced"),
        ("scripted-1", 0.0, 0, "unknown"),
        ("scripted-1", None, 0, "unknown"),
        (None, 0.001, 1000, "reported"),
    ],
)
def test_a_cost_is_the_agents_own_else_the_tables_else_unknown(
    model: str | None, reported: float | None, micros: float, source: str
) -> None:
    use = billed(Use(input=1000, cached=2000, output=100), model, reported)
    assert (use.cost_micros, use.source) == (micros, source)


def test_a_turn_without_tokens_may_have_cost_nothing() -> None:
    assert billed(Use(), None, 0.0).source == "reported"
    assert billed(Use(), "claude-sonnet-4-6", None).source == "unknown"


def test_a_cost_in_another_currency_is_not_taken_for_dollars() -> None:
    usage = Usage()
    usage.take_update({"used": 10, "size": 100, "cost": {"amount": 5, "currency": "EUR"}})
    assert usage.use(None).source == "unknown"
    usage.take_update({"used": 10, "size": 100, "cost": {"amount": 5, "currency": "usd"}})
    assert (usage.use(None).cost_micros, usage.use(None).tokens) == (5_000_000, 10)


_uses = st.builds(
    Use,
    input=st.integers(0, 2**60),
    cached=st.integers(0, 10),
    output=st.integers(0, 10),
    cost_micros=st.integers(0, 10**12),
    source=st.sampled_from(["reported", "priced", "unknown"]),
    milliseconds=st.integers(0, 10**9),
)


@given(st.lists(_uses, max_size=8))
def test_sums_grow_stay_readable_and_say_where_the_cost_is_from(uses: list[Use]) -> None:
    spent = Spent()
    for use in uses:
        before, spent = spent, spent.plus(use)
        assert spent.tokens >= before.tokens
        assert spent.cost_micros >= before.cost_micros
    assert spent.turns == len(uses) == spent.reported + spent.priced + spent.unknown
    assert max(spent.input, spent.cost_micros) <= 2**53
    sources = {use.source for use in uses} or {"unknown"}
    assert spent.cost_source == (sources.pop() if len(sources) == 1 else "mixed")
    assert msgspec.json.decode(msgspec.json.encode(spent), type=Spent) == spent


@pytest.mark.parametrize(
    ("budget", "spent", "near", "full"),
    [
        (Budget(), Spent(input=10**9), (), ()),
        (Budget(tokens=100), Spent(input=79), (), ()),
        (Budget(tokens=100), Spent(input=70, output=10), ("tokens",), ()),
        (Budget(tokens=100), Spent(input=60, cached=40), ("tokens",), ("tokens",)),
        (Budget(cost_cents=10), Spent(cost_micros=79_999), (), ()),
        (Budget(cost_cents=10), Spent(cost_micros=80_000), ("cost_cents",), ()),
        (Budget(cost_cents=10), Spent(cost_micros=100_000), ("cost_cents",), ("cost_cents",)),
        (Budget(seconds=10), Spent(milliseconds=9_999), ("seconds",), ()),
        (Budget(seconds=10, tokens=5), Spent(milliseconds=10_000, input=4), ("tokens", "seconds"), ("seconds",)),
    ],
)
def test_a_share_of_a_budget_is_used_from_that_share_on(budget: Budget, spent: Spent, near: Any, full: Any) -> None:
    assert budget.beyond(spent, 80) == near
    assert budget.beyond(spent, 100) == full


def test_a_limit_is_told_in_its_own_unit() -> None:
    budget = Budget(tokens=2000, cost_cents=5, seconds=60)
    spent = Spent(input=1500, cost_micros=41_250, milliseconds=59_500)
    assert [told(budget, spent, limit) for limit in budget.limits()] == [
        "1,500 of 2,000 tokens",
        "4.12 of 5 cents",
        "59.5 of 60 seconds",
    ]


def test_what_is_shown_of_a_use() -> None:
    use = Use(input=7, cost_micros=12_345, source="reported")
    assert use_body(use) == {"total_tokens": 7, "cost_cents": 1.2345, "cost_source": "reported"}
    assert usage_body(Spent().plus(use)) == {
        "turns": 1,
        "input_tokens": 7,
        "cached_tokens": 0,
        "output_tokens": 0,
        "total_tokens": 7,
        "cost_cents": 1.23,
        "cost_source": "reported",
        "seconds": 0.0,
    }
