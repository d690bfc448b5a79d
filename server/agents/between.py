"""What an agent says between two turns: events outside of a turn."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from server.agents.mapper import TurnMapper
from server.agents.permissions import CANCELLED
from server.agents.session import Session
from streams.event import Draft

Record = Callable[[Sequence[Draft]], Awaitable[None]]

_QUIET_SECONDS = 0.5
_MOST = 1000

log = structlog.get_logger()


class Between:
    """Hears an idle agent. What comes is recorded when the agent is quiet again; its questions are answered
    "cancelled", as nobody waits for it.

    `record` appends drafts; when it fails, they are lost, as there is no turn to fail.
    """

    def __init__(self, session: Session, record: Record) -> None:
        self._session = session
        self._record = record
        self._updates: asyncio.Queue[Any] = asyncio.Queue()
        self._work = asyncio.create_task(self._run(), name="between turns")

    def stirred(self) -> None:
        """Nothing waits for this agent."""

    def update(self, update: Any) -> None:
        self._updates.put_nowait(update)

    async def ask(self, params: Any) -> dict[str, Any]:
        return CANCELLED

    async def stop(self) -> None:
        """Record what came so far, and nothing more."""
        self._work.cancel()
        await asyncio.wait({self._work})
        while self._updates.qsize():  # more may come while what came is recorded
            await self._keep([self._updates.get_nowait() for _ in range(self._updates.qsize())])

    async def _run(self) -> None:
        batch: list[Any] = []
        while True:
            try:
                batch.append(await asyncio.wait_for(self._updates.get(), _QUIET_SECONDS if batch else None))
                if len(batch) < _MOST:
                    continue
            except TimeoutError:
                pass
            except asyncio.CancelledError:
                await self._keep(batch)
                raise
            batch, taken = [], batch
            keeping = asyncio.create_task(self._keep(taken))
            try:
                await asyncio.shield(keeping)
            except asyncio.CancelledError:  # begun is begun: what comes later is recorded after it
                await keeping
                raise

    async def _keep(self, updates: list[Any]) -> None:
        mapper = TurnMapper(lambda: str(uuid.uuid4()), self._session.conversation.model, self._session.launch.veil)
        drafts = [draft for update in updates for draft in mapper.update(update)]
        drafts += mapper.finish("unknown")
        if text := mapper.text:
            metadata = {"success": True, "cost_cents": 0, "model": mapper.model}
            drafts.append(Draft(type="assistant_message", content=text, metadata=metadata, event_id=str(uuid.uuid4())))
        try:
            if drafts:
                await self._record(drafts)
        except Exception as error:
            log.warning("agent's late words are lost", backend=self._session.launch.backend, error=str(error))
        self._session.transport.settle()
