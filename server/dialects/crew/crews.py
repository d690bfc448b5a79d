"""Crews: POST, GET, PATCH and DELETE of /api/v1/crews."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from aiohttp import web

from server.core import core, principal
from server.crews import escalation, forms
from server.crews.roster import NO_SUCH_SPACE
from server.dialects.crew.answers import no_content, raw, reply, second
from server.dialects.crew.body import read, stored
from server.dialects.crew.ids import known, spell
from server.dialects.crew.paging import page_headers, page_of
from server.keys import key_of
from server.missions.kinds import NO_SPACE
from storage.crews import CrewRow
from storage.ids import new_id
from streams.errors import BadRequest

Word = Annotated[str, msgspec.Meta(max_length=100)]
Text = Annotated[str, msgspec.Meta(max_length=10_000)]
DEFAULTS: dict[str, Any] = {
    "max_parallel_tasks": 3,
    "mission_timeout_seconds": 7_200,
    "auto_accept_review": False,
    "space_id": NO_SPACE,
}


class CrewFields(msgspec.Struct):
    """What a body may say of a crew. An empty text takes a setting back to its default, or a description away."""

    name: str | None = None
    slug: str | None = None
    description: Text | None = None
    color: Word | None = None
    icon: Word | None = None
    avatar_style: Word | None = None
    escalation_config: Any = None
    max_parallel_tasks: int | None = None
    mission_timeout_seconds: int | None = None
    auto_accept_review: bool | None = None
    permission_policy: str | None = None
    space_id: str | None = None


async def create_crew(request: web.Request) -> web.Response:
    """POST /api/v1/crews"""
    body, who, now = await read(request, CrewFields), principal(request), datetime.now(UTC)
    fields = {
        **DEFAULTS,
        **stored(body, _READ),
        "name": forms.name(body.name or ""),
        "slug": forms.slug(body.slug or ""),
    }
    row = CrewRow(id=new_id(), workspace_id=who.workspace_id, created_at=now, updated_at=now, **fields)
    key = key_of(request, "crew.crew", body)
    outcome = await core(request).roster.create_crew(row, by=who.actor, shown=shown, key=key)
    return raw(outcome.answer, status=201)


async def list_crews(request: web.Request) -> web.Response:
    """GET /api/v1/crews: newest first."""
    limit, offset = page_of(request, default=100, most=500)
    rows, total = await core(request).roster.crews(principal(request).workspace_id, limit=limit, offset=offset)
    return reply([shown(row) for row in rows], headers=page_headers(limit, offset, total))


async def get_crew(request: web.Request) -> web.Response:
    """GET /api/v1/crews/{crewId}"""
    return reply(shown(await core(request).roster.crew(principal(request).workspace_id, _id(request))))


async def update_crew(request: web.Request) -> web.Response:
    """PATCH /api/v1/crews/{crewId}: what the body names is changed."""
    body, who = await read(request, CrewFields), principal(request)
    row = await core(request).roster.update_crew(who.workspace_id, _id(request), stored(body, _READ), by=who.actor)
    return reply(shown(row))


async def delete_crew(request: web.Request) -> web.Response:
    """DELETE /api/v1/crews/{crewId}: with its agents."""
    who = principal(request)
    await core(request).roster.remove_crew(who.workspace_id, _id(request), by=who.actor)
    return no_content()


def shown(row: CrewRow) -> dict[str, Any]:
    """A crew as clients see it."""
    return {
        "id": spell(row.id),
        "workspace_id": spell(row.workspace_id),
        "name": row.name,
        "slug": row.slug,
        "description": row.description,
        "color": row.color,
        "icon": row.icon,
        "avatar_style": row.avatar_style,
        "escalation_config": row.escalation_config,
        "max_parallel_tasks": row.max_parallel_tasks,
        "mission_timeout_seconds": row.mission_timeout_seconds,
        "auto_accept_review": row.auto_accept_review,
        "permission_policy": row.permission_policy,
        "space_id": str(row.space_id),
        "created_at": second(row.created_at),
        "updated_at": second(row.updated_at),
        "_count": {"agents": row.agent_count, "members": 0},
    }


def _id(request: web.Request) -> UUID:
    return known(request.match_info["crewId"])


def _space(text: str) -> UUID:
    try:
        return UUID(text) if text else NO_SPACE
    except ValueError:
        raise BadRequest(NO_SUCH_SPACE) from None


_READ: Mapping[str, Callable[[Any], Any]] = {
    "name": forms.name,
    "slug": forms.slug,
    "escalation_config": escalation.stored,
    "max_parallel_tasks": lambda value: forms.within("max_parallel_tasks", value, forms.PARALLEL),
    "mission_timeout_seconds": lambda value: forms.within("mission_timeout_seconds", value, forms.TIMEOUT),
    "permission_policy": lambda text: forms.policy(text) if text else None,
    "space_id": _space,
}
"""How a field's value becomes the stored one; the others are stored as they are."""
