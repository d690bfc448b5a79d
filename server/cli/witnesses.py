"""Followers that remember what they were given, one on each transport, and the proof that nothing is missing."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from missionstream_client import Client, Event, Follow, Signal
from missionstream_client.follow import Transport

LABELS: dict[Transport, str] = {"sse": "SSE", "ws": "WebSocket", "poll": "polling"}


class Account(NamedTuple):
    """What a witness saw, compared with the log: `gaps` were missing, `duplicates` came twice; both should be 0."""

    transport: str
    events: int
    gaps: int
    duplicates: int
    reconnects: int
    is_same_as_log: bool

    @property
    def is_clean(self) -> bool:
        return self.is_same_as_log and not self.gaps and not self.duplicates


class Witness:
    """Follows a mission from its beginning on one transport and remembers every event it is given."""

    def __init__(
        self,
        client: Client,
        mission_id: str,
        transport: Transport,
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        on_signal: Callable[[Signal], None] | None = None,
    ) -> None:
        self.label = LABELS[transport]
        self.seen: list[Event] = []
        self._on_event = on_event
        self._on_signal = on_signal
        self._follow: Follow[Any] = client.follow(mission_id, 0, transport=transport, signals=on_signal is not None)
        self._changed = asyncio.Condition()
        self._task = asyncio.create_task(self._watch(), name=f"witness {transport}")

    async def _watch(self) -> None:
        async for item in self._follow:
            if isinstance(item, Event):
                self.seen.append(item)
                self._on_event(item)
            elif self._on_signal is not None:
                self._on_signal(item)
            async with self._changed:
                self._changed.notify_all()

    async def until(self, is_true: Callable[["Witness"], bool], within_seconds: float) -> bool:
        """Wait until something holds; False when it does not within the time. Raises what ended the follow."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_seconds), self._changed:
                while not is_true(self):
                    if self._task.done():
                        self._task.result()
                        return False
                    await self._changed.wait()
        return is_true(self)

    @property
    def last(self) -> int:
        """The last sequence it was given."""
        return self.seen[-1].sequence if self.seen else 0

    def account(self, log: Sequence[Event]) -> Account:
        """Compare what was seen with the log."""
        positions = [event.position for event in self.seen]
        return Account(
            transport=self.label,
            events=len(self.seen),
            gaps=self._follow.gap_count + len({event.position for event in log} - set(positions)),
            duplicates=self._follow.duplicate_count + len(positions) - len(set(positions)),
            reconnects=self._follow.reconnects,
            is_same_as_log=list(self.seen) == list(log),
        )

    async def close(self) -> None:
        """End the follow."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self._task
        await self._follow.aclose()


async def whole_log(client: Client, mission_id: str) -> list[Event]:
    """Every event of a mission, page by page, as the log has it."""
    events: list[Event] = []
    while True:
        page = await client.events(mission_id, since_seq=events[-1].sequence if events else 0, limit=500)
        events += page.events
        if not page.events:
            return events
