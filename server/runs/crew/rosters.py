"""Rosters as they are stored, read when needed and kept for a moment."""

import asyncio
from collections.abc import Mapping
from uuid import UUID

from server.agents import profiles
from server.agents.policy import DEFAULT, Policy, policy_of
from server.crews.escalation import thresholds
from server.crews.forms import ADAPTERS, LEAD
from server.missions.crew.steps import Gate
from server.runs.crew.roster import Roster, Worker
from storage import agents, crews
from storage.agents import AgentRow
from storage.crews import CrewRow
from storage.pool import Database
from streams.errors import MissionstreamError, NotFound

_KEPT_SECONDS = 5.0
_MOST_AGENTS = 500


class Rosters:
    """The rosters of all crews. What changes in this process is seen at once, what others change within seconds."""

    def __init__(self, database: Database, environment: Mapping[str, str]) -> None:
        self._database = database
        self._environment = environment
        self._known: dict[tuple[UUID, UUID], tuple[float, Roster]] = {}
        self._changes: dict[UUID, int] = {}
        """How often a workspace's crews have changed: what was read meanwhile is not kept."""

    async def of(self, workspace_id: UUID, crew_id: UUID) -> Roster:
        """The roster of a crew; nobody in it when it is gone. May raise Unavailable."""
        now = asyncio.get_running_loop().time()
        read_at, known = self._known.get((workspace_id, crew_id), (0.0, None))
        if known is None or now - read_at > _KEPT_SECONDS:
            changes = self._changes.get(workspace_id, 0)
            known = await self._read(workspace_id, crew_id)
            if changes == self._changes.get(workspace_id, 0):
                self._known[workspace_id, crew_id] = (now, known)
        return known

    def forget(self, workspace_id: UUID) -> None:
        """Something about the crews of a workspace has changed."""
        self._changes[workspace_id] = self._changes.get(workspace_id, 0) + 1
        for key in [key for key in self._known if key[0] == workspace_id]:
            del self._known[key]

    async def _read(self, workspace_id: UUID, crew_id: UUID) -> Roster:
        try:
            crew = await crews.one(self._database, workspace_id, crew_id)
        except NotFound:
            return Roster(agents={})
        members = await agents.listed(self._database, workspace_id, crew_id, limit=_MOST_AGENTS)
        return Roster(
            agents={row.id: self._worker(row, crew) for row in members},
            name=crew.name,
            max_parallel_tasks=crew.max_parallel_tasks,
            timeout_seconds=crew.mission_timeout_seconds,
            auto_accept_review=crew.auto_accept_review,
            gate=_gate(crew),
            space_id=crew.space_id,
        )

    def _worker(self, row: AgentRow, crew: CrewRow) -> Worker:
        backend = ADAPTERS.get(row.cli_adapter)
        manual = f"{row.name} has no agent program (cli_adapter {row.cli_adapter}): people do its tasks"
        policy: Policy = DEFAULT
        if backend is not None:
            try:
                profiles.require_installed(backend, self._environment)
                policy = self._policy(crew, backend)
            except MissionstreamError as error:
                backend, manual = None, error.message
        return Worker(
            id=row.id,
            name=row.name,
            slug=row.slug,
            is_lead=row.agent_role == LEAD,
            is_passive=row.lead_mode == "passive",
            backend=backend,
            manual="" if backend else manual,
            model=row.model,
            policy=policy,
            role_title=row.role_title,
            system_prompt=row.system_prompt,
            timeout_seconds=row.timeout_seconds,
        )

    def _policy(self, crew: CrewRow, backend: str) -> Policy:
        word = crew.permission_policy
        return policy_of(word) if word else profiles.default_policy(backend, self._environment)


def _gate(crew: CrewRow) -> Gate | None:
    if crew.escalation_config is None:
        return None
    limits = thresholds(crew.escalation_config)
    return Gate(
        auto_approve_threshold=limits.auto_approve_threshold or 0,
        require_approval_below=limits.require_approval_below or 0,
        notify_threshold=limits.notify_threshold or 0,
    )
