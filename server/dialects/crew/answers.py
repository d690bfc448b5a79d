"""Crew's answers: JSON in pure ASCII with a newline at its end."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from server.lists import reply_in_parts
from streams.event import ascii_json


def reply(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return raw(ascii_json(value), status=status, headers=headers)


def raw(body: bytes | str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer that is encoded already, such as the stored first answer of a repeated request."""
    encoded = body.encode() if isinstance(body, str) else body
    return web.Response(status=status, body=encoded + b"\n", content_type="application/json", headers=headers)


async def reply_list(request: web.Request, pieces: AsyncIterator[Sequence[Any]]) -> web.StreamResponse:
    """A JSON array whose parts come one after another."""
    return await reply_in_parts(request, pieces, reply, headers={}, end=b"]\n")


def no_content() -> web.Response:
    """204, without a body."""
    return web.Response(status=204)


def second(at: datetime) -> str:
    """`2024-01-15T10:00:00Z`: a time in UTC, to the second, as crew's clients read it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
