"""The state of a control mission, and its lifecycle."""

from datetime import datetime
from uuid import NAMESPACE_OID, UUID, uuid5

import msgspec

from server.agents.budgets import Budget, Limit, Spent
from server.agents.policy import DEFAULT, Policy
from server.missions.lifecycle import Lifecycle, every_move
from server.missions.tasks import Progress, Task

KIND = "control"
MAX_QUEUE = 100
MAX_QUEUED_CHARACTERS = 1 << 20

LIFECYCLE = Lifecycle(
    initial="pending",
    transitions=every_move("pending", "active", "completed", "failed", "interrupted"),
    phases={s: s for s in ("pending", "active", "completed", "failed", "interrupted")},
)
RESUMABLE = frozenset({"interrupted", "failed"})


class Queued(msgspec.Struct, frozen=True):
    """A message that waits for its turn."""

    id: str
    content: str
    agent: str | None = None


def id_in(state: "Mission", message_id: str, by: str | None) -> str:
    """The id of a new message: as its sender chose it, unless another one that waits or is answered has it.

    Clients take two messages of one id for one.
    """
    taken = {message.id for message in state.queue} | ({state.run.message_id} if state.run else set())
    return own_id(message_id, by) if message_id in taken else message_id


def own_id(message_id: str, by: str | None) -> str:
    """Another id for it, always the same, that nobody else's message gets."""
    return str(uuid5(NAMESPACE_OID, f"{message_id} {by}"))


class Run(msgspec.Struct, frozen=True):
    """The turn that is going on; `sequence` is its user_message, `agent` the one that it was begun with."""

    id: UUID
    message_id: str
    sequence: int
    started_at: datetime
    agent: str | None = None
    is_cancelling: bool = False
    is_over_budget: bool = False
    budget_of: UUID | None = None
    """The mission above whose budget it is that is used up; None: the mission's own."""


class Mission(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a control mission."""

    id: UUID
    status: str
    backend: str
    space_id: UUID
    created_at: datetime
    updated_at: datetime
    title: str | None = None
    agent: str | None = None
    model_override: str | None = None
    config_profile: str | None = None
    parent_id: UUID | None = None
    created_by: str | None = None
    queue: tuple[Queued, ...] = ()
    repeats: int = 0
    """How many messages stand in the log a second time, as their turn began after they had waited."""
    run: Run | None = None
    interrupted_at: datetime | None = None
    terminal_reason: str | None = None
    session_id: str | None = None
    sandbox: str | None = None
    """What the last agent had around it; None before there was one."""
    permission_policy: Policy = DEFAULT
    budget: Budget = Budget()
    spent: Spent = Spent()
    """The sum of the turns that have ended."""
    spent_below: Spent = Spent()
    """The same sum of all missions below this one."""
    warned: tuple[Limit, ...] = ()
    reached: tuple[Limit, ...] = ()
    """Limits of the budget that are used up: nothing runs or waits until they are raised."""
    tasks: tuple[Task, ...] = ()
    progress: Progress | None = None

    @property
    def spent_in_all(self) -> Spent:
        """What counts against the budget."""
        return self.spent.joined(self.spent_below)

    @property
    def is_resumable(self) -> bool:
        return self.status in RESUMABLE
