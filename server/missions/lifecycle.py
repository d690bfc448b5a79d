"""Lifecycles as data: which status may follow which, and which phase each one is."""

from collections.abc import Mapping

import msgspec

from streams.errors import MoveRefused

PHASES = ("pending", "active", "completed", "failed", "interrupted")


class Lifecycle(msgspec.Struct, frozen=True):
    """A kind's statuses. `phases` names the word that universal lists, metrics and the dashboard use.

    `transitions` is what people may ask for. `moves` are the edges besides that only certain commands take: from the
    status before, to the one after, to the causes.
    """

    initial: str
    transitions: Mapping[str, frozenset[str]]
    phases: Mapping[str, str]
    terminal: frozenset[str] = frozenset()
    moves: Mapping[str, Mapping[str, tuple[str, ...]]] = {}

    def check(self, before: str, after: str) -> None:
        """Raise MoveRefused, naming what is allowed, unless the table has this edge."""
        allowed = self.transitions[before]
        if after not in allowed:
            names = ", ".join(sorted(allowed)) or "nothing"
            raise MoveRefused(
                f"cannot move from {before} to {after}; allowed: {names}",
                status=before,
                wanted=after,
                allowed=sorted(allowed),
            )


def every_move(*statuses: str) -> dict[str, frozenset[str]]:
    """The table of a kind whose people may set any status at any time."""
    return {status: frozenset(statuses) for status in statuses}
