"""Crew's URL tables: what users do for themselves, and what members do in a workspace."""

from aiohttp import web

from server.dialects.crew import guard, workspaces
from server.dialects.crew.face import CrewFace
from server.routing import SIGNED_IN, Route, mount
from server.socket import ws_token

ACCOUNT = (
    Route("GET", "/api/v1/ws-token", ws_token, SIGNED_IN),
    Route("GET", "/api/v1/workspaces", workspaces.list_workspaces, SIGNED_IN),
)
"""No workspace need be named."""

WORKSPACE: tuple[Route, ...] = ()
"""The workspace is named by query, path or header; the permission must be held there."""


def mount_crew(app: web.Application) -> None:
    """Add crew's routes, each table behind its guard."""
    face = CrewFace()
    mount(app, ACCOUNT, face, guard.at_home)
    mount(app, WORKSPACE, face, guard.in_workspace)
