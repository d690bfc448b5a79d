"""Control's answers: pure ASCII JSON with open CORS."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiohttp import web

from server.dialects.control.errors import CORS
from server.lists import reply_in_parts
from streams.event import ascii_json


def reply(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return raw(ascii_json(value), status=status, headers=headers)


def raw(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer that is encoded already, for example the stored first answer of a repeated request."""
    return web.Response(status=status, body=body, content_type="application/json", headers={**CORS, **(headers or {})})


async def reply_list(
    request: web.Request, pieces: AsyncIterator[Sequence[Any]], headers: Mapping[str, str]
) -> web.StreamResponse:
    """A JSON array whose parts come one after another."""
    return await reply_in_parts(
        request, pieces, lambda first: reply(first, headers=headers), headers={**CORS, **headers}
    )
