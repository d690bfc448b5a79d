"""Budgets over families: what the missions below use counts against the budgets above them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

import msgspec
import structlog

from server.agents.budgets import WARNING_PERCENT, Spent
from server.missions.kinds import Facts, MissionKind
from server.runs.turn import Turn
from storage.missions import MissionRow, Missions
from streams.errors import MissionstreamError

Execute = Callable[..., Awaitable[Any]]
log = structlog.get_logger()


class Families:
    """Looks after the turns of missions that have others above them.

    Sums of ended turns are carried upwards one level at a time and always whole, so that a sum that a crash has kept
    from being carried is mended by the next.
    """

    def __init__(self, missions: Missions, kinds: Mapping[str, MissionKind], execute: Execute) -> None:
        self._missions = missions
        self._kinds = kinds
        self._execute = execute
        self._counting = asyncio.Lock()

    async def count(self, workspace_id: UUID, mission_id: UUID) -> None:
        """A turn of the mission has ended: carry what it used up to the missions above."""
        async with self._counting:  # an older sum must not come after a newer one
            for row in await self._missions.above(workspace_id, mission_id):
                parts = await self._missions.spent_below(workspace_id, row.id)
                spent = Spent()
                for part in parts:
                    spent = spent.joined(msgspec.convert(part, Spent))
                await self._wish(row, "count_below", spent=spent)

    async def look(self, turns: Mapping[UUID, Turn]) -> None:
        """Hold what the turns that go on have used against the budgets above them; stop them where one is used up.

        `turns` are those that go on at any time, by their runs.
        """
        running = list(turns.values())
        above: dict[UUID, list[MissionRow]] = {}
        for turn in running:
            if turn.has_parent:
                above[turn.run_id] = await self._missions.above(turn.workspace_id, turn.mission_id)
        told: set[UUID] = set()
        for turn in running:
            for row in above.get(turn.run_id, ()):
                facts = self._kinds[row.kind].facts(row.state)
                if facts.reached:
                    await self._stop(turn, row.id)
                    break
                if row.id not in told and facts.budget.limits():
                    told.add(row.id)
                    # what a turn that has ended used may be in the row that was read
                    live = _live(row.id, (turn for turn in running if turn.run_id in turns), above)
                    if _is_news(facts, live):
                        await self._wish(row, "spend_below", spent=live)

    async def _stop(self, turn: Turn, above: UUID) -> None:
        if not turn.cancel.is_set():
            with suppress(MissionstreamError):
                await self._execute(turn.workspace_id, turn.mission_id, turn.kind, "stop_for_parent", above=above)

    async def _wish(self, row: MissionRow, verb: str, **fields: Any) -> None:
        try:
            await self._execute(row.workspace_id, row.id, row.kind, verb, **fields)
        except MissionstreamError as error:  # deleted meanwhile, or of a kind that has no budget
            log.info("family.not_told", verb=verb, mission_id=str(row.id), reason=error.message)


def _live(mission_id: UUID, turns: Iterable[Turn], above: Mapping[UUID, list[MissionRow]]) -> Spent:
    """What the turns that go on, on a mission and below it, have used so far."""
    spent = Spent()
    for turn in turns:
        if turn.mission_id == mission_id or any(row.id == mission_id for row in above.get(turn.run_id, ())):
            spent = spent.plus(turn.meter.use)
    return spent


def _is_news(facts: Facts, live: Spent) -> bool:
    """Whether the sum crosses a share of the budget of which nobody was told."""
    spent = facts.spent.joined(facts.spent_below).joined(live)
    near, full = (facts.budget.beyond(spent, share) for share in (WARNING_PERCENT, 100))
    return not (set(near) <= {*facts.warned, *facts.reached} and set(full) <= set(facts.reached))


async def spent_above(missions: Missions, kinds: Mapping[str, MissionKind], row: MissionRow) -> UUID | None:
    """The nearest mission above this one whose budget is used up."""
    if row.parent_id is None:
        return None
    rows = await missions.above(row.workspace_id, row.id)
    return next((above.id for above in rows if kinds[above.kind].facts(above.state).reached), None)
