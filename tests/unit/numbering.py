"""Drafts as the writer would number them."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from streams.event import Draft, Event, ascii_json

AT = datetime(2026, 1, 1, tzinfo=UTC)


def numbered(draft: Draft, number: int, *, workspace_id: UUID, stream_id: UUID, crew_id: UUID | None = None) -> Event:
    """The event of a draft; each comes a second after the one before it."""
    return Event(
        workspace_id=workspace_id,
        position=number,
        stream_id=stream_id,
        sequence=number,
        type=draft.type,
        at=AT + timedelta(seconds=number),
        actor=draft.actor,
        crew_id=crew_id,
        event_id=draft.event_id,
        content=draft.content,
        metadata=ascii_json(draft.metadata).decode(),
    )
