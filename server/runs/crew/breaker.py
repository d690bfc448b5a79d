"""The circuit breaker: an agent that fails again and again gets no more tasks. In this process's memory alone."""

from uuid import UUID

THRESHOLD = 3


class Breaker:
    """Counts each agent's failures in a row."""

    def __init__(self) -> None:
        self._failures: dict[UUID, int] = {}

    def failed(self, agent_id: UUID) -> None:
        self._failures[agent_id] = self._failures.get(agent_id, 0) + 1

    def cleared(self, agent_id: UUID) -> None:
        """A success, or somebody changed the agent."""
        self._failures.pop(agent_id, None)

    def tripped(self, agent_id: UUID) -> str | None:
        """Why this agent gets nothing more to do; None while it may."""
        count = self._failures.get(agent_id, 0)
        if count < THRESHOLD:
            return None
        return f"circuit breaker: agent has {count} consecutive failures (threshold: {THRESHOLD})"
