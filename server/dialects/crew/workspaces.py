"""Workspaces as crew's clients see them: GET and POST of /api/v1/workspaces."""

import re
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from server.core import core, principal
from server.crews import forms
from server.dialects.crew import ids
from server.dialects.crew.answers import reply, second
from server.dialects.crew.body import read
from server.keys import key_of
from storage import identity
from storage.identity import Membership
from streams.errors import BadRequest, Forbidden

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{1,49}")
_HEX = re.compile(r"[0-9a-f]{32}")
WRONG_SLUG = "slug must be 2 to 50 lower-case letters, digits and hyphens, begin with a letter or a digit, and not look like an id"


class CreateWorkspace(msgspec.Struct):
    name: str = ""
    slug: str = ""


async def list_workspaces(request: web.Request) -> web.Response:
    """GET /api/v1/workspaces: those of the user, newest first."""
    rows = await identity.memberships(core(request).database, principal(request).user_id)
    return reply([shown(row) for row in rows])


async def create_workspace(request: web.Request) -> web.Response:
    """POST /api/v1/workspaces: whoever makes it is its OWNER."""
    body, who = await read(request, CreateWorkspace), principal(request)
    name, slug = forms.name(body.name), _slug(body.slug)
    workspace_id = await core(request).members.found(who, slug, name, key_of(request, "crew.workspace", body))
    return reply(await _workspace(request, workspace_id), status=201)


async def get_workspace(request: web.Request) -> web.Response:
    """GET /api/v1/workspaces/{workspaceId}"""
    return reply(await _workspace(request, principal(request).workspace_id))


async def _workspace(request: web.Request, workspace_id: UUID) -> dict[str, Any]:
    row = await identity.membership(core(request).database, principal(request).user_id, workspace_id=workspace_id)
    if row is None:  # they have left it since
        raise Forbidden("Not a member of this workspace")
    return shown(row)


def _slug(text: str) -> str:
    # a name that could be an id would be taken for one
    if not _SLUG.fullmatch(text) or ids.read(text) is not None or _HEX.fullmatch(text.replace("-", "")):
        raise BadRequest(WRONG_SLUG)
    return text


def shown(row: Membership) -> dict[str, Any]:
    """A workspace, and what the user is in it."""
    return {
        "id": ids.spell(row.workspace_id),
        "name": row.workspace_name,
        "slug": row.slug,
        "logo_url": None,
        "currentUserRole": row.role,
        "created_at": second(row.created_at),
        "updated_at": second(row.created_at),
    }
