"""The agents of this process's missions: started for a turn, given their memory, kept warm, ended with the mission."""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from uuid import UUID

from server.agents import profiles
from server.agents.between import Between
from server.agents.memory import CONVERSATION, Past, answer_of, summary_of
from server.agents.policy import DEFAULT, POLICIES, Policy
from server.agents.sandbox import Sandbox
from server.agents.session import Session
from server.agents.tooling import McpServer
from server.agents.turn import TurnLimits, TurnOutcome, run_turn
from server.agents.warm import WarmAgents
from server.missions.kinds import Facts
from server.runs.owner import this_process
from server.runs.turn import Turn, patiently
from server.spaces import Spaces
from storage.log import Log
from storage.runs import Runs

_MESSAGES, _MESSAGES_BYTES = 40, 256 << 10


class MissionAgents:
    """Runs turns of agents. At most `most()` agents are kept between turns, each for `idle_seconds`; 0 keeps none."""

    def __init__(
        self,
        *,
        runs: Runs,
        log: Log,
        spaces: Spaces,
        environment: Mapping[str, str],
        sandbox: Sandbox,
        limits: TurnLimits,
        tools: Callable[[Turn], tuple[McpServer, ...]],
        idle_seconds: float,
        most: Callable[[], int],
    ) -> None:
        self.warm = WarmAgents(idle_seconds=idle_seconds, most=most)
        self._runs = runs
        self._log = log
        self._spaces = spaces
        self._environment = environment
        self._sandbox = sandbox
        self._limits = limits
        self._tools = tools

    async def run(self, turn: Turn, facts: Facts) -> TurnOutcome:
        """One turn. MissionstreamError when the agent's start cannot even be tried."""
        space = await patiently(lambda: self._spaces.directory(turn.workspace_id, facts.space_id))
        launch = profiles.launch_for(
            facts.backend,
            self._environment,
            run_id=str(turn.run_id),
            space=space,
            home=self._spaces.home(turn.mission_id),
            model=facts.model_override,
            sandbox=self._sandbox,
            agent=facts.run_agent,
            owner=this_process(),
            mcp_servers=self._tools(turn),
        )
        past = await patiently(lambda: self._past(turn, facts.backend))

        widest = turn.policy or DEFAULT

        def between(session: Session) -> Between:
            session.widest = max(session.widest, widest, key=POLICIES.index)
            return Between(session, turn.record)

        def policy() -> Policy:
            nonlocal widest
            now = turn.policy or DEFAULT
            widest = max(widest, now, key=POLICIES.index)
            return now

        outcome = await run_turn(
            launch,
            turn.started.content,
            turn,
            cancel=turn.cancel,
            limits=self._limits,
            past=past,
            policy=policy,
            session=await self.warm.take(turn.mission_id, launch, widest),
            between=between if self.warm.idle_seconds else None,
        )
        if outcome.session is not None:
            self.warm.put(turn.mission_id, outcome.session)
        return outcome

    async def _past(self, turn: Turn, backend: str) -> Past:
        """What the turn's agent may know of the mission so far."""
        session = await self._runs.last_session(turn.workspace_id, turn.mission_id, backend)
        said = await self._log.newest(
            turn.workspace_id, turn.mission_id, CONVERSATION, limit=_MESSAGES, max_bytes=_MESSAGES_BYTES
        )
        before = turn.started.sequence
        return Past(
            session_id=session.id,
            session_at=session.begun_at,
            session_cost=session.cost,
            answer=answer_of(said, before),
            summary=summary_of(said, before),
        )

    async def forget(self, mission_id: UUID) -> None:
        """The mission is deleted: end its agent, and remove the agent's home."""
        await self.warm.end(mission_id)
        await asyncio.to_thread(shutil.rmtree, self._spaces.home(mission_id), ignore_errors=True)

    async def close(self) -> None:
        """End the idle agents."""
        await self.warm.close()
