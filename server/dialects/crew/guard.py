"""Who may use crew's routes: credential, workspace, origin, role and scope, in this order, before the handler."""

from uuid import UUID

from aiohttp import web

from server.auth.credentials import CREW_COOKIES
from server.auth.principal import Principal
from server.core import PRINCIPAL, core
from server.dialects.crew import ids
from server.routing import PUBLIC, SIGNED_IN, Route, refuse_agent
from streams.errors import BadRequest, NotFound, TooLarge

LARGEST_DECLARED = 16 << 20
NO_WORKSPACE = "workspace_id is required"
NO_MISSION = "Mission not found"


async def in_workspace(request: web.Request, route: Route) -> None:
    """Let in a member of the workspace that the request names, whose role and token hold the route's permission.

    All before the handler, so that neither body nor existence tells anything to somebody who may not know.
    """
    _refuse_large(request)
    who = await _who(request, route)
    name = workspace_name(request)
    if not name and who.mission_id is None:
        raise BadRequest(NO_WORKSPACE)
    if name:
        who = await core(request).authenticator.in_workspace(who, ids.read(name) or name)
    _admit(request, route, who)


async def at_home(request: web.Request, route: Route) -> None:
    """Let in whom the route's permission lets in; a workspace need not be named. For routes about users themselves."""
    _refuse_large(request)
    if route.permission == PUBLIC:
        core(request).authenticator.check_change(request)
        return
    who = await _who(request, route)
    _admit(request, route, who)


async def wherever(request: web.Request, route: Route) -> None:
    """Like `in_workspace`, but who names no workspace acts at home."""
    await (in_workspace if workspace_name(request) else at_home)(request, route)


def workspace_name(request: web.Request) -> str:
    """The id or slug of the workspace that the request names, from the first place that holds one; empty without."""
    places = (
        request.query.get("workspace_id"),
        request.match_info.get("workspaceId"),
        request.headers.get("X-Workspace-ID"),
    )
    return next((name for name in places if name), "")


async def _who(request: web.Request, route: Route) -> Principal:
    who = await core(request).authenticator.authenticate(request, cookies=CREW_COOKIES)
    if who.mission_id is not None:
        _admit_agent(route, request, who.mission_id)
    return who


def _admit(request: web.Request, route: Route, who: Principal) -> None:
    core(request).authenticator.check_change(request)
    if who.mission_id is None and route.permission != SIGNED_IN:
        who.require(route.permission)
    request[PRINCIPAL] = who


def _admit_agent(route: Route, request: web.Request, mission_id: UUID) -> None:
    refuse_agent(route)
    asked = request.match_info.get("missionId")
    if asked is not None and ids.read(asked) != mission_id:
        raise NotFound(NO_MISSION)


def _refuse_large(request: web.Request) -> None:
    if (request.content_length or 0) > LARGEST_DECLARED:
        raise TooLarge
