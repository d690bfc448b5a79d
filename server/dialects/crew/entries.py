"""GET /api/v1/journal: a page of entries, one of them, how many there are."""

from aiohttp import web

from server.core import core, principal
from server.dialects.crew import ids, journal
from server.dialects.crew.answers import reply
from server.dialects.crew.filters import filters_of
from server.dialects.crew.journal import Entry
from server.dialects.crew.paging import within
from streams.cursor import MAX_POSITION
from streams.errors import BadRequest, NotFound

DEFAULT, MOST = 100, 500


async def list_entries(request: web.Request) -> web.Response:
    """GET /api/v1/journal: newest first; `next_cursor` is empty on the last page, and on no other however short."""
    filters, limit = filters_of(request), _limit(request)
    events, below = await core(request).journal.page(
        principal(request).workspace_id, filters.wanted(), before=_before(request), limit=limit
    )
    entries = [shown for event in events if (shown := journal.of(event)) is not None]
    cursor = "" if below is None else _cursor(entries, below)
    return reply({"entries": entries, "next_cursor": cursor, "count": len(entries)})


async def get_entry(request: web.Request) -> web.Response:
    """GET /api/v1/journal/{entryId}"""
    position = ids.read_entry(request.match_info["entryId"])
    event = position and await core(request).journal.one(principal(request).workspace_id, position)
    shown = journal.of(event) if event else None
    if shown is None:
        raise NotFound("entry not found")
    return reply(shown)


async def count_entries(request: web.Request) -> web.Response:
    """GET /api/v1/journal/count: of all pages together; `at_least` is there when older entries were not looked at."""
    filters = filters_of(request)
    total, is_whole = await core(request).journal.counted(principal(request).workspace_id, filters.wanted())
    return reply({"total": total} if is_whole else {"total": total, "at_least": True})


def _limit(request: web.Request) -> int:
    text = request.query.get("limit")
    if not text:
        return DEFAULT
    limit = within(text, MOST)
    if limit is None:
        raise BadRequest(f"limit must be 1..{MOST}")
    return limit


def _before(request: web.Request) -> int:
    """The position that the page ends before: of the last entry of the page before, as its cursor names it."""
    text = request.query.get("cursor")
    if not text:
        return MAX_POSITION
    position = ids.read_entry(text.rpartition("|")[2])
    if position is None:
        raise BadRequest("bad cursor: use the next_cursor of the page before as it is")
    return position


def _cursor(entries: list[Entry], below: int) -> str:
    """What the next page begins below: the last entry, or where the looking ended."""
    last = ids.spell_entry(below)
    return f"{entries[-1].ts}|{last}" if entries and entries[-1].id == last else last
