"""What is followed: one mission or the whole workspace, and the log's own pages of it."""

from dataclasses import dataclass

from missionstream_client.cursor import Cursor
from missionstream_client.errors import ConnectionLostError, CursorLostError, ProtocolError
from missionstream_client.model import Event, EventPage, FeedPage, Snapshot
from missionstream_client.wire import Wire, segment

PAGE_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Feed:
    """The events of one mission, or of the token's home workspace when there is no mission."""

    mission: str | None

    @classmethod
    def named(cls, name: str) -> "Feed":
        """`workspace`, or a mission's id."""
        return cls(None if name == "workspace" else name)


async def feed_page(
    wire: Wire,
    feed: Feed,
    since: Cursor | str | None,
    *,
    limit: int = PAGE_LIMIT,
    wait_seconds: float = 0.0,
    attempts: int | None = 1,
) -> FeedPage:
    """The first `limit` events after `since` (None: from the oldest); waits for one if there is none.

    CursorLostError when the log cannot be continued from there.
    """
    answer = await wire.exchange(
        "GET",
        "/api/control/events",
        params={
            "since": since,
            "limit": limit,
            "wait": f"{wait_seconds:g}" if wait_seconds else None,
            "mission": feed.mission,
        },
        attempts=attempts,
        timeout_seconds=wait_seconds + wire.timing.silence_seconds,
        is_cursor_read=True,
    )
    return answer.into(FeedPage)


async def event_page(
    wire: Wire,
    mission: str,
    *,
    since_seq: int | None = None,
    before_seq: int | None = None,
    limit: int | None = None,
    types: str | None = None,
    view: str | None = None,
    attempts: int | None = None,
) -> EventPage:
    """A page of one mission's events, ascending."""
    answer = await wire.exchange(
        "GET",
        f"/api/control/missions/{segment(mission)}/events",
        params={
            "since_seq": since_seq,
            "before_seq": before_seq,
            "limit": limit,
            "types": types,
            "view": view,
        },
        attempts=attempts,
    )
    numbers = {
        name: int(answer.headers[header])
        for name, header in (("total_events", "X-Total-Events"), ("max_sequence", "X-Max-Sequence"))
        if answer.headers.get(header, "").isdecimal()
    }
    return EventPage(events=answer.into(list[Event]), epoch=answer.headers.get("X-Epoch"), **numbers)


async def snapshot_of(wire: Wire, mission: str, *, attempts: int | None = None) -> Snapshot:
    """The mission as it is now."""
    answer = await wire.exchange("GET", f"/api/control/missions/{segment(mission)}/snapshot", attempts=attempts)
    return answer.into(Snapshot)


async def head_cursor(wire: Wire, feed: Feed) -> Cursor:
    """The cursor of now: nothing that has happened is after it."""
    page = await feed_page(wire, feed, None, limit=1)
    return Cursor.sent(page.cursor)._replace(position=page.head)


async def cursor_after(wire: Wire, mission: str, sequence: int) -> Cursor:
    """The cursor just after the mission's event `sequence` (0: before its first), good on every transport.

    CursorLostError when the mission has no event `sequence`, or the next one was removed.
    """
    following = await event_page(wire, mission, since_seq=sequence, limit=1, attempts=1)
    if following.events:
        first = following.events[0]
        if first.sequence != sequence + 1:
            raise CursorLostError(f"the events from {sequence + 1} to {first.sequence - 1} were removed")
        return _cursor_at(following, first.position - 1)
    if sequence:
        return await _cursor_of_last(wire, mission, sequence)
    snapshot = await snapshot_of(wire, mission, attempts=1)
    if snapshot.latest_sequence:
        raise ConnectionLostError("the mission began between two reads")
    return Cursor.sent(snapshot.cursor)


async def _cursor_of_last(wire: Wire, mission: str, sequence: int) -> Cursor:
    page = await event_page(wire, mission, before_seq=sequence + 1, limit=1, attempts=1)
    if not page.events or page.events[-1].sequence != sequence:
        raise CursorLostError(f"the mission has no event {sequence} yet")
    return _cursor_at(page, page.events[-1].position)


def _cursor_at(page: EventPage, position: int) -> Cursor:
    if page.epoch is None:
        raise ProtocolError("the server did not name its epoch (X-Epoch)")
    return Cursor(page.epoch, position)
