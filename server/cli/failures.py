"""From an error to an exit code, one line, and the next step."""

import errno
from collections.abc import Mapping
from typing import NamedTuple

from missionstream_client import (
    ApiError,
    AuthenticationError,
    ConflictError,
    ConnectionLostError,
    CursorLostError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    UnavailableError,
)
from server.cli.exits import Exit
from streams.errors import MissionstreamError


class Failure(NamedTuple):
    """What a person sees of an error."""

    exit: Exit
    text: str
    next_step: str | None = None


_API: tuple[tuple[type[ApiError], Exit, str], ...] = (
    (
        AuthenticationError,
        Exit.DENIED,
        "Give a token with --token or MISSIONSTREAM_TOKEN; `missionstream token create` makes one.",
    ),
    (ForbiddenError, Exit.DENIED, "Use a token of somebody with more rights; `missionstream token create --help`."),
    (NotFoundError, Exit.NOT_FOUND, "`missionstream missions list` shows what there is."),
    (CursorLostError, Exit.CONFLICT, "Begin again without --since, or with --since 0."),
    (ConflictError, Exit.CONFLICT, "`missionstream missions show` tells the mission's state."),
    (RateLimitedError, Exit.RATE_LIMIT, "Wait, then repeat."),
    (
        ConnectionLostError,
        Exit.UNREACHABLE,
        "Is the server running? Start one with `missionstream serve`, or name another with --url.",
    ),
    (UnavailableError, Exit.SERVER, "Repeat in a moment; the server's log says more."),
    (ProtocolError, Exit.SERVER, "Is this a Missionstream server's address? Check --url or MISSIONSTREAM_URL."),
)
"""The first row that fits counts."""

_KINDS: Mapping[str, Exit] = {
    "invalid": Exit.USAGE,
    "shape": Exit.USAGE,
    "large": Exit.USAGE,
    "media": Exit.USAGE,
    "auth": Exit.DENIED,
    "denied": Exit.DENIED,
    "missing": Exit.NOT_FOUND,
    "conflict": Exit.CONFLICT,
    "key_reused": Exit.CONFLICT,
    "cursor": Exit.CONFLICT,
    "gone": Exit.CONFLICT,
    "limit": Exit.RATE_LIMIT,
    "upstream": Exit.SERVER,
    "down": Exit.UNREACHABLE,
}
_CODES: Mapping[str, Exit] = {"no_database": Exit.NOT_FOUND, "database_failed": Exit.FAILURE}
"""Errors whose kind, made for HTTP, says less than their code."""

_NEXT: Mapping[str, str] = {
    "unavailable": "Is the PostgreSQL running, and is its address right? `missionstream doctor` looks."
}

_SYSTEM: Mapping[int, str] = {
    errno.EADDRINUSE: "Name another port with --port; 0 takes a free one.",
    errno.EADDRNOTAVAIL: "Name an address of this machine with --host.",
    errno.EACCES: "Run as a user who may, or name another place.",
}
_DATABASE = "Is the PostgreSQL of --database-url or MISSIONSTREAM_DATABASE_URL running, and may this user log in?"


def failure_of(error: Exception) -> Failure:
    """How to report an error; anything unknown is a failure that asks for --debug."""
    if isinstance(error, ApiError):
        return _of_api(error)
    if isinstance(error, MissionstreamError):
        return Failure(
            _CODES.get(error.code) or _KINDS.get(error.kind, Exit.FAILURE), error.message, _NEXT.get(error.code)
        )
    if isinstance(error, OSError) and (next_step := _SYSTEM.get(error.errno or 0)):
        return Failure(Exit.FAILURE, _words(error), next_step)
    from storage.pool import FAILURES

    if isinstance(error, FAILURES) and not (isinstance(error, OSError) and error.filename):
        return Failure(Exit.UNREACHABLE, f"the database cannot be used: {_words(error)}", _DATABASE)
    if isinstance(error, OSError):
        return Failure(Exit.FAILURE, _words(error))
    return Failure(Exit.FAILURE, f"{type(error).__name__}: {_words(error)}", "Repeat with --debug to see where.")


def _of_api(error: ApiError) -> Failure:
    for kind, code, next_step in _API:
        if isinstance(error, kind):
            return Failure(code, error.text.replace(" ssl:default", ""), next_step)
    if error.status is not None and error.status < 500:
        return Failure(Exit.USAGE, error.text)
    return Failure(Exit.SERVER, error.text, "The server's log says more.")


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
