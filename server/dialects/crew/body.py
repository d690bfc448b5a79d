"""Reading what crew's clients send: one JSON value of at most 1 MiB, whatever its Content-Type."""

from typing import TypeVar

import msgspec
from aiohttp import web

from server.body import parse, raw
from streams.errors import BadRequest
from streams.event import clean_value

T = TypeVar("T")
MOST_BYTES = 1 << 20
INVALID = "Invalid JSON body"


async def read(request: web.Request, shape: type[T], *, is_optional: bool = False, invalid: str = INVALID) -> T:
    """The body as `shape`: null members count as absent, and null for the whole as no members.

    An absent body is `shape()` where `is_optional`. BadRequest with the text `invalid`, and the reason in its data, for
    anything else: no JSON, more than 1 MiB, another shape.
    """
    try:
        sent = await raw(request)
    except web.HTTPRequestEntityTooLarge:
        raise _bad(invalid, "it is larger than 1 MiB") from None
    except BadRequest as error:
        raise _bad(invalid, error.message) from None
    if is_optional and not sent.strip():
        sent = b"{}"
    return decoded(sent, shape, invalid=invalid)


def decoded(sent: bytes, shape: type[T], *, invalid: str = INVALID) -> T:
    """A body's bytes as `shape`; as `read` says."""
    if len(sent) > MOST_BYTES:
        raise _bad(invalid, "it is larger than 1 MiB")
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


def _bad(invalid: str, reason: str) -> BadRequest:
    return BadRequest(invalid, data={"reason": reason})
