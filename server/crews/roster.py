"""The roster: crews and their agents, changed together with the events that tell of it."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from server.crews import forms
from server.missions.kinds import NO_SPACE
from storage import agents, crews, spaces
from storage.agents import AgentRow
from storage.crews import CrewRow
from storage.pool import Database
from storage.rules import Key, Outcome, Statement
from storage.writer import Writers
from streams.errors import BadRequest, HeadMoved, NotFound
from streams.event import Draft

T = TypeVar("T")
Changed = TypeVar("Changed", CrewRow, AgentRow)
LEAD_NEEDS_CREW = "LEAD role requires crew_id"
NO_SUCH_SPACE = "space_id is not a space of this workspace"
_TRIES = 8


class Roster:
    """The crews and agents of all workspaces. Every change is one transaction with its event in the workspace's stream.

    Reads raise NotFound for what is unknown, foreign or deleted alike. Writes raise BadRequest, Conflict for a slug or
    a lead's place that is taken, and what `Writers.change` raises.
    """

    def __init__(self, database: Database, writers: Writers) -> None:
        self._database = database
        self._writers = writers

    async def crew(self, workspace_id: UUID, crew_id: UUID) -> CrewRow:
        """A crew and its settings."""
        return await crews.one(self._database, workspace_id, crew_id)

    async def crews(self, workspace_id: UUID, *, limit: int, offset: int = 0) -> tuple[Sequence[CrewRow], int]:
        """A page of crews, newest first, and how many there are."""
        page = await crews.listed(self._database, workspace_id, limit=limit, offset=offset)
        return page, await crews.counted(self._database, workspace_id)

    async def create_crew(
        self, row: CrewRow, *, by: str, shown: Callable[[CrewRow], Any], key: Key | None = None
    ) -> Outcome:
        """Make the crew; the answer is `shown` of it, or the first one of a repeated `key`."""
        statements = [*_space_present(row), crews.created(row)]
        drafts = [_crew_draft("crew.created", row, by)]
        return await self._writers.change(row.workspace_id, statements, drafts, answer=shown(row), key=key)

    async def update_crew(self, workspace_id: UUID, crew_id: UUID, fields: dict[str, Any], *, by: str) -> CrewRow:
        """Change these fields of a crew and give it as it is then; nothing is told when nothing changes."""

        async def once() -> CrewRow:
            before = await self.crew(workspace_id, crew_id)
            after = _later(before, fields)
            if after is not before:
                statements = [*_space_present(after), crews.updated(after, before.updated_at)]
                await self._writers.change(workspace_id, statements, [_crew_draft("crew.updated", after, by)])
            return after

        return await _in_turn(once)

    async def remove_crew(self, workspace_id: UUID, crew_id: UUID, *, by: str) -> None:
        """Hide a crew and its agents. Conflict while a mission of it is active."""

        async def once() -> None:
            await self.crew(workspace_id, crew_id)
            members = await agents.of_crew(self._database, workspace_id, crew_id)
            at = datetime.now(UTC)
            statements = [
                crews.idle(workspace_id, crew_id),
                *(agents.removed(workspace_id, agent_id, at)._replace(missing=HeadMoved()) for agent_id in members),
                crews.removed(workspace_id, crew_id, at),
            ]
            drafts = [
                *(_gone("agent.deleted", agent_id, by) for agent_id in members),
                _gone("crew.deleted", crew_id, by),
            ]
            await self._writers.change(workspace_id, statements, drafts)

        await _in_turn(once)

    async def agent(self, workspace_id: UUID, agent_id: UUID) -> AgentRow:
        """An agent, with its crew's name."""
        return await agents.one(self._database, workspace_id, agent_id)

    async def agents(
        self, workspace_id: UUID, crew_id: UUID | None = None, *, limit: int, offset: int = 0
    ) -> tuple[Sequence[AgentRow], int]:
        """A page of agents, of one crew if it is given, leads first, and how many there are."""
        page = await agents.listed(self._database, workspace_id, crew_id, limit=limit, offset=offset)
        return page, await agents.counted(self._database, workspace_id, crew_id)

    async def create_agent(
        self, row: AgentRow, *, by: str, shown: Callable[[AgentRow], Any], key: Key | None = None
    ) -> Outcome:
        """Make the agent; the answer is `shown` of it, or the first one of a repeated `key`."""
        row = await self._in_crew(_as_role(row))
        statements = [*_crew_present(row), agents.created(row)]
        drafts = [_agent_draft("agent.created", row, by)]
        return await self._writers.change(row.workspace_id, statements, drafts, answer=shown(row), key=key)

    async def update_agent(self, workspace_id: UUID, agent_id: UUID, fields: dict[str, Any], *, by: str) -> AgentRow:
        """Change these fields of an agent and give it as it is then; nothing is told when nothing changes."""

        async def once() -> AgentRow:
            before = await self.agent(workspace_id, agent_id)
            after = _later(before, fields, then=_as_role)
            if after is not before:
                after = await self._in_crew(after)
                statements = [*_crew_present(after), agents.updated(after, before.updated_at)]
                await self._writers.change(workspace_id, statements, [_agent_draft("agent.updated", after, by)])
            return after

        return await _in_turn(once)

    async def remove_agent(self, workspace_id: UUID, agent_id: UUID, *, by: str) -> None:
        """Hide an agent. A turn that it is in goes on to its end."""
        statement = agents.removed(workspace_id, agent_id, datetime.now(UTC))
        await self._writers.change(workspace_id, [statement], [_gone("agent.deleted", agent_id, by)])

    async def _in_crew(self, row: AgentRow) -> AgentRow:
        """The agent with what stands with it of its crew; whether the crew is there is asked in the transaction."""
        try:
            crew = None if row.crew_id is None else await self.crew(row.workspace_id, row.crew_id)
        except NotFound:
            crew = None
        return msgspec.structs.replace(
            row,
            crew_name=crew and crew.name,
            crew_slug=crew and crew.slug,
            crew_color=crew and crew.color,
            crew_avatar_style=crew and crew.avatar_style,
        )


