"""The mission kinds that this server knows."""

from server.missions.control import ControlRules
from server.missions.kinds import MissionKind


def kinds() -> dict[str, MissionKind]:
    """The rules of each kind, by its name."""
    return {rules.kind: rules for rules in (ControlRules(),)}
