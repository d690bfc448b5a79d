"""When to try again: exponential delays with full jitter, and all times a client keeps."""

from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom

_random = SystemRandom().random


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The client's times, in seconds; tests make them small.

    A follow opens its connection again after at most `cap_seconds`, or later if the server asks for it.
    One that is silent for `silence_seconds` is dead. A call is tried `attempts` times in all.
    """

    base_seconds: float = 0.5
    cap_seconds: float = 30.0
    silence_seconds: float = 15.0
    stable_seconds: float = 5.0
    """A connection that lived this long was a good one: the next delay starts from the base again."""
    connect_seconds: float = 10.0
    request_seconds: float = 30.0
    attempts: int = 5
    poll_wait_seconds: float = 20.0
    poll_pause_seconds: float = 1.0
    """The least time between two empty pages, for servers that do not wait."""
    random: Callable[[], float] = _random

    def backoff(self) -> "Backoff":
        """A fresh row of delays."""
        return Backoff(self.base_seconds, self.cap_seconds, self.random)


class Backoff:
    """A row of growing delays: each is drawn evenly between zero and base * 2^n, never above the cap."""

    def __init__(self, base_seconds: float, cap_seconds: float, random: Callable[[], float] = _random) -> None:
        self._base = base_seconds
        self._cap = cap_seconds
        self._random = random
        self._span = base_seconds

    def next_delay(self, hint_seconds: float | None = None) -> float:
        """The next delay in seconds.

        A server's hint is waited out (up to the cap) before the drawn part begins: many clients get the same
        hint, and must not come back at the same moment.
        """
        span, self._span = min(self._span, self._cap), min(self._span * 2, self._cap)
        return min(hint_seconds or 0.0, self._cap) + span * self._random()

    def reset(self) -> None:
        """Start from the base again."""
        self._span = self._base
