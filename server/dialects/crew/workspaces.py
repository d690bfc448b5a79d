"""Workspaces as crew's clients see them."""

from typing import Any

from aiohttp import web

from server.core import core, principal
from server.dialects.crew.answers import reply, second
from server.dialects.crew.ids import spell
from storage import identity
from storage.identity import Membership


async def list_workspaces(request: web.Request) -> web.Response:
    """GET /api/v1/workspaces: those of the user, newest first."""
    rows = await identity.memberships(core(request).database, principal(request).user_id)
    return reply([shown(row) for row in rows])


def shown(row: Membership) -> dict[str, Any]:
    """A workspace, and what the user is in it."""
    return {
        "id": spell(row.workspace_id),
        "name": row.workspace_name,
        "slug": row.slug,
        "currentUserRole": row.role,
        "created_at": second(row.created_at),
        "updated_at": second(row.created_at),
    }
