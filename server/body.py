"""Reading what a client sent: JSON bodies and queries, decoded, cleaned and checked, or refused with a clear error."""

import asyncio
import json
import math
import re
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from storage.ids import parse_id
from streams.errors import BadRequest, MissionstreamError, Unprocessable
from streams.event import check_depth, clean_text, clean_value

T = TypeVar("T")
BODY_SECONDS = 30.0
_WHOLE = re.compile(r"-?[0-9]+")


class WrongMediaType(MissionstreamError):
    """Expected request with `Content-Type: application/json`"""

    code = "wrong_media_type"
    kind = "media"


async def read(request: web.Request, shape: type[T], *, is_optional: bool = False) -> T:
    """The JSON body as `shape`.

    An absent body is `shape()` where `is_optional`. Raises BadRequest for what is no JSON or nests too deep,
    WrongMediaType, and Unprocessable, naming the path, for JSON of another shape.
    """
    sent = await raw(request)
    if is_optional and not sent.strip():
        return msgspec.convert({}, shape)
    if not is_optional and request.content_type != "application/json":
        raise WrongMediaType
    return decoded(sent, shape)


async def raw(request: web.Request) -> bytes:
    """The body as it came; BadRequest for one that is too slow, or not encoded as its headers say."""
    try:
        if request.content.is_eof():  # it came with the headers
            return await request.read()
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise BadRequest(f"the body did not arrive within {BODY_SECONDS:.0f} s") from None
    except (HttpProcessingError, web.RequestPayloadError):
        raise BadRequest("the body is not encoded as its headers say") from None


def decoded(sent: bytes, shape: type[T]) -> T:
    """JSON text as `shape`, its strings storable; errors as `read` raises them."""
    value = parse(sent)
    # NUL comes as an escape; a surrogate so too, or as bytes that begin with ED; and both as UTF-16, full of zero bytes
    if b"\\u" in sent or b"\xed" in sent or b"\0" in sent:
        value = clean_value(value)
    else:
        check_depth(value)
    try:
        return msgspec.convert(value, shape, strict=True)
    except msgspec.ValidationError as error:
        raise Unprocessable(str(error)) from None


def parse(sent: bytes) -> Any:
    """JSON text as values; lone surrogates survive until they are cleaned, NaN and Infinity are refused."""
    try:
        return msgspec.json.decode(sent)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    try:
        return json.loads(sent, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is out of range")
    return value


def identity(request: web.Request, name: str = "id") -> UUID:
    """A UUID of the path; BadRequest for anything else."""
    text = request.match_info[name]
    try:
        return parse_id(text)
    except ValueError:
        raise BadRequest(f"{text[:80]!r} is not a UUID") from None


def word(request: web.Request, name: str) -> str | None:
    """A text of the query, cleaned like that of bodies."""
    text = request.query.get(name)
    return None if text is None else clean_text(text)


def number(request: web.Request, name: str, default: int, *, least: int = 0, most: int = 2**63 - 1) -> int:
    """A whole number of the query; above `most` it is clamped, below `least` or garbled it is a BadRequest."""
    text = request.query.get(name)
    if text is None or text == "":
        return default
    if not _WHOLE.fullmatch(text):
        raise BadRequest(f"{name} must be a whole number, not {text[:40]!r}")
    far = least - 1 if text.startswith("-") else most  # int() refuses thousands of digits
    value = int(text) if len(text) < 40 else far
    if value < least:
        raise BadRequest(f"{name} must be at least {least}")
    return min(value, most)


def seconds(request: web.Request, name: str, default: float, *, most: float) -> float:
    """A duration of the query, clamped to [0, most]."""
    text = request.query.get(name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        raise BadRequest(f"{name} must be a number of seconds") from None
    if value != value:
        raise BadRequest(f"{name} must be a number of seconds")
    return min(max(value, 0.0), most)
