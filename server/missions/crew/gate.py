"""The approval gate: what a finished task's confidence, and its crew's thresholds, lead to. Pure."""

from typing import NamedTuple

from server.missions.crew.steps import Gate


class Passage(NamedTuple):
    """Where a finished task goes, and whether people are told of a low confidence."""

    status: str
    is_low: bool = False


def through(gate: Gate | None, confidence: float | None, *, is_required: bool) -> Passage:
    """The first rule that fits, in this order: sure enough; an approval is required; nothing to compare; too unsure;
    unsure. A crew without thresholds has no gate, yet a task may require an approval."""
    limits = gate or Gate()
    if confidence is not None and 0 < limits.auto_approve_threshold <= confidence:
        return Passage("COMPLETED")
    if is_required:
        return Passage("AWAITING_APPROVAL")
    if gate is None or confidence is None:
        return Passage("COMPLETED")
    if confidence < limits.require_approval_below:
        return Passage("AWAITING_APPROVAL")
    return Passage("COMPLETED", is_low=confidence < limits.notify_threshold)
