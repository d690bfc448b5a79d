"""Crews, and how they are kept: reading them, and the statements that change them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from storage.pool import Database
from storage.queries import queries
from storage.rules import Statement
from streams.errors import BadRequest, Conflict, HeadMoved, MissionstreamError, NotFound

NO_SUCH_CREW = "Crew not found"
SLUG_TAKEN = "Crew slug already taken in this workspace"
IS_BUSY = "Crew has active missions; cancel or finish them first"


class CrewRow(msgspec.Struct, frozen=True, kw_only=True):
    """A crew and its settings. `escalation_config` is JSON text; `agent_count` counts agents that are not deleted."""

    id: UUID
    workspace_id: UUID
    name: str
    slug: str
    description: str | None = None
    color: str | None = None
    icon: str | None = None
    avatar_style: str | None = None
    escalation_config: str | None = None
    max_parallel_tasks: int
    mission_timeout_seconds: int
    auto_accept_review: bool
    permission_policy: str | None = None
    space_id: UUID
    updated_at: datetime
    created_at: datetime
    agent_count: int = 0


_COLUMNS = CrewRow.__struct_fields__[:-1]


async def listed(database: Database, workspace_id: UUID, *, limit: int, offset: int = 0) -> Sequence[CrewRow]:
    """A page of the crews of a workspace, newest first."""
    async with database.reading() as connection:
        rows = await connection.fetch(queries.crews.listed, workspace_id, limit, offset)
    return [CrewRow(**row) for row in rows]


async def counted(database: Database, workspace_id: UUID) -> int:
    """How many crews a workspace has."""
    async with database.reading() as connection:
        return int(await connection.fetchval(queries.crews.counted, workspace_id))


async def one(database: Database, workspace_id: UUID, crew_id: UUID) -> CrewRow:
    """A crew; NotFound for an unknown, foreign or deleted one."""
    async with database.reading() as connection:
        row = await connection.fetchrow(queries.crews.one, workspace_id, crew_id)
    if row is None:
        raise NotFound(NO_SUCH_CREW)
    return CrewRow(**row)


def created(row: CrewRow) -> Statement:
    """Makes the crew; Conflict when its slug is taken."""
    return Statement(queries.crews.create, _values(row), broken=_broken())


def updated(row: CrewRow, since: datetime) -> Statement:
    """Makes the crew like the row; HeadMoved unless it was changed last at `since`, Conflict when its slug is taken."""
    return Statement(queries.crews.update, (*_values(row)[:-1], since), missing=HeadMoved(), broken=_broken())


def present(workspace_id: UUID, crew_id: UUID) -> Statement:
    """Changes nothing; BadRequest unless the crew is there."""
    return Statement(queries.crews.exists, (workspace_id, crew_id), missing=BadRequest(NO_SUCH_CREW))


def idle(workspace_id: UUID, crew_id: UUID) -> Statement:
    """Changes nothing; Conflict while a mission of the crew is active."""
    return Statement(queries.crews.idle, (workspace_id, crew_id), missing=Conflict(IS_BUSY))


def removed(workspace_id: UUID, crew_id: UUID, at: datetime) -> Statement:
    """Hides the crew; HeadMoved when it is gone already, or still has agents."""
    return Statement(queries.crews.remove, (workspace_id, crew_id, at), missing=HeadMoved())


def _values(row: CrewRow) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in _COLUMNS)


def _broken() -> Mapping[str, MissionstreamError]:
    return {"crews_slug": Conflict(SLUG_TAKEN)}
