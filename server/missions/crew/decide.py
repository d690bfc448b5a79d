"""From a wish of whatever subject, and a crew mission's state, to events, or to why not. Pure."""

from typing import Any

from server.missions.crew import approvals, ending, leading, missions, tasks, working
from storage.rules import Command

DECIDE: dict[type[Command], Any] = {
    **missions.DECIDE,
    **tasks.DECIDE,
    **approvals.DECIDE,
    **working.DECIDE,
    **leading.DECIDE,
    **ending.DECIDE,
}
"""The deciding function of each command: it takes the state, or None, and the command."""
