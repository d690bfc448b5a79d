"""The agents of crews, and how they are kept: reading them, and the statements that change them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from storage.pool import Database
from storage.queries import queries
from storage.rules import Statement
from streams.errors import Conflict, HeadMoved, MissionstreamError, NotFound

NO_SUCH_AGENT = "Agent not found"
SLUG_TAKEN = "Agent slug already taken in this workspace"
LEAD_TAKEN = "Crew already has a lead agent"


class AgentRow(msgspec.Struct, frozen=True, kw_only=True):
    """An agent of a workspace, and what stands with it of its crew. `is_working`: a run of a task of its goes on."""

    id: UUID
    workspace_id: UUID
    crew_id: UUID | None = None
    name: str
    slug: str
    description: str | None = None
    role_title: str | None = None
    agent_role: str
    lead_mode: str | None = None
    cli_adapter: str
    llm_provider: str | None = None
    model: str | None = None
    system_prompt: str | None = None
    avatar_seed: str | None = None
    avatar_style: str | None = None
    tool_profile: str
    timeout_seconds: int
    memory_enabled: bool
    updated_at: datetime
    created_at: datetime
    crew_name: str | None = None
    crew_slug: str | None = None
    crew_color: str | None = None
    crew_avatar_style: str | None = None
    is_working: bool = False


class AgentName(NamedTuple):
    """What an agent is called."""

    name: str
    slug: str


_COLUMNS = AgentRow.__struct_fields__[:-5]


async def listed(
    database: Database, workspace_id: UUID, crew_id: UUID | None = None, *, limit: int, offset: int = 0
) -> Sequence[AgentRow]:
    """A page of the agents of a workspace, or of one crew of it: leads first, then in the order of their making."""
    async with database.reading() as connection:
        rows = await connection.fetch(queries.agents.listed, workspace_id, crew_id, limit, offset)
    return [AgentRow(**row) for row in rows]


async def counted(database: Database, workspace_id: UUID, crew_id: UUID | None = None) -> int:
    """How many agents a workspace, or one crew of it, has."""
    async with database.reading() as connection:
        return int(await connection.fetchval(queries.agents.counted, workspace_id, crew_id))


async def one(database: Database, workspace_id: UUID, agent_id: UUID) -> AgentRow:
    """An agent; NotFound for an unknown, foreign or deleted one."""
    async with database.reading() as connection:
        row = await connection.fetchrow(queries.agents.one, workspace_id, agent_id)
    if row is None:
        raise NotFound(NO_SUCH_AGENT)
    return AgentRow(**row)


async def of_crew(database: Database, workspace_id: UUID, crew_id: UUID) -> Sequence[UUID]:
    """The ids of a crew's agents, in the order of their making."""
    async with database.reading() as connection:
        rows = await connection.fetch(queries.agents.ids_of_crew, workspace_id, crew_id)
    return [row["id"] for row in rows]


def created(row: AgentRow) -> Statement:
    """Makes the agent; Conflict when its slug is taken, or its crew has a lead already."""
    return Statement(queries.agents.create, _values(row), broken=_broken())


def updated(row: AgentRow, since: datetime) -> Statement:
    """Makes the agent like the row; HeadMoved unless it was changed last at `since`, Conflict as `created`."""
    return Statement(queries.agents.update, (*_values(row)[:-1], since), missing=HeadMoved(), broken=_broken())


def removed(workspace_id: UUID, agent_id: UUID, at: datetime) -> Statement:
    """Hides the agent; NotFound when it is gone already."""
    return Statement(queries.agents.remove, (workspace_id, agent_id, at), missing=NotFound(NO_SUCH_AGENT))


def _values(row: AgentRow) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in _COLUMNS)


def _broken() -> Mapping[str, MissionstreamError]:
    return {"agents_slug": Conflict(SLUG_TAKEN), "agents_lead": Conflict(LEAD_TAKEN)}
