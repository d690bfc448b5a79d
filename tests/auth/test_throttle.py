"""How failed logins are counted."""

import pytest

from server.auth.throttle import Throttle
from streams.errors import TooMany
from tests.auth.world import Clock


def fail(throttle: Throttle, address: str, times: int) -> None:
    for _ in range(times):
        throttle.check(address)
        throttle.note_failure(address)


def test_the_sixth_failure_in_a_minute_must_wait(clock: Clock) -> None:
    throttle = Throttle(clock=clock)
    fail(throttle, "192.0.2.1", 4)
    clock.forward(20)
    fail(throttle, "192.0.2.1", 1)
    with pytest.raises(TooMany) as refused:
        throttle.check("192.0.2.1")
    assert refused.value.retry_after == pytest.approx(40)
    throttle.check("192.0.2.2")
    clock.forward(40)
    throttle.check("192.0.2.1")


def test_the_window_slides(clock: Clock) -> None:
    throttle = Throttle(limit=2, clock=clock)
    fail(throttle, "a", 1)
    clock.forward(30)
    fail(throttle, "a", 1)
    clock.forward(30)
    fail(throttle, "a", 1)
    with pytest.raises(TooMany) as refused:
        throttle.check("a")
    assert refused.value.retry_after == pytest.approx(30)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_addresses_of_one_network_count_together(clock: Clock, one: str, other: str, together: bool) -> None:
    throttle = Throttle(limit=1, clock=clock)
    fail(throttle, one, 1)
    if together:
        with pytest.raises(TooMany):
            throttle.check(other)
    else:
        throttle.check(other)


def test_its_memory_is_bounded(clock: Clock) -> None:
    throttle = Throttle(limit=1, capacity=10, clock=clock)
    for number in range(50):
        fail(throttle, f"192.0.2.{number}", 1)
    assert len(throttle) == 10
    with pytest.raises(TooMany):
        throttle.check("192.0.2.49")
