"""What every mission kind offers to the dialects: facts to show, and commands by the names of common verbs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from server.agents.budgets import Budget, Limit, Spent
from server.agents.policy import Policy
from server.missions.tasks import Progress, Task
from storage.rules import Command, Rules
from streams.errors import Conflict

NO_SPACE = UUID(int=0)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A mission as any dialect may show it; a kind without a notion leaves the field empty."""

    backend: str = ""
    space_id: UUID = NO_SPACE
    agent: str | None = None
    model_override: str | None = None
    config_profile: str | None = None
    session_id: str | None = None
    terminal_reason: str | None = None
    interrupted_at: datetime | None = None
    is_resumable: bool = False
    permission_policy: Policy | None = None
    budget: Budget = Budget()
    spent: Spent = Spent()
    spent_below: Spent = Spent()
    """The sum over all missions below; it counts against the budget too."""
    warned: tuple[Limit, ...] = ()
    reached: tuple[Limit, ...] = ()
    """The limits of the budget that are used up."""
    queue: tuple[tuple[str, str, str | None], ...] = ()
    """Waiting messages: id, content, agent."""
    repeats: int = 0
    """How many messages stand in the log twice: when they came, and when their turn began."""
    run_id: UUID | None = None
    run_sequence: int | None = None
    """The sequence of the user_message that the running turn answers."""
    run_agent: str | None = None
    """The agent that the running turn was begun with: the message's own, else the mission's."""
    tasks: tuple[Task, ...] = ()
    sandbox: str | None = None
    """What the last turn's agent had around it, bubblewrap or none; None before there was one."""
    progress: Progress | None = None
    """As last reported; None when nobody has."""


class MissionKind(Rules, Protocol):
    """The rules of a kind, its facts, and the verbs that dialects of other kinds may use on it."""

    @property
    def api(self) -> str: ...
    @property
    def permission(self) -> str:
        """What people must hold for any of `commands`, whichever dialect's route they came by."""

    @property
    def answering(self) -> str:
        """What people must hold to answer the questions of agents that work such a mission."""

    @property
    def commands(self) -> Mapping[str, type[Command]]: ...
    def facts(self, state: Any) -> Facts: ...


def command(kind: MissionKind, verb: str, **fields: Any) -> Command:
    """The kind's command for a verb; Conflict, naming the right API, where the kind has none."""
    made = kind.commands.get(verb)
    if made is None:
        raise Conflict(f"a {kind.kind} mission does not take {verb.replace('_', ' ')} here; use {kind.api}")
    return made(**fields)
