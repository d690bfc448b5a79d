"""The Work of crew missions: what their agents are told, and what their answers lead to."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol
from uuid import UUID

from server.agents.budgets import MICROS_PER_CENT, Use
from server.agents.sandbox import Kind
from server.agents.turn import TurnOutcome
from server.missions.crew import KIND, Mission
from server.missions.crew.steps import EndPlanning, EndReview, EndTask, FailTask, Requeue, Settle
from server.missions.kinds import Facts
from server.runs.crew import briefs, handoff, plans, verdict
from server.runs.crew.breaker import Breaker
from server.runs.crew.roster import Roster, Worker
from server.runs.crew.scheduling import NOT_IN_CREW
from server.runs.crew.turn import CrewTurn
from server.runs.turn import Turn
from storage.ids import new_id
from storage.log import Log
from storage.missions import MissionRow
from storage.rules import Command, Outcome
from storage.writer import Writers
from streams.errors import NotFound
from streams.event import Draft

_LOOK_BACK, _LOOK_BACK_BYTES = 100, 1 << 20
_BEGIN_AGAIN = "shutdown"
"""A run's reason to end that says nothing of its work."""


class RosterSource(Protocol):
    """Where rosters come from."""

    async def of(self, workspace_id: UUID, crew_id: UUID) -> Roster: ...


class CrewWork:
    """One kind's part in its turns (see Work), and how the engine's steps are executed."""

    def __init__(self, writers: Writers, log: Log, rosters: RosterSource, breaker: Breaker) -> None:
        self._writers = writers
        self._log = log
        self._rosters = rosters
        self._breaker = breaker
        self._ends: dict[str, Callable[[CrewTurn, TurnOutcome, dict[str, Any]], Awaitable[Command]]] = {
            "plan": self._planned,
            "review": self._reviewed,
            "task": self._done,
        }

    async def state(self, workspace_id: UUID, mission_id: UUID) -> Mission:
        """The mission as it is now, with its tasks; settled, if it was time to."""
        outcome = await self.execute(workspace_id, mission_id, Settle())
        state: Mission = outcome.state
        return state

    async def execute(self, workspace_id: UUID, mission_id: UUID, step: Command) -> Outcome:
        """One step."""
        return await self._writers.execute(workspace_id, mission_id, KIND, step, is_patient=True)

    async def facts(self, turn: Turn, mission: MissionRow) -> Facts | None:
        assert isinstance(turn, CrewTurn)
        state = await self.state(turn.workspace_id, turn.mission_id)
        roster = await self._rosters.of(turn.workspace_id, state.crew_id)
        if not turn.goes_on(state):
            return None
        worker = roster.agents.get(turn.crew_agent_id)
        if worker is None or worker.backend is None:
            await self._give_up(turn, worker.manual if worker else NOT_IN_CREW)
            return None
        turn.actor = f"agent:{worker.slug}"
        turn.seconds = worker.timeout_seconds
        turn.prompt = _brief(state, roster, worker, turn, await self._last_failure(state, turn))
        return Facts(
            backend=worker.backend,
            space_id=roster.space_id,
            model_override=worker.model,
            permission_policy=worker.policy,
        )

    async def _last_failure(self, state: Mission, turn: CrewTurn) -> str | None:
        """Why the attempt before this one failed; its task has forgotten."""
        if turn.task_id is None or state.tasks[turn.task_id].iteration == 1:
            return None
        moves = await self._log.newest(
            turn.workspace_id, turn.mission_id, ("task_status_changed",), limit=_LOOK_BACK, max_bytes=_LOOK_BACK_BYTES
        )
        for event in sorted(moves, key=lambda event: event.sequence, reverse=True):
            data = event.data()
            if data["task_id"] == str(turn.task_id) and data["cause"] == "retry":
                return event.content
        return None

    async def spend(self, turn: Turn, use: Use) -> None:
        """A crew mission has no budget."""

    async def sandboxed(self, turn: Turn, facts: Facts, sandbox: Kind) -> None:
        """It stands in the run's row."""

    async def end(self, turn: Turn, outcome: TurnOutcome, use: Use, next_run_id: UUID | None) -> bool:
        assert isinstance(turn, CrewTurn)
        words = _words(turn, outcome, use)
        ended = {"run_id": turn.run_id, "use": use, "usage": outcome.usage, "session_id": turn.session.id}
        with suppress(NotFound):
            if words:
                await turn.record(words)
            state: Mission = (await self._execute_end(turn, outcome, ended)).state
            return state.run is None and not any(task.run_id for task in state.tasks.values())
        return True

    async def _execute_end(self, turn: CrewTurn, outcome: TurnOutcome, ended: dict[str, Any]) -> Outcome:
        step = await self._ends[turn.purpose](turn, outcome, ended)
        done = await self.execute(turn.workspace_id, turn.mission_id, step)
        if done.events and isinstance(step, EndTask):  # once, however often it was tried; and it was still its task
            (self._breaker.cleared if outcome.success else self._breaker.failed)(turn.crew_agent_id)
        return done

    async def _give_up(self, turn: CrewTurn, why: str) -> None:
        """The agent of the run is not there any more."""
        step: Command
        if turn.task_id is not None:
            step = FailTask(task_id=turn.task_id, run_id=turn.run_id, error=why)
        elif turn.purpose == "plan":
            step = EndPlanning(run_id=turn.run_id, reason="failed", error=why)
        else:
            step = EndReview(run_id=turn.run_id, reason="failed", notes=why)
        await self.execute(turn.workspace_id, turn.mission_id, step)

    # what an end means

    async def _done(self, turn: CrewTurn, outcome: TurnOutcome, ended: dict[str, Any]) -> Command:
        assert turn.task_id is not None
        if _is_called_off(outcome, turn):
            word = _BEGIN_AGAIN if outcome.reason == _BEGIN_AGAIN else "cancelled"
            return Requeue(task_id=turn.task_id, reason=word, **ended)
        if not outcome.success:
            error = outcome.error or f"the agent ended its turn with {outcome.reason}"
            return EndTask(
                task_id=turn.task_id, outcome="failed", reason=outcome.reason, error=error, by=turn.actor, **ended
            )
        crew_id = turn.started.crew_id
        assert crew_id is not None
        roster = await self._rosters.of(turn.workspace_id, crew_id)
        result = handoff.read(*turn.messages)
        return EndTask(
            task_id=turn.task_id,
            outcome="completed",
            reason=outcome.reason,
            result=result.text,
            handoff=result.handoff,
            output_path=result.artifacts,
            gate=roster.gate,
            by=turn.actor,
            **ended,
        )

    async def _planned(self, turn: CrewTurn, outcome: TurnOutcome, ended: dict[str, Any]) -> Command:
        if _is_called_off(outcome, turn):
            return EndPlanning(reason=_BEGIN_AGAIN, **ended)
        if not outcome.success:
            return EndPlanning(reason=outcome.reason, error=outcome.error or outcome.reason, by=turn.actor, **ended)
        state = await self.state(turn.workspace_id, turn.mission_id)
        roster = await self._rosters.of(turn.workspace_id, state.crew_id)
        is_made = state.run is not None and state.run.made > 0
        lines = () if is_made else turn.plan
        tasks = plans.tasks_of(lines, roster.slugs, state.tasks.values(), new_id, is_chained=True)
        return EndPlanning(reason=outcome.reason, tasks=tasks, by=turn.actor, **ended)

    async def _reviewed(self, turn: CrewTurn, outcome: TurnOutcome, ended: dict[str, Any]) -> Command:
        if _is_called_off(outcome, turn):
            return EndReview(reason=_BEGIN_AGAIN, **ended)
        if not outcome.success:
            return EndReview(reason=outcome.reason, notes=outcome.error or outcome.reason, by=turn.actor, **ended)
        state = await self.state(turn.workspace_id, turn.mission_id)
        roster = await self._rosters.of(turn.workspace_id, state.crew_id)
        found = verdict.read(*turn.messages)
        tasks = state.tasks.values()
        return EndReview(
            reason=outcome.reason,
            verdict=found.verdict,
            notes=found.notes,
            reset=verdict.meant(found.rework, tasks),
            tasks=plans.tasks_of(found.new, roster.slugs, tasks, new_id),
            auto_accept=roster.auto_accept_review,
            by=turn.actor,
            **ended,
        )