def agent_status(row: AgentRow) -> str:
    """RUNNING while it works on a task, else IDLE."""
    return "RUNNING" if row.is_working else "IDLE"


async def _in_turn(once: Callable[[], Awaitable[T]]) -> T:
    """What `once` gives, read and decided again when somebody was quicker; HeadMoved when that never ends."""
    for _ in range(_TRIES - 1):
        try:
            return await once()
        except HeadMoved:
            continue
    return await once()


def _later(before: Changed, fields: dict[str, Any], then: Callable[[Changed], Changed] = lambda row: row) -> Changed:
    """The row with other fields and a later time of change; the very same one when nothing is different."""
    after = then(msgspec.structs.replace(before, **fields))
    if after == before:
        return before
    now = max(datetime.now(UTC), before.updated_at + timedelta(microseconds=1))
    return msgspec.structs.replace(after, updated_at=now)


def _as_role(row: AgentRow) -> AgentRow:
    """A LEAD has a crew and a mode, active unless it says otherwise; others have no mode."""
    if row.agent_role != forms.LEAD:
        return msgspec.structs.replace(row, lead_mode=None)
    if row.crew_id is None:
        raise BadRequest(LEAD_NEEDS_CREW)
    return msgspec.structs.replace(row, lead_mode=row.lead_mode or forms.LEAD_MODES[0])


def _space_present(row: CrewRow) -> Sequence[Statement]:
    return (
        [] if row.space_id == NO_SPACE else [spaces.present(row.workspace_id, row.space_id, BadRequest(NO_SUCH_SPACE))]
    )


def _crew_present(row: AgentRow) -> Sequence[Statement]:
    return [] if row.crew_id is None else [crews.present(row.workspace_id, row.crew_id)]


def _crew_draft(kind: str, row: CrewRow, by: str) -> Draft:
    return Draft(
        type=kind, content=row.name, metadata={"id": str(row.id), "name": row.name, "slug": row.slug}, actor=by
    )


def _agent_draft(kind: str, row: AgentRow, by: str) -> Draft:
    told = {"id": str(row.id), "name": row.name, "slug": row.slug, "status": agent_status(row)}
    if row.crew_id is not None:
        told["crew_id"] = str(row.crew_id)
    return Draft(type=kind, content=row.name, metadata=told, actor=by)


def _gone(kind: str, identity: UUID, by: str) -> Draft:
    return Draft(type=kind, metadata={"id": str(identity)}, actor=by)
