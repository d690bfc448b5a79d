"""Every request has an id, in its logs and in its answer; finished ones are counted."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from server.core import core
from server.logs import REQUEST
from storage.ids import new_id

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/api/control/running", "/api/health"})
_CLIENT_LEFT = 499
_STATUS = web.RequestKey("status", int)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
FrameworkAnswer = Callable[[web.Request, web.HTTPException], web.Response | None]
log = structlog.get_logger()


async def note_status(request: web.Request, response: web.StreamResponse) -> None:
    """Remember what a stream was answered with; for the application's on_response_prepare."""
    request[_STATUS] = response.status


def has_begun(request: web.Request) -> bool:
    """Whether an answer to this request is on its way, so that no other can be given."""
    return _STATUS in request


def _mission(request: web.Request) -> str | None:
    return request.match_info.get("id") if "/missions/" in request.path else None


def request_context(*framework_answers: FrameworkAnswer) -> Middleware:
    """A middleware: binds the request's id to the logs of everything that it causes, and counts its answer.

    Errors that the framework raises, such as an unknown route, get the first answer that one of `framework_answers` gives.
    """

    @web.middleware
    async def context(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("X-Request-ID", "")
        request_id = given if _ID.fullmatch(given) else str(new_id())
        started = time.monotonic()
        status = 500
        about = {"mission_id": mission} if (mission := _mission(request)) else {}
        outer = REQUEST.set({"request_id": request_id, **about})
        try:
            response = await handler(request)
            status = response.status
        except web.HTTPException as error:
            answers = (give(request, error) for give in framework_answers)
            answer = next((given for given in answers if given is not None), None)
            status = error.status if answer is None else answer.status
            if answer is None:
                raise
            response = answer
        except asyncio.CancelledError:
            status = request.get(_STATUS, _CLIENT_LEFT)  # of a stream that was answered before its client left
            raise
        finally:
            route = request.match_info.route.resource
            name = route.canonical if route is not None else "unknown"
            core(request).metrics.request(request.method, name, status)
            if request.path not in _QUIET:
                seconds = round(time.monotonic() - started, 4)
                log.debug("request", method=request.method, path=request.path, status=status, seconds=seconds)
            REQUEST.reset(outer)
        if not response.prepared:
            response.headers["X-Request-ID"] = request_id
        return response

    return context