def _is_called_off(outcome: TurnOutcome, turn: CrewTurn) -> bool:
    """Whether the server ended the run, and not the agent."""
    return outcome.reason == _BEGIN_AGAIN or (turn.cancel.is_set() and not outcome.success)


def _brief(state: Mission, roster: Roster, worker: Worker, turn: CrewTurn, failure: str | None) -> str:
    if turn.task_id is not None:
        return briefs.task(state, roster, worker, state.tasks[turn.task_id], failure)
    return (briefs.planning if turn.purpose == "plan" else briefs.review)(state, roster, worker)


def _words(turn: CrewTurn, outcome: TurnOutcome, use: Use) -> list[Draft]:
    """What the agent said last, and what went wrong. Recorded once, however often it is tried."""
    drafts = []
    if outcome.error is not None and not turn.cancel.is_set():
        drafts.append(Draft(type="error", content=outcome.error, dedupe_key=f"{turn.run_id}-error"))
    if outcome.text:
        metadata = {
            "success": outcome.success,
            "cost_cents": round(use.cost_micros / MICROS_PER_CENT),
            "model": outcome.model,
        }
        key = f"{turn.run_id}-final"
        drafts.append(
            Draft(type="assistant_message", content=outcome.text, metadata=metadata, event_id=key, dedupe_key=key)
        )
    return drafts
