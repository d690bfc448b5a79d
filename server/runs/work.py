"""What differs between the kinds of missions in a turn of an agent: what it is given, and what its end leads to."""

from typing import Protocol
from uuid import UUID

from server.agents.budgets import Use
from server.agents.sandbox import Kind
from server.agents.turn import TurnOutcome
from server.missions.kinds import Facts
from server.runs.turn import Turn
from storage.missions import MissionRow


class Work(Protocol):
    """One kind's part in its turns. What it raises fails the turn, but Unavailable, after which it is asked again."""

    async def facts(self, turn: Turn, mission: MissionRow) -> Facts | None:
        """What the turn's agent is started with; it may fill in the turn. None when the turn has been overtaken."""

    async def spend(self, turn: Turn, use: Use) -> None:
        """The turn has used so much that a share of the mission's budget is crossed."""

    async def sandboxed(self, turn: Turn, facts: Facts, sandbox: Kind) -> None:
        """The turn's agent has this around it."""

    async def end(self, turn: Turn, outcome: TurnOutcome, use: Use, next_run_id: UUID | None) -> bool:
        """Say how the turn ended; whether the mission rests now. `next_run_id` is for a turn that may begin at once."""
