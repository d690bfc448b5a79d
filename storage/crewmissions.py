"""Reading crew missions as crew's clients see them: with tasks, and with what their agents are called."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from storage.agents import AgentName
from storage.pool import Database
from storage.queries import queries
from storage.rules import Rules, Statement
from streams.errors import MissionstreamError


class Found(NamedTuple):
    """A mission that is there: its crew and its status."""

    crew_id: UUID
    status: str


class ShownTask(NamedTuple):
    """A task's document, and what its agent is called; None without an agent, or when nobody knows it any more."""

    task: Any
    agent: AgentName | None


class ShownMission(NamedTuple):
    """A mission's document without its tasks, and what its LEAD is called."""

    mission: Any
    lead: AgentName | None


class Metrics(NamedTuple):
    """How a workspace's missions do: all of them, and what happened in the window that was asked for."""

    total_missions: int
    active_missions: int
    completed_24h: int
    failed_24h: int
    total_tokens_24h: int
    total_cost_24h: float
    avg_completion_time_ms: int
    tasks_completed_24h: int
    tasks_failed_24h: int


class CrewMissions:
    """Crew missions as last committed. Deleted, foreign and other kinds' missions are not found."""

    def __init__(self, database: Database, rules: Rules) -> None:
        self._database = database
        self._missions = msgspec.json.Decoder(rules.state_type)
        assert rules.part_type is not None
        self._tasks = msgspec.json.Decoder(rules.part_type)

    async def found(self, workspace_id: UUID, mission_id: UUID, crew_id: UUID | None = None) -> Found | None:
        """The crew and status of a mission, of `crew_id` where that is given; None when there is no such."""
        async with self._database.reading() as connection:
            row = await connection.fetchrow(queries.crewmissions.found, workspace_id, mission_id, crew_id)
        return None if row is None else Found(row["crew_id"], row["status"])

    async def get(
        self, workspace_id: UUID, mission_id: UUID, crew_id: UUID
    ) -> tuple[ShownMission, Sequence[ShownTask]] | None:
        """One consistent reading of a crew's mission and its tasks, as they were made; None when there is no such."""
        async with self._database.snapshot() as connection:
            row = await connection.fetchrow(queries.crewmissions.one, workspace_id, mission_id, crew_id)
            if row is None:
                return None
            tasks = await connection.fetch(queries.crewmissions.tasks, workspace_id, [mission_id])
        return self._mission(row), [self._task(task) for task in tasks]

    async def listed(
        self, workspace_id: UUID, *, crew_id: UUID | None = None, status: str | None, limit: int, offset: int
    ) -> Sequence[ShownMission]:
        """A page of missions, newest first, by one query; of one crew's where that is given."""
        page = (workspace_id, status, limit, offset)
        async with self._database.reading() as connection:
            if crew_id is None:
                rows = await connection.fetch(queries.crewmissions.listed, *page)
            else:
                rows = await connection.fetch(queries.crewmissions.of_crew, *page, crew_id)
        return [self._mission(row) for row in rows]

    async def tasks(self, workspace_id: UUID, mission_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[ShownTask]]:
        """The tasks of missions, as they were made, by one query; missions without any are left out."""
        found: dict[UUID, list[ShownTask]] = {}
        async with self._database.reading() as connection:
            for row in await connection.fetch(queries.crewmissions.tasks, workspace_id, list(mission_ids)):
                found.setdefault(row["mission_id"], []).append(self._task(row))
        return found

    async def called(self, workspace_id: UUID, agent_id: UUID | None) -> AgentName | None:
        """What an agent is called, a deleted one too; None for an unknown one."""
        if agent_id is None:
            return None
        async with self._database.reading() as connection:
            row = await connection.fetchrow(queries.agents.names, workspace_id, [agent_id])
        return None if row is None else AgentName(row["name"], row["slug"])

    async def agent_of(self, workspace_id: UUID, mission_id: UUID, task_id: UUID) -> AgentName | None:
        """What the agent of a task is called; None without one."""
        async with self._database.reading() as connection:
            row = await connection.fetchrow(queries.crewmissions.agent_of_task, workspace_id, mission_id, task_id)
        return None if row is None else AgentName(row["name"], row["slug"])

    async def metrics(self, workspace_id: UUID, since: datetime) -> Metrics:
        """Counts of all missions, and sums over what happened at or after `since`, by one query."""
        async with self._database.reading() as connection:
            return Metrics(**await connection.fetchrow(queries.crewmissions.metrics, workspace_id, since))

    def _mission(self, row: asyncpg.Record) -> ShownMission:
        return ShownMission(self._missions.decode(row["state"]), _called(row["lead_name"], row["lead_slug"]))

    def _task(self, row: asyncpg.Record) -> ShownTask:
        return ShownTask(self._tasks.decode(row["state"]), _called(row["agent_name"], row["agent_slug"]))


def _called(name: str | None, slug: str | None) -> AgentName | None:
    return None if name is None or slug is None else AgentName(name, slug)


def agent_of_workspace(workspace_id: UUID, agent_id: UUID, missing: MissionstreamError) -> Statement:
    """Changes nothing; `missing` unless the agent is there."""
    return Statement(queries.crewmissions.agent_of_workspace, (workspace_id, agent_id), missing)


def agent_of_crew(workspace_id: UUID, crew_id: UUID, agent_id: UUID, missing: MissionstreamError) -> Statement:
    """Changes nothing; `missing` unless the crew is there, and the agent in it."""
    return Statement(queries.crewmissions.agent_of_crew, (workspace_id, crew_id, agent_id), missing)


def agent_in_role(workspace_id: UUID, agent_id: UUID, role: str, missing: MissionstreamError) -> Statement:
    """Changes nothing; `missing` unless the agent has the role."""
    return Statement(queries.crewmissions.agent_in_role, (workspace_id, agent_id, role), missing)
