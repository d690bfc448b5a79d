"""Pages of crew's lists: limits and offsets, clamped or within bounds, and headers that tell the page."""

import re

from aiohttp import web

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_COUNT = re.compile(r"[0-9]{1,9}")
_MOST_OFFSET = 2**31


def page_of(request: web.Request, *, default: int, most: int) -> tuple[int, int]:
    """The limit and the offset: what is garbled or too small is the default and 0, a limit above `most` is `most`."""
    limit, offset = _number(request, "limit"), _number(request, "offset")
    return (default if limit < 1 else min(limit, most)), min(max(offset, 0), _MOST_OFFSET)


def page_headers(limit: int, offset: int, total: int) -> dict[str, str]:
    """How many there are, and which of them these are."""
    return {"X-Total-Count": str(total), "X-Limit": str(limit), "X-Offset": str(offset)}


def within(text: str, most: int) -> int | None:
    """A limit of 1 to `most`; None for what is none."""
    return int(text) if _COUNT.fullmatch(text) and 1 <= int(text) <= most else None


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    return int(text) if _WHOLE.fullmatch(text) else 0
