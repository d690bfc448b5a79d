"""Crew's errors: one body with the members of every shape that a client under /api/v1 may look for."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from server.dialects.crew.answers import reply
from server.errors import headers_of, status_of
from streams.errors import Forbidden, MissionstreamError, TooLarge, Unauthenticated

_STATUS: Mapping[str, int] = {"shape": 400}
"""Where crew's status is not that of server/errors.py: a body of another shape is as bad as one that is no JSON."""

SAID_FAILURES = frozenset({"Failed to start mission engine", "restore failed"})
"""Failures of ours that crew's clients are told in words; every other one is `Internal server error`."""
_FAILURE = "Internal server error"
_DENIED = "Forbidden"
_LARGE = "Request body too large"


class CrewFace:
    """Renders errors as crew's clients read them: the command line `error`, the mission pages `detail`."""

    def error(self, request: web.Request, error: MissionstreamError) -> web.Response:
        status, text = _STATUS.get(error.kind) or status_of(error), _text(error)
        headers = headers_of(error)
        code = text
        if isinstance(error, Unauthenticated):
            code = error.details.get("reason", "session_invalid")
            headers["WWW-Authenticate"] = f'Bearer error="{code}"'
        elif error.details.get("reason") == "origin_rejected":
            headers["WWW-Authenticate"] = 'Bearer error="origin_rejected"'
        return problem(request, status, text, error=code, data=error.details.get("data"), headers=headers)


def problem(
    request: web.Request,
    status: int,
    detail: str,
    *,
    error: str | None = None,
    data: Any = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """The error body: `error` (a text; for 401 the reason's code), the problem members, and the scheduled dialect's."""
    body = {
        "error": error or detail,
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.path,
        "statusCode": status,
        "message": detail,
        "data": data,
    }
    return reply(body, status=status, headers=headers)


def _text(error: MissionstreamError) -> str:
    if error.kind == "internal":
        return error.message if error.message in SAID_FAILURES else _FAILURE
    if isinstance(error, Forbidden) and "permission" in error.details:
        return _DENIED
    return _LARGE if isinstance(error, TooLarge) else error.message
