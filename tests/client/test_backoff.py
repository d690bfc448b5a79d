"""Delays grow, are spread, respect the server's hint and never exceed the cap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from missionstream_client.backoff import Backoff
from missionstream_client.errors import seconds_of


def test_the_longest_delays_double_up_to_the_cap() -> None:
    backoff = Backoff(0.5, 30, lambda: 1.0)
    assert [backoff.next_delay() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert backoff.next_delay() == 0.5


@given(draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50))
def test_jitter_is_full_and_capped(draws: list[float]) -> None:
    rest = iter(draws)
    backoff = Backoff(0.5, 30, lambda: next(rest))
    for attempt, draw in enumerate(draws):
        assert backoff.next_delay() == min(30, 0.5 * 2**attempt) * draw


def test_a_hint_is_waited_out_before_the_spread_begins() -> None:
    backoff = Backoff(1, 30, lambda: 0.5)
    assert [backoff.next_delay(4), backoff.next_delay(4)] == [4.5, 5]


def test_a_hint_beyond_the_cap_is_cut() -> None:
    assert Backoff(1, 30, lambda: 0.0).next_delay(3600) == 30


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("2", 2), ("0.5", 0.5), ("-1", None), ("soon", None), ("nan", None), ("inf", None)],
)
def test_retry_after_is_read_with_tolerance(header: str | None, seconds: float | None) -> None:
    assert seconds_of(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    assert seconds_of("Mon, 01 Jan 2001 00:00:00 GMT") == 0
