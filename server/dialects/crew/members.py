"""A workspace's members: GET, POST, PATCH and DELETE of /api/v1/workspaces/{workspaceId}/members."""

from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from server.auth.claiming import normal_email
from server.auth.members import Newcomer
from server.core import core, principal
from server.dialects.crew.answers import reply
from server.dialects.crew.body import read
from server.dialects.crew.ids import known, spell
from server.keys import key_of
from storage import identity
from storage.identity import Membership
from streams.errors import BadRequest, NotFound

NO_SUCH_MEMBER = "Member not found"


class AddMember(msgspec.Struct):
    """A user by id, or by email; somebody new is called `full_name`."""

    user_id: str = ""
    email: str = ""
    full_name: str = ""
    role: str = "MEMBER"


class ChangeMember(msgspec.Struct):
    role: str


async def list_members(request: web.Request) -> web.Response:
    """GET …/members: in the order of their joining the server."""
    rows = await identity.members(core(request).database, principal(request).workspace_id)
    return reply([shown(row) for row in rows])


async def add_member(request: web.Request) -> web.Response:
    """POST …/members"""
    body = await read(request, AddMember)
    if not body.user_id and not body.email:
        raise BadRequest("user_id or email is required")
    newcomer = Newcomer(
        role=body.role,
        user_id=known(body.user_id) if body.user_id else None,
        email=normal_email(body.email) if body.email else None,
        name=body.full_name.strip()[:100],
    )
    who = principal(request)
    user_id = await core(request).members.add(who, newcomer, key_of(request, "crew.member", body))
    return reply(await _member(request, user_id), status=201)


async def change_member(request: web.Request) -> web.Response:
    """PATCH …/members/{memberId}: another role."""
    body, user_id = await read(request, ChangeMember), known(request.match_info["memberId"])
    await core(request).members.change(principal(request), user_id, body.role)
    told = {"status": "updated", "member_id": spell(user_id)}
    return reply({**(await _member(request, user_id)), **told})


async def remove_member(request: web.Request) -> web.Response:
    """DELETE …/members/{memberId}: oneself, or anybody whose role is below one's own."""
    await core(request).members.remove(principal(request), known(request.match_info["memberId"]))
    return reply({"success": True})


def shown(row: Membership) -> dict[str, Any]:
    """A member as clients see them; their id is the user's."""
    user_id = spell(row.user_id)
    return {
        "id": user_id,
        "workspace_id": spell(row.workspace_id),
        "user_id": user_id,
        "role": row.role,
        "user": {"id": user_id, "email": row.email, "full_name": row.user_name, "avatar_url": None},
    }


async def _member(request: web.Request, user_id: UUID) -> dict[str, Any]:
    workspace_id = principal(request).workspace_id
    row = await identity.membership(core(request).database, user_id, workspace_id=workspace_id)
    if row is None:
        raise NotFound(NO_SUCH_MEMBER)
    return shown(row)
