"""The current signals of every mission: conflated, re-sent while a run is open, part of snapshots."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

from streams.event import Signal

PERIOD_SECONDS = 0.1
"""A mission's signals go out about ten times a second, each as its newest whole value."""


class SignalBoard:
    """Keeps the newest signal of each (mission, type) and emits what changed, at most once a PERIOD_SECONDS."""

    def __init__(self, emit: Callable[[Signal], None]) -> None:
        self._emit = emit
        self._current: dict[UUID, dict[str, Signal]] = {}
        self._dirty: dict[UUID, set[str]] = {}
        self._emitted_at: dict[UUID, float] = {}
        self._timers: dict[UUID, asyncio.TimerHandle] = {}

    def put(self, signal: Signal) -> None:
        """Replace the mission's signal of that type."""
        stream = signal.stream_id
        self._current.setdefault(stream, {})[signal.type] = signal
        self._dirty.setdefault(stream, set()).add(signal.type)
        if stream not in self._timers:
            loop = asyncio.get_running_loop()
            wait = max(0.0, self._emitted_at.get(stream, 0.0) + PERIOD_SECONDS - loop.time())
            self._timers[stream] = loop.call_later(wait, self._send, stream)

    def _send(self, stream: UUID) -> None:
        self._timers.pop(stream, None)
        self._emitted_at[stream] = asyncio.get_running_loop().time()
        current = self._current.get(stream, {})
        for name in self._dirty.pop(stream, ()):
            if name in current:
                self._emit(current[name])
                if current[name].run_id is None:  # about no open run: said once, not kept
                    del current[name]
        if not current:
            self.drop(stream)

    def drop(self, stream: UUID, name: str | None = None) -> None:
        """Forget a mission's signals (its run is over), or the one that an event has replaced."""
        if name is not None:
            self._current.get(stream, {}).pop(name, None)
            return
        self._current.pop(stream, None)
        self._dirty.pop(stream, None)
        self._emitted_at.pop(stream, None)
        timer = self._timers.pop(stream, None)
        if timer is not None:
            timer.cancel()

    def of(self, stream: UUID) -> list[Signal]:
        """The mission's current signals."""
        return list(self._current.get(stream, {}).values())

    def body(self, stream: UUID, name: str) -> dict[str, Any]:
        """The body of one current signal of the mission; empty when there is none."""
        signal = self._current.get(stream, {}).get(name)
        return {} if signal is None else signal.body

    def resend(self) -> None:
        """Emit every current signal again, so that the newest repairs any that was lost."""
        for signals in self._current.values():
            for signal in signals.values():
                self._emit(signal)
