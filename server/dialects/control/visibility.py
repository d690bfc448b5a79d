"""Which event types a reader wants to see: the views of /events, and the labels that snapshots count by."""

from collections.abc import Mapping

_TRANSCRIPT = ("user_message", "assistant_message", "assistant_message_canonical")
_TRACE = ("thinking", "tool_call", "tool_result", "text_delta", "text_op", "error", "phase", "status")

VIEWS: Mapping[str, tuple[str, ...]] = {
    "transcript": _TRANSCRIPT,
    "trace": _TRACE,
    "history": (
        *_TRANSCRIPT, "tool_call", "tool_result", "text_delta", "text_op", "thinking", "goal_iteration", "goal_status",
    ),
}  # fmt: skip
"""Any other view, and `all`, filters nothing."""

CONVERSATION = ("user_message", "assistant_message")

_LABELS = dict.fromkeys((*_TRANSCRIPT, "mission_status_changed"), "transcript") | dict.fromkeys(_TRACE, "trace")


def types_of(types: str | None, view: str | None) -> tuple[str, ...] | None:
    """The event types that a query asks for: `types` wins over `view`; None for all."""
    if types is not None and types.strip():
        return tuple(part for name in types.split(",") if (part := name.strip()))
    return VIEWS.get(view or "")


def visibility_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Events by label, and `history`, which is a union of types and no label."""
    labels = dict.fromkeys(("transcript", "trace", "debug"), 0)
    for name, count in counts.items():
        labels[_LABELS.get(name, "debug")] += count
    return {"history": sum(counts.get(name, 0) for name in VIEWS["history"]), **labels}
