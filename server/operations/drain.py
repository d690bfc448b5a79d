"""Draining: no new work, then a last word to every stream, spread over a window, then the end."""

import asyncio
import random

import structlog

from streams.hub import Hub

RECONNECT_WINDOW_MS = 5_000
log = structlog.get_logger()


class Drain:
    """Whether this server is on its way out."""

    def __init__(self, hub: Hub, *, lead_seconds: float) -> None:
        self.is_draining = False
        self._hub = hub
        self._lead_seconds = lead_seconds

    async def run(self) -> None:
        """Tell every stream to come back, each at its own moment of the window, and close it."""
        self.is_draining = True
        await asyncio.sleep(self._lead_seconds)  # a balancer sees readiness fall before the door closes
        connections = list(self._hub.connections)
        log.info("drain.started", streams=len(connections))
        for number, connection in enumerate(connections):
            retry_ms = random.randrange(100, RECONNECT_WINDOW_MS)  # noqa: S311  # spreads load, guards nothing
            connection.farewell(4503, "the server is shutting down", retry_ms)
            if number % 128 == 127:
                await asyncio.sleep(0)
        log.info("drain.finished")
