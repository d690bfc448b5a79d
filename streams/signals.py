"""The current signals of every mission: conflated, re-sent while a run is open, part of snapshots."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

from streams.event import Signal

PERIOD_SECONDS = 0.1
"""A mission's signals go out about ten times a second, each as its newest whole value."""

_Key = tuple[str, UUID | None]


class SignalBoard:
    """Keeps the newest signal of each (mission, type, run) and emits what changed, at most once a PERIOD_SECONDS."""

    def __init__(self, emit: Callable[[Signal], None]) -> None:
        self._emit = emit
        self._current: dict[UUID, dict[_Key, Signal]] = {}
        self._dirty: dict[UUID, set[_Key]] = {}
        self._emitted_at: dict[UUID, float] = {}
        self._timers: dict[UUID, asyncio.TimerHandle] = {}

    def put(self, signal: Signal) -> None:
        """Replace the signal of that type of the mission's run."""
        stream, key = signal.stream_id, (signal.type, signal.run_id)
        self._current.setdefault(stream, {})[key] = signal
        self._dirty.setdefault(stream, set()).add(key)
        if stream not in self._timers:
            loop = asyncio.get_running_loop()
            wait = max(0.0, self._emitted_at.get(stream, 0.0) + PERIOD_SECONDS - loop.time())
            self._timers[stream] = loop.call_later(wait, self._send, stream)

    def _send(self, stream: UUID) -> None:
        self._timers.pop(stream, None)
        self._emitted_at[stream] = asyncio.get_running_loop().time()
        current = self._current.get(stream, {})
        for key in self._dirty.pop(stream, ()):
            if key in current:
                self._emit(current[key])
                if current[key].run_id is None:  # about no open run: said once, not kept
                    del current[key]
        if not current:
            self._forget(stream)

    def drop(self, stream: UUID, name: str | None = None, run_id: UUID | None = None) -> None:
        """Forget signals of a mission: of a type that an event has replaced, or of a run that is over; all, without both.

        Of a type, those of every run where none is named.
        """
        current = self._current.get(stream)
        if current is None:
            return
        for key in [key for key in current if name in (None, key[0]) and run_id in (None, key[1])]:
            del current[key]
        if not current and name is None:
            self._forget(stream)

    def _forget(self, stream: UUID) -> None:
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
        """The body of the mission's current signal of a type, of its newest run; empty when there is none."""
        found = [signal for (known, _), signal in self._current.get(stream, {}).items() if known == name]
        return found[-1].body if found else {}

    def resend(self) -> None:
        """Emit every current signal again, so that the newest repairs any that was lost."""
        for signals in self._current.values():
            for signal in signals.values():
                self._emit(signal)
