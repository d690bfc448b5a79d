"""Control missions, agent sessions: the rules as the writer and the dialects use them."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from server.missions.control import below, sandboxing, tasks
from server.missions.control.commands import (
    Cancel,
    Configure,
    Create,
    Delete,
    EndRun,
    Interrupt,
    RemoveQueued,
    Rename,
    Resume,
    Send,
    SetStatus,
    Spend,
    StartNext,
)
from server.missions.control.decide import DECIDE
from server.missions.control.evolve import EVOLVE, created
from server.missions.control.state import KIND, LIFECYCLE, Mission, own_id
from server.missions.kinds import Facts
from storage.rules import Command, Decision, Row, Undivided
from streams.event import Event

__all__ = [
    "KIND",
    "LIFECYCLE",
    "Cancel",
    "Configure",
    "ControlRules",
    "Create",
    "Delete",
    "EndRun",
    "Interrupt",
    "Mission",
    "RemoveQueued",
    "Rename",
    "Resume",
    "Send",
    "SetStatus",
    "Spend",
    "StartNext",
    "own_id",
]


class ControlRules(Undivided):
    """The pure pair of this kind, as the writer uses it."""

    kind = KIND
    api = "/api/control"
    permission = "missions:create"
    answering = "agents:answer"
    state_type = Mission
    commands: ClassVar[Mapping[str, type[Command]]] = {
        "send": Send,
        "start_next": StartNext,
        "end_run": EndRun,
        "spend": Spend,
        "cancel": Cancel,
        "set_status": SetStatus,
        "resume": Resume,
        "remove_queued": RemoveQueued,
        "rename": Rename,
        "configure": Configure,
        "interrupt": Interrupt,
        "delete": Delete,
        **tasks.COMMANDS,
        **below.COMMANDS,
        **sandboxing.COMMANDS,
    }
    state_events = frozenset({"mission_created", *EVOLVE})

    def decide(self, state: Mission | None, command: Command) -> Decision:
        """Turn a command into drafts, or raise why not."""
        decision: Decision = DECIDE[type(command)](state, command)
        return decision

    def evolve(self, state: Mission | None, event: Event) -> Mission:
        """Fold one state event."""
        if state is None:
            return created(event)
        return msgspec.structs.replace(state, updated_at=event.at, **EVOLVE[event.type](state, event))

    def row(self, state: Mission) -> Row:
        """The projection of a state."""
        return Row(
            status=state.status,
            phase=LIFECYCLE.phases[state.status],
            title=state.title,
            created_at=state.created_at,
            updated_at=state.updated_at,
            parent_id=state.parent_id,
            run_id=state.run.id if state.run else None,
            queued=len(state.queue),
        )

    def facts(self, state: Mission) -> Facts:
        """What any dialect may show of a state."""
        return Facts(
            backend=state.backend,
            space_id=state.space_id,
            agent=state.agent,
            model_override=state.model_override,
            config_profile=state.config_profile,
            session_id=state.session_id,
            terminal_reason=state.terminal_reason,
            interrupted_at=state.interrupted_at,
            is_resumable=state.is_resumable,
            permission_policy=state.permission_policy,
            budget=state.budget,
            spent=state.spent,
            spent_below=state.spent_below,
            warned=state.warned,
            reached=state.reached,
            queue=tuple((message.id, message.content, message.agent) for message in state.queue),
            repeats=state.repeats,
            run_id=state.run.id if state.run else None,
            run_sequence=state.run.sequence if state.run else None,
            run_agent=state.run.agent if state.run else None,
            sandbox=state.sandbox,
            tasks=state.tasks,
            progress=state.progress,
        )
