"""Reading what crew's clients send: one JSON value of at most 1 MiB, whatever its Content-Type."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from server.body import parse, raw
from streams.errors import BadRequest
from streams.event import clean_value

T = TypeVar("T")
MOST_BYTES = 1 << 20
INVALID = "Invalid JSON body"
TOO_LARGE = "it is larger than 1 MiB"
_REFUSED = web.RequestKey("refused", str)
"""Why the request's body could not be had."""


async def read(request: web.Request, shape: type[T], *, is_optional: bool = False, invalid: str = INVALID) -> T:
    """The body as `shape`: null members count as absent, and null for the whole as no members.

    An absent body is `shape()` where `is_optional`. BadRequest with the text `invalid`, and the reason in its data, for
    anything else: no JSON, more than 1 MiB, another shape.
    """
    try:
        sent = await received(request)
    except BadRequest as error:
        raise _bad(invalid, error.message) from None
    if is_optional and not sent.strip():
        sent = b"{}"
    return decoded(sent, shape, invalid=invalid)


async def received(request: web.Request) -> bytes:
    """The body as it came; BadRequest, with the reason, for one that is too large, too slow or garbled.

    It may be asked for again, with the same outcome.
    """
    if _REFUSED not in request:
        try:
            return await raw(request)
        except web.HTTPRequestEntityTooLarge:
            request[_REFUSED] = TOO_LARGE
        except BadRequest as error:
            request[_REFUSED] = error.message
    raise BadRequest(request[_REFUSED])


def decoded(sent: bytes, shape: type[T], *, invalid: str = INVALID) -> T:
    """A body's bytes as `shape`; as `read` says."""
    if len(sent) > MOST_BYTES:
        raise _bad(invalid, TOO_LARGE)
    try:
        value = clean_value(parse(sent))
        if value is None:
            value = {}
        if isinstance(value, dict):
            value = {name: member for name, member in value.items() if member is not None}
        return msgspec.convert(value, shape, strict=True)
    except BadRequest as error:
        raise _bad(invalid, error.message) from None
    except msgspec.ValidationError as error:
        raise _bad(invalid, str(error)) from None


def stored(body: msgspec.Struct, how: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The fields that a body names, as they are stored: by `how` for those that it has, the others as they are."""
    named = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not None}
    return {name: how[name](value) if name in how else value for name, value in named.items()}


def _bad(invalid: str, reason: str) -> BadRequest:
    return BadRequest(invalid, data={"reason": reason})
