"""Turns of control missions: each answers a message, and the next waiting message may begin with its end."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from server.agents.budgets import Use
from server.agents.sandbox import Kind
from server.agents.turn import TurnOutcome
from server.missions.kinds import Facts, MissionKind
from server.runs.turn import Turn, patiently
from storage.missions import MissionRow
from storage.rules import Outcome


class Conversing:
    """The Work of a kind whose missions are one conversation, by the verbs of its rules."""

    def __init__(self, rules: MissionKind, execute: Callable[..., Awaitable[Outcome]]) -> None:
        self._rules = rules
        self._execute = execute

    async def facts(self, turn: Turn, mission: MissionRow) -> Facts | None:
        facts = self._rules.facts(mission.state)
        turn.actor = f"agent:{facts.backend}"
        return facts

    async def spend(self, turn: Turn, use: Use) -> None:
        await self._do(turn, "spend", use=use)

    async def sandboxed(self, turn: Turn, facts: Facts, sandbox: Kind) -> None:
        if sandbox != facts.sandbox:
            await patiently(lambda: self._do(turn, "note_sandbox", sandbox=sandbox))

    async def end(self, turn: Turn, outcome: TurnOutcome, use: Use, next_run_id: UUID | None) -> bool:
        ended = await self._do(
            turn,
            "end_run",
            reason=outcome.reason,
            text=outcome.text,
            error=outcome.error,
            model=outcome.model,
            use=use,
            usage=outcome.usage,
            session_id=turn.session.id,
            next_run_id=next_run_id,
            by=turn.actor,
        )
        return self._rules.facts(ended.state).run_id is None

    async def _do(self, turn: Turn, verb: str, **fields: object) -> Outcome:
        return await self._execute(
            turn.workspace_id, turn.mission_id, self._rules.kind, verb, run_id=turn.run_id, **fields
        )
