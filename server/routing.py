"""URL tables: a route is a row, and mounting one wraps it in authentication, permission and error rendering."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

import structlog
from aiohttp import web

from server.body import identity
from server.core import PRINCIPAL, core
from server.operations.requests import has_begun
from streams.errors import BadRequest, Forbidden, MissionstreamError, NotFound, TooLarge

PUBLIC = "public"
SIGNED_IN = "signed-in"
"""Permissions of routes that anybody, or anybody who is known, may use; every other one names a permission."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = structlog.get_logger()


class Route(NamedTuple):
    """One row of a dialect's URL table. `permission` is PUBLIC, SIGNED_IN or a permission's name.

    Agents hold no permission. They may use a route only where `is_for_agents` says so, and only on their own mission:
    its `{id}` is that mission's, or its handler sees to it.
    """

    method: str
    path: str
    handler: Handler
    permission: str
    is_for_agents: bool = False


Guard = Callable[[web.Request, Route], Awaitable[None]]
"""Lets a request in, and notes its principal, or raises why not."""


class Face(Protocol):
    """How a dialect answers: the body and status of an error."""

    def error(self, request: web.Request, error: MissionstreamError) -> web.Response: ...


async def at_home(request: web.Request, route: Route) -> None:
    """The usual guard: whoever is known, in their home workspace, with the route's permission."""
    if route.permission == PUBLIC:
        return
    who = await core(request).authenticator.authenticate(request)
    request[PRINCIPAL] = who
    if who.mission_id is not None:
        _admit_agent(route, request, who.mission_id)
    elif route.permission != SIGNED_IN:
        who.require(route.permission)


def mount(app: web.Application, routes: Sequence[Route], face: Face, guard: Guard = at_home) -> None:
    """Add a URL table to the application, every handler behind the guard.

    Raises ValueError for a method and path that are taken.
    """
    taken = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None}
    for route in routes:
        if (route.method, route.path) in taken:
            raise ValueError(f"{route.method} {route.path} is mounted twice")
        taken.add((route.method, route.path))
        app.router.add_route(route.method, route.path, _guarded(route, face, guard))


async def _tell_epoch(request: web.Request, response: web.StreamResponse) -> None:
    """Whoever reads is told in which history."""
    who = request.get(PRINCIPAL)
    if who is not None and not response.prepared and "X-Epoch" not in response.headers:
        response.headers["X-Epoch"] = (await core(request).hub.follower(who.workspace_id)).epoch


def refuse_agent(route: Route) -> None:
    """Forbidden for an agent off the routes of agents."""
    if not route.is_for_agents:
        raise Forbidden("An agent may not do this: its token is for its own mission's events, progress and tasks.")


def _admit_agent(route: Route, request: web.Request, mission_id: UUID) -> None:
    """Any other mission than its own is not found, like one that does not exist."""
    refuse_agent(route)
    if "id" in request.match_info and (asked := identity(request)) != mission_id:
        raise NotFound(f"Mission {asked} not found")


def _guarded(route: Route, face: Face, guard: Guard) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            await guard(request, route)
            response = await route.handler(request)
            if route.method == "GET":
                await _tell_epoch(request, response)
            return response
        except MissionstreamError as error:
            if error.kind == "internal":
                log.error("request.failed", path=request.path, error=error.message, exc_info=error)
            return _refusal(request, face, error)
        except web.HTTPRequestEntityTooLarge:
            return _refusal(request, face, TooLarge("the body is larger than 2 MiB"))
        except web.HTTPException:
            raise
        except (ConnectionResetError, ConnectionAbortedError):
            raise
        except UnicodeError as error:
            return _refusal(request, face, BadRequest(f"the request is not valid text: {error}"))
        except Exception as error:
            log.exception("request.failed", path=request.path)
            failure = MissionstreamError("Internal server error; the server's log tells more under this request's id")
            failure.__cause__ = error
            return _refusal(request, face, failure)

    guarded.__doc__ = route.handler.__doc__
    return guarded


def _refusal(request: web.Request, face: Face, error: MissionstreamError) -> web.Response:
    """The error's answer. One that has begun can only be cut: the client must not take its half for the whole."""
    if not has_begun(request):
        return face.error(request, error)
    log.warning("answer.cut", path=request.path, error=repr(error))
    if request.transport is not None:
        request.transport.close()
    raise ConnectionResetError("the answer had begun when it failed") from error
