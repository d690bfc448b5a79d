"""Closing what a dead server left open: questions whose agent is gone, so that nobody answers into the void."""

from contextlib import suppress
from uuid import UUID

from server.agents.permissions import closing
from storage.missions import Missions
from storage.writer import Writers
from streams.errors import KeyReused

_LOST = "Cancelled: the server was restarted while this question was open. Resume the mission to go on."


async def close_questions(
    missions: Missions, writers: Writers, workspace_id: UUID, mission_id: UUID, run_id: UUID, *, after: int
) -> None:
    """Close the open questions of a run that came after a sequence. An answer that comes first stands."""
    for question_id in await missions.open_questions(workspace_id, mission_id, run_id, after=after):
        with suppress(KeyReused):
            await writers.record(workspace_id, mission_id, [closing(question_id, "cancelled", _LOST)], is_patient=True)
