"""Who works in a crew and by which settings, as the engine sees them. Pure."""

from collections.abc import Mapping
from uuid import UUID

import msgspec

from server.agents.policy import DEFAULT, Policy
from server.missions.crew.steps import Gate
from server.missions.kinds import NO_SPACE


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """An agent of a crew. Without a `backend` it is manual: people, or programs of theirs, do its tasks."""

    id: UUID
    name: str
    slug: str
    is_lead: bool = False
    is_passive: bool = False
    """Of a LEAD: it plans and reviews nothing by itself."""
    backend: str | None = None
    manual: str = ""
    """Why it is manual."""
    model: str | None = None
    policy: Policy = DEFAULT
    role_title: str | None = None
    system_prompt: str | None = None
    timeout_seconds: int = 1_800


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    """A crew's agents, and its settings."""

    agents: Mapping[UUID, Worker]
    name: str = ""
    max_parallel_tasks: int = 3
    timeout_seconds: float = 7_200
    auto_accept_review: bool = False
    gate: Gate | None = None
    space_id: UUID = NO_SPACE

    @property
    def slugs(self) -> Mapping[str, UUID]:
        """The agents' ids by their slugs."""
        return {worker.slug: worker.id for worker in self.agents.values()}
