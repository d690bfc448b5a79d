"""GET /api/v1/journal: a page of entries, one of them, how many there are."""

import re
from typing import Any

from aiohttp import web

from server.core import core, principal
from server.dialects.crew import ids, journal
from server.dialects.crew.answers import reply
from server.dialects.crew.filters import filters_of
from streams.cursor import MAX_POSITION
from streams.errors import BadRequest, NotFound
from streams.event import Event

DEFAULT, MOST = 100, 500
_WHOLE = re.compile(r"[0-9]{1,9}")


async def list_entries(request: web.Request) -> web.Response:
    """GET /api/v1/journal: newest first; `next_cursor` is empty on the last page."""
    filters, limit = filters_of(request), _limit(request)
    found = await core(request).journal.page(
        principal(request).workspace_id, filters.wanted(), before=_before(request), limit=limit + 1
    )
    entries = [shown for event in found[:limit] if (shown := journal.of(event)) is not None]
    cursor = _cursor(found[limit - 1]) if len(found) > limit else ""
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
    """GET /api/v1/journal/count: of all pages together."""
    filters = filters_of(request)
    total: Any = await core(request).journal.counted(principal(request).workspace_id, filters.wanted())
    return reply({"total": total})


def _limit(request: web.Request) -> int:
    text = request.query.get("limit")
    if not text:
        return DEFAULT
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= MOST:
        raise BadRequest(f"limit must be 1..{MOST}")
    return int(text)


def _before(request: web.Request) -> int:
    """The position that the page ends before: of the last entry of the page before, as its cursor names it."""
    text = request.query.get("cursor")
    if not text:
        return MAX_POSITION
    position = ids.read_entry(text.rpartition("|")[2])
    if position is None:
        raise BadRequest("bad cursor: use the next_cursor of the page before as it is")
    return position


def _cursor(event: Event) -> str:
    shown = journal.of(event)
    assert shown is not None
    return f"{shown.ts}|{shown.id}"
