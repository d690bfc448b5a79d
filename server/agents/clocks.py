"""The bounds of a turn, and the clocks that end one which takes too long or falls silent."""

import asyncio
from collections.abc import Callable

import msgspec

from server.agents import failures


class TurnLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of one turn. The first-update clock covers start-up; all clocks stand still while a question is open."""

    first_update_seconds: float = 60
    idle_seconds: float = 300
    turn_seconds: float = 3600
    question_seconds: float = 3600
    cancel_seconds: float = 8
    load_seconds: float = 30
    exit_seconds: float = 3
    term_seconds: float = 2
    line_bytes: int = 16 << 20
    wire_bytes: int = 64 << 20


DEFAULT_LIMITS = TurnLimits()


class TurnClocks:
    """Watches one turn from now on. `has_updates` is true once the agent has done anything in it."""

    def __init__(self, limits: TurnLimits) -> None:
        self.has_updates = False
        self._limits = limits
        self._now = asyncio.get_running_loop().time
        self._started_at = self._heard_at = self._now()

    def heard(self) -> None:
        """The agent has given a sign of life."""
        self._heard_at = self._now()

    async def run_out(self, is_waiting: Callable[[], bool]) -> str:
        """Return what to tell people once a clock has run out; they all stand still while `is_waiting`."""
        limits = self._limits
        looked_at = self._now()
        while True:
            now = self._now()
            if is_waiting():
                self._started_at += now - looked_at
                self._heard_at = now
            looked_at = now
            text, due_at = f"took longer than {limits.turn_seconds:g} s", self._started_at + limits.turn_seconds
            silence = limits.idle_seconds if self.has_updates else limits.first_update_seconds
            if self._heard_at + silence < due_at:
                text, due_at = f"said nothing for {silence:g} s", self._heard_at + silence
            if now >= due_at:
                return failures.broke(f"The agent {text}")
            await asyncio.sleep(min(due_at - now, 1))
