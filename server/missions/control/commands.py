"""What may be wished of a control mission."""

from typing import ClassVar
from uuid import UUID

from msgspec import UNSET, UnsetType

from server.agents.budgets import Budget, Use
from server.agents.policy import DEFAULT, Policy
from storage.rules import Command


class Create(Command, frozen=True, kw_only=True):
    """Make a mission, pending."""

    creates: ClassVar[bool] = True

    id: UUID
    backend: str
    space_id: UUID
    title: str | None = None
    agent: str | None = None
    model_override: str | None = None
    config_profile: str | None = None
    permission_policy: Policy = DEFAULT
    budget: Budget = Budget()
    parent_id: UUID | None = None
    by: str | None = None


class Send(Command, frozen=True, kw_only=True):
    """Give a message to the agent: as the next turn when it is free and there is a slot, else queued."""

    message_id: str
    content: str
    run_id: UUID
    has_slot: bool
    must_start: bool = False
    """Refuse instead of queueing."""
    spent_above: UUID | None = None
    """The mission above whose budget is used up."""
    agent: str | None = None
    by: str | None = None


class StartNext(Command, frozen=True, kw_only=True):
    """Begin the turn of the first queued message, if the mission is free."""

    run_id: UUID


class EndRun(Command, frozen=True, kw_only=True):
    """End a turn: its last words, its outcome, and what follows. A run that has ended already is left alone."""

    run_id: UUID
    reason: str
    text: str = ""
    error: str | None = None
    summary: str | None = None
    model: str | None = None
    use: Use = Use()
    usage: dict[str, int] = {}
    """The tokens by the agent's own names; `use` is what counts."""
    session_id: str | None = None
    next_run_id: UUID | None = None
    by: str | None = None


class Spend(Command, frozen=True, kw_only=True):
    """Say what the running turn has used so far, so that its budget can warn, or stop it."""

    run_id: UUID
    use: Use


class Cancel(Command, frozen=True, kw_only=True):
    """Stop the running turn; with `whole_mission` drop its queue too."""

    by: str | None = None
    whole_mission: bool = False


class SetStatus(Command, frozen=True, kw_only=True):
    """Set any status; does not stop a turn."""

    status: str
    by: str | None = None


class Resume(Command, frozen=True, kw_only=True):
    """Take up an interrupted or failed mission; with `content`, by sending that message."""

    run_id: UUID
    message_id: str
    has_slot: bool
    content: str | None = None
    spent_above: UUID | None = None
    """The mission above whose budget is used up."""
    by: str | None = None


class RemoveQueued(Command, frozen=True, kw_only=True):
    """Take messages out of the queue; None takes all."""

    message_id: str | None = None
    by: str | None = None


class Rename(Command, frozen=True, kw_only=True):
    """Change the title."""

    title: str
    by: str | None = None


class Configure(Command, frozen=True, kw_only=True):
    """Change who the agent is and what it may do; what is not named stays as it is."""

    agent: str | UnsetType | None = UNSET
    """None: the backend's usual one."""
    permission_policy: Policy | UnsetType = UNSET
    budget: dict[str, int | None] | UnsetType | None = UNSET
    """New limits by their names; a limit that is None is lifted, and None lifts all."""
    by: str | None = None


class Interrupt(Command, frozen=True, kw_only=True):
    """Mark a mission that is active without a turn (a server died between two) as interrupted."""

    reason: str


class Delete(Command, frozen=True, kw_only=True):
    """Hide the mission for ever; not while it runs."""

    touches_workspace: ClassVar[bool] = True
    by: str | None = None
