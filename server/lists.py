"""Lists that are answered as they are read: one JSON array, of which one part at a time is in memory."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from streams.event import ascii_json


async def reply_in_parts(
    request: web.Request,
    parts: AsyncIterator[Sequence[Any]],
    whole: Callable[[Sequence[Any]], web.Response],
    *,
    headers: Mapping[str, str],
    end: bytes = b"]",
) -> web.StreamResponse:
    """A JSON array of the parts' items, sent as they come; `whole` answers a list of a single part.

    An error before the second part is answered as ever; after it the connection is cut, so that a client sees that the
    array is no whole one.
    """
    first: Sequence[Any] = await anext(parts, [])
    part = await anext(parts, None)
    if part is None:
        return whole(first)
    response = web.StreamResponse(headers={**headers, "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(ascii_json(first)[:-1])
    while part is not None:
        await response.write(b"," + ascii_json(part)[1:-1])
        part = await anext(parts, None)
    await response.write(end)
    return response
