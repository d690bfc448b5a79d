"""Events as a model reads them: a bounded page, and where to go on."""

from collections.abc import Sequence
from typing import Any

import msgspec

from missionstream_client import Event

MAX_CONTENT = 2_000
MAX_PAGE = 40_000
"""Characters of one event's content, and of a page."""


def page_of(events: Sequence[Event], since_seq: int, head: int) -> dict[str, Any]:
    """The events that fit, at least one, with `next_since_seq` to go on from and `has_more`."""
    shown: list[dict[str, Any]] = []
    room, reached = MAX_PAGE, since_seq
    for event in events:
        row = _row(event)
        room -= len(msgspec.json.encode(row))
        if shown and room < 0:
            break
        shown.append(row)
        reached = event.sequence
    if len(shown) == len(events) and not events:
        reached = max(since_seq, head)
    return {"events": shown, "next_since_seq": reached, "has_more": reached < head}


def _row(event: Event) -> dict[str, Any]:
    row: dict[str, Any] = {"sequence": event.sequence, "type": event.event_type, "at": event.timestamp.isoformat()}
    content = event.content
    if len(content) > MAX_CONTENT:
        content, row["cut_characters"] = content[:MAX_CONTENT], len(content) - MAX_CONTENT
    row["content"] = content
    given = {"actor": event.actor, "tool": event.tool_name, "task_id": event.metadata.get("task_id")}
    return row | {name: value for name, value in given.items() if value is not None}
