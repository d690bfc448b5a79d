"""Agents kept alive between the turns of their missions, so that the next turn begins at once."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog

from server.agents.between import Between
from server.agents.policy import DEFAULT, Policy
from server.agents.process import Launch
from server.agents.session import Session

_EXIT_SECONDS = 1.5
_TERM_SECONDS = 1.0
_CLOSE_SECONDS = 5.0

log = structlog.get_logger()


class WarmAgents:
    """The idle agents, by mission. Each is ended after `idle_seconds`; of more than `most()`, the longest idle go.

    An agent that ends by itself is forgotten. Who takes one has it alone.
    """

    def __init__(self, *, idle_seconds: float, most: Callable[[], int]) -> None:
        self.idle_seconds = idle_seconds
        self._most = most
        self._idle: dict[UUID, tuple[Session, asyncio.Task[None]]] = {}
        self._ending: dict[asyncio.Task[None], UUID] = {}
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._idle)

    async def take(self, mission_id: UUID, launch: Launch, policy: Policy = DEFAULT) -> Session | None:
        """The mission's idle agent, if it lives and was started just as `launch` says, and never had more than `policy`; any other one is ended.

        Give it somebody else to speak to before anything is awaited.
        """
        session = self._remove(mission_id)
        if session is not None and not (session.is_alive and session.is_fit(launch, policy)):
            self._end(mission_id, session)
            session = None
        try:
            # two agents must not work in one home
            await self._ended(mission_id)
            if session is not None and isinstance(session.hearer, Between):
                await session.hearer.stop()
        except BaseException:
            if session is not None:
                self._end(mission_id, session)
            raise
        return session

    def put(self, mission_id: UUID, session: Session) -> None:
        """Keep an agent for the mission's next turn."""
        if self._is_closed:
            self._end(mission_id, session)
            return
        watch = asyncio.create_task(self._watch(mission_id, session), name=f"idle agent {mission_id}")
        self._idle[mission_id] = (session, watch)
        while len(self._idle) > max(0, self._most()):
            self._drop(next(iter(self._idle)))

    async def end(self, mission_id: UUID) -> None:
        """End the mission's idle agent; returns when it is gone."""
        self._drop(mission_id)
        await self._ended(mission_id)

    async def close(self) -> None:
        """End all, and keep none from now on."""
        self._is_closed = True
        for mission_id in list(self._idle):
            self._drop(mission_id)
        if self._ending:
            # their late words may wait for a database that is away
            _, left = await asyncio.wait(self._ending, timeout=_CLOSE_SECONDS)
            for task in left:
                task.cancel()

    async def _watch(self, mission_id: UUID, session: Session) -> None:
        try:
            await asyncio.wait_for(session.process.exited(), self.idle_seconds)
            log.info("idle agent ended by itself", backend=session.launch.backend, mission_id=str(mission_id))
        except TimeoutError:
            pass
        if self._idle.get(mission_id, (None,))[0] is session:
            del self._idle[mission_id]
            self._end(mission_id, session)

    def _remove(self, mission_id: UUID) -> Session | None:
        session, watch = self._idle.pop(mission_id, (None, None))
        if watch is not None:
            watch.cancel()
        return session

    def _drop(self, mission_id: UUID) -> None:
        session = self._remove(mission_id)
        if session is not None:
            self._end(mission_id, session)

    def _end(self, mission_id: UUID, session: Session) -> None:
        task = asyncio.create_task(_end(session), name=f"ending agent {mission_id}")
        self._ending[task] = mission_id
        task.add_done_callback(self._ending.pop)

    async def _ended(self, mission_id: UUID) -> None:
        tasks = [task for task, mission in self._ending.items() if mission == mission_id]
        if tasks:
            await asyncio.wait(tasks)


async def _end(session: Session) -> None:
    try:
        await session.close(exit_seconds=_EXIT_SECONDS, term_seconds=_TERM_SECONDS)
        if isinstance(session.hearer, Between):
            await session.hearer.stop()
    except Exception:
        log.exception("agent could not be ended", run_id=session.launch.run_id)
