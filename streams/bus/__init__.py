"""Between the processes of one deployment: hints that a workspace has grown, and signals. At most once is enough.

A lost hint costs time, never an event: readers follow the log, and each process looks at the heads every few seconds.
"""

from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from streams.event import Signal

OnHint = Callable[[UUID, int], None]
OnSignal = Callable[[Signal], None]


class Bus(Protocol):
    """One process's place on the bus. Sending never blocks and never raises; what is sent comes to the others only."""

    async def start(self, on_hint: OnHint, on_signal: OnSignal) -> None:
        """Begin to hear the others."""

    def hint(self, workspace_id: UUID, position: int) -> None:
        """Tell the others that a workspace has reached a position."""

    def signal(self, signal: Signal) -> None:
        """Tell the others a mission's current value."""

    async def close(self) -> None:
        """Leave the bus."""
