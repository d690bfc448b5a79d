"""What a control mission's agents have around them: as their process got it, not as a setting would give it. Pure."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from storage.rules import Command, Decision
from streams.event import Draft, Event

if TYPE_CHECKING:
    from server.missions.control.state import Mission


class NoteSandbox(Command, frozen=True, kw_only=True):
    """Say what the running turn's agent has around it: bubblewrap or none. What is known already is not said again."""

    run_id: UUID
    sandbox: str


def _note(state: "Mission", command: NoteSandbox) -> Decision:
    if state.run is None or state.run.id != command.run_id or state.sandbox == command.sandbox:
        return Decision()
    fields = {"run_id": str(command.run_id), "sandbox": command.sandbox}
    return Decision((Draft(type="sandbox_changed", metadata=fields),))


def _changed(state: "Mission", event: Event) -> dict[str, Any]:
    return {"sandbox": event.data()["sandbox"]}


COMMANDS: Mapping[str, type[Command]] = {"note_sandbox": NoteSandbox}
DECIDE: dict[type[Command], Any] = {NoteSandbox: _note}
EVOLVE = {"sandbox_changed": _changed}
