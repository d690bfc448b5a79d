"""The mission kinds that this server knows."""

from server.missions.control import ControlRules
from server.missions.crew import CrewRules
from server.missions.kinds import MissionKind


def kinds() -> dict[str, MissionKind]:
    """The rules of each kind, by its name."""
    every: tuple[MissionKind, ...] = (ControlRules(), CrewRules())
    return {rules.kind: rules for rules in every}
