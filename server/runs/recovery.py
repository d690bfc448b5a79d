"""Ending what a dead process left: its runs, its agents, and the questions that nobody waits for any more."""

from collections.abc import Awaitable, Callable, Container, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

import msgspec
import structlog

from server.agents.budgets import MICROS_PER_CENT, Use
from server.agents.survivors import sweep, sweep_left
from server.missions.control import KIND
from server.missions.kinds import MissionKind
from server.runs.closing import close_questions
from server.runs.families import Families
from server.runs.owner import is_dead, this_process
from storage.ids import new_id
from storage.missions import Missions
from storage.runs import OpenRun, Runs
from storage.writer import Writers
from streams.errors import NotFound, Unavailable

_RESTARTED = "The server was restarted while the agent was working"
log = structlog.get_logger()


class Recovery:
    """Finds runs that nobody works on, and ends them as crashed with what was kept of them."""

    def __init__(
        self,
        runs: Runs,
        missions: Missions,
        writers: Writers,
        kinds: Mapping[str, MissionKind],
        families: Families,
        execute: Callable[..., Awaitable[Any]],
    ) -> None:
        self._runs = runs
        self._missions = missions
        self._writers = writers
        self._kinds = kinds
        self._families = families
        self._execute = execute
        self._owner = this_process()

    async def recover(self, ours: Container[UUID], *, is_boot: bool, may_start: Callable[[], bool]) -> None:
        """End the lost runs that are not `ours`; what waits behind one starts if it `may_start`.

        At boot also ends agents whose server is dead, and marks missions that say active though nothing goes on.
        """
        lost = [run for run in await self._runs.open() if run.run_id not in ours and self._is_lost(run)]
        # an agent that outlived its server may have been idle, of no run at all
        left = await sweep_left(is_dead) if is_boot or lost else 0
        if lost or left:
            killed = await sweep([str(run.run_id) for run in lost]) + left
            log.warning("runs.recovered", runs=len(lost), processes_killed=killed)
        for run in lost:
            try:
                await self._end(run, may_start)
            except Unavailable:
                raise
            except Exception:  # it is found again, and must not keep the others from their ends
                log.exception("runs.not_recovered", run_id=str(run.run_id))
        if is_boot:
            await self._finish()
            for idle in await self._runs.stranded(KIND):
                with suppress(NotFound):
                    await self._execute(idle.workspace_id, idle.mission_id, idle.kind, "interrupt", reason=_RESTARTED)

    async def _end(self, run: OpenRun, may_start: Callable[[], bool]) -> None:
        use = msgspec.convert(run.used, Use)
        with suppress(NotFound):
            await self._close_questions(run)
            await self._execute(
                run.workspace_id,
                run.mission_id,
                run.kind,
                "end_run",
                run_id=run.run_id,
                reason="crashed",
                text=run.partial or "",
                summary=_RESTARTED,
                use=use,
                next_run_id=new_id() if may_start() else None,
            )
            await self._families.count(run.workspace_id, run.mission_id)
        cents = round(use.cost_micros / MICROS_PER_CENT)
        await self._runs.finish(run.workspace_id, run.run_id, outcome="crashed", cost_cents=cents)

    async def _finish(self) -> None:
        """Do what comes after a run's end, where a process died between the two."""
        for run in await self._runs.unfinished():
            if run.is_expired or is_dead(run.owner):
                await self._families.count(run.workspace_id, run.mission_id)
                await self._runs.finish(run.workspace_id, run.run_id, outcome="ended")

    async def _close_questions(self, run: OpenRun) -> None:
        mission = await self._missions.get(run.workspace_id, run.mission_id)
        facts = self._kinds[run.kind].facts(mission.state)
        after = facts.run_sequence or 0 if facts.run_id == run.run_id else 0
        await close_questions(self._missions, self._writers, run.workspace_id, run.mission_id, run.run_id, after=after)

    def _is_lost(self, run: OpenRun) -> bool:
        if run.owner is None:
            return run.is_old  # a process that lives claims its runs within milliseconds
        return run.is_expired or (run.owner != self._owner and is_dead(run.owner))
