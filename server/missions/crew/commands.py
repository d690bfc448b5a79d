"""What people may wish of a crew mission and its tasks."""

from typing import ClassVar, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from storage.rules import Command


class NewTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that is made with its mission, or by the LEAD. `depends_on` may name tasks before it in the same list."""

    id: UUID
    title: str
    description: str | None = None
    agent_id: UUID | None = None
    order: int = 0
    depends_on: tuple[UUID, ...] = ()
    max_iterations: int | None = None
    approval_required: bool = False
    status: str | None = None
    """None: as its dependencies say. A fork keeps what the parent's task had."""


class Reference(msgspec.Struct, frozen=True):
    """A task as a request names it: its very words, and the id that they mean, if they are an id at all."""

    given: str
    id: UUID | None = None


class Create(Command, frozen=True, kw_only=True):
    """Make a mission, PLANNING; a clone or a fork (see copies.py) with its tasks."""

    creates: ClassVar[bool] = True

    id: UUID
    crew_id: UUID
    lead_agent_id: UUID
    title: str
    description: str | None = None
    plan: str | None = None
    workflow_template: str | None = None
    cause: Literal["create", "clone", "fork"] = "create"
    source: UUID | None = None
    """The mission that it is a copy of."""
    parent_id: UUID | None = None
    tasks: tuple[NewTask, ...] = ()
    by: str | None = None


class Edit(Command, frozen=True, kw_only=True):
    """Change a mission's fields, and its status where the table has the edge. None leaves a field as it is."""

    title: str | None = None
    description: str | None = None
    plan: str | None = None
    status: str | None = None
    by: str | None = None


class Start(Command, frozen=True, kw_only=True):
    """PLANNING -> IN_PROGRESS, engaged. `seen` is the status that the caller read before: if that was PLANNING and is
    no more, somebody was quicker."""

    seen: str | None = None
    by: str | None = None


class Restart(Command, frozen=True, kw_only=True):
    """Any terminal status -> PLANNING, disengaged; every task that is not COMPLETED is set back."""

    by: str | None = None


class Resume(Command, frozen=True, kw_only=True):
    """FAILED -> IN_PROGRESS, engaged; FAILED and AWAITING_APPROVAL tasks and all that wait for them are set back.

    The new state's `reset_tasks` says how many.
    """

    by: str | None = None


class Cancel(Command, frozen=True, kw_only=True):
    """-> CANCELLED, where the table has the edge. Tasks keep their status."""

    by: str | None = None
    whole_mission: bool = True
    """As dialects of other kinds say it; a crew mission is always cancelled whole."""


class Delete(Command, frozen=True, kw_only=True):
    """Hide the mission for ever; only while PLANNING or CANCELLED."""

    touches_workspace: ClassVar[bool] = True
    by: str | None = None


class CreateTask(Command, frozen=True, kw_only=True):
    """Add a task: BLOCKED while a dependency is not COMPLETED, else PENDING."""

    id: UUID
    title: str | None
    description: str | None = None
    agent_id: UUID | None = None
    order: int = 0
    depends_on: tuple[Reference, ...] = ()
    max_iterations: int | None = None
    approval_required: bool = False
    cause: Literal["create", "plan"] = "create"
    by: str | None = None


class UpdateTask(Command, frozen=True, kw_only=True):
    """Change a task; what is not named stays as it is. Works in any status of the mission."""

    id: UUID
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    agent_id: UUID | UnsetType = UNSET
    status: str | UnsetType = UNSET
    depends_on: tuple[Reference, ...] | UnsetType | None = UNSET
    """None: something was given that is no JSON array of strings."""
    result_summary: str | UnsetType = UNSET
    error_message: str | UnsetType = UNSET
    output_path: str | UnsetType = UNSET
    token_count: int | UnsetType = UNSET
    estimated_cost: float | UnsetType = UNSET
    by: str | None = None


class Decide(Command, frozen=True, kw_only=True):
    """A person's answer to a task that is AWAITING_APPROVAL. `user` is kept as approved_by."""

    task_id: UUID
    approved: bool
    user: str
    notes: str | None = None
    by: str | None = None
