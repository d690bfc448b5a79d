"""Runs: the leases of agent turns, so that a crash leaves none stuck."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from storage.pool import Database
from storage.queries import queries


class OpenRun(NamedTuple):
    """A run that is going on, of a mission or a task of it; `owner` is None when nobody has claimed it yet. `used` is as it was renewed with."""

    workspace_id: UUID
    mission_id: UUID
    kind: str
    run_id: UUID
    owner: str | None
    partial: str | None
    used: dict[str, Any]
    is_expired: bool
    is_old: bool


class Unfinished(NamedTuple):
    """A run that is over for its mission, and not yet in its own row."""

    workspace_id: UUID
    mission_id: UUID
    run_id: UUID
    owner: str
    is_expired: bool


class Idle(NamedTuple):
    """A mission without a turn that wants attention."""

    workspace_id: UUID
    mission_id: UUID
    kind: str


class AgentSession(NamedTuple):
    """An agent's own session: its name, when it was begun or last loaded, what it has cost so far by the agent's count."""

    id: str | None = None
    begun_at: datetime | None = None
    cost: float = 0.0


NO_SESSION = AgentSession()


class Runs:
    """The table of runs. Any method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self,
        workspace_id: UUID,
        run_id: UUID,
        mission_id: UUID,
        *,
        owner: str,
        seconds: float,
        backend: str,
        agent_id: UUID | None = None,
        task_id: UUID | None = None,
    ) -> bool:
        """Take a run, in a crew an agent's on a task; False when somebody else has it, or had it. May be repeated."""
        async with self._database.reading() as connection:
            claimed = await connection.fetchval(
                queries.runs.claim, workspace_id, run_id, mission_id, owner, seconds, backend, agent_id, task_id
            )
        return claimed is not None

    async def renew(
        self,
        workspace_id: UUID,
        run_id: UUID,
        *,
        owner: str,
        seconds: float,
        partial: str,
        partial_after: int,
        used: Mapping[str, Any],
        session: AgentSession = NO_SESSION,
        sandbox: str | None = None,
    ) -> bool:
        """Prolong a lease. Keeps what whoever finds the run needs: the text said so far, since a sequence, what was used, the
        session, and what the agent got around it. False when the run is no longer ours."""
        async with self._database.reading() as connection:
            kept = await connection.fetchval(
                queries.runs.renew,
                workspace_id,
                run_id,
                owner,
                seconds,
                partial,
                partial_after,
                *session,
                msgspec.json.encode(used).decode(),
                sandbox,
            )
        return kept is not None

    async def finish(
        self,
        workspace_id: UUID,
        run_id: UUID,
        *,
        outcome: str,
        cost_cents: int = 0,
        usage: dict[str, int] | None = None,
        sandbox: str | None = None,
    ) -> None:
        """Note how a run ended; None for what is not known changes nothing."""
        async with self._database.reading() as connection:
            await connection.execute(
                queries.runs.finish,
                workspace_id,
                run_id,
                outcome,
                cost_cents,
                msgspec.json.encode(usage or {}).decode(),
                sandbox,
            )

    async def keep_session(self, workspace_id: UUID, run_id: UUID, session: AgentSession) -> None:
        """Note the session that a run works in."""
        async with self._database.reading() as connection:
            await connection.execute(queries.runs.keep_session, workspace_id, run_id, *session)

    async def last_session(self, workspace_id: UUID, mission_id: UUID, backend: str) -> AgentSession:
        """The newest session that this backend had on the mission."""
        async with self._database.reading() as connection:
            row = await connection.fetchrow(queries.runs.last_session, workspace_id, mission_id, backend)
        return NO_SESSION if row is None else AgentSession(row["session_id"], row["session_at"], row["session_cost"])

    async def going_on(self, workspace_id: UUID, mission_id: UUID, run_id: UUID) -> tuple[UUID, str] | None:
        """The run that is going on in a mission right now, and the backend that works in it; in a crew, where several
        may, this one alone."""
        async with self._database.reading() as connection:
            row = await connection.fetchrow(queries.runs.going_on, workspace_id, mission_id, run_id)
        return None if row is None else (row["id"], row["backend"])

    async def open(self) -> Sequence[OpenRun]:
        """Every run that is going on, of every workspace."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(queries.runs.open)
        used = [msgspec.json.decode(row["used"] or "{}") for row in rows]
        return [
            OpenRun(**{name: row[name] for name in OpenRun._fields} | {"used": use})
            for row, use in zip(rows, used, strict=True)
        ]

    async def unfinished(self) -> Sequence[Unfinished]:
        """Runs of every workspace whose end was not noted after their missions had gone on."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(queries.runs.unfinished)
        return [Unfinished(**{name: row[name] for name in Unfinished._fields}) for row in rows]

    async def waiting(self, limit: int) -> Sequence[Idle]:
        """Missions with queued messages and no turn, the longest waiting first."""
        return await self._idle(queries.runs.waiting, limit)

    async def stranded(self, kind: str) -> Sequence[Idle]:
        """Missions of a kind that say active though no turn goes on and nothing waits."""
        return await self._idle(queries.runs.stranded, kind)

    async def engaged(self, kind: str) -> Sequence[Idle]:
        """Active missions of a kind that an engine works and for which it has something to do."""
        return await self._idle(queries.runs.engaged, kind)

    async def _idle(self, query: str, *arguments: int | str) -> Sequence[Idle]:
        async with self._database.reading() as connection:
            rows = await connection.fetch(query, *arguments)
        return [Idle(**{name: row[name] for name in Idle._fields}) for row in rows]
