"""Agents: POST, GET, PATCH and DELETE of /api/v1/agents."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from aiohttp import web

from server.core import core, principal
from server.crews import forms
from server.crews.roster import agent_status
from server.dialects.crew.answers import no_content, raw, reply, second
from server.dialects.crew.body import read, stored
from server.dialects.crew.ids import known, spell
from server.dialects.crew.paging import page_headers, page_of
from server.keys import key_of
from storage.agents import AgentRow
from storage.ids import new_id

Word = Annotated[str, msgspec.Meta(max_length=200)]
Text = Annotated[str, msgspec.Meta(max_length=10_000)]
Prompt = Annotated[str, msgspec.Meta(max_length=100_000)]
DEFAULTS: dict[str, Any] = {
    "agent_role": "AGENT",
    "cli_adapter": "CLAUDE_CODE",
    "tool_profile": "CODING",
    "timeout_seconds": 1_800,
    "memory_enabled": False,
}


class AgentFields(msgspec.Struct):
    """What a body may say of an agent; `llm_model` is another name of `model`."""

    name: str | None = None
    slug: str | None = None
    crew_id: str | None = None
    description: Text | None = None
    role_title: Word | None = None
    agent_role: str | None = None
    lead_mode: str | None = None
    cli_adapter: str | None = None
    llm_provider: Word | None = None
    llm_model: Word | None = None
    model: Word | None = None
    system_prompt: Prompt | None = None
    avatar_seed: Word | None = None
    avatar_style: Word | None = None
    tool_profile: str | None = None
    timeout_seconds: int | None = None
    memory_enabled: bool | None = None


async def create_agent(request: web.Request) -> web.Response:
    """POST /api/v1/agents"""
    body, who, now = await read(request, AgentFields), principal(request), datetime.now(UTC)
    fields = {**DEFAULTS, **_fields(body), "name": forms.name(body.name or ""), "slug": forms.slug(body.slug or "")}
    row = AgentRow(id=new_id(), workspace_id=who.workspace_id, created_at=now, updated_at=now, **fields)
    key = key_of(request, "crew.agent", body)
    outcome = await core(request).roster.create_agent(row, by=who.actor, shown=shown, key=key)
    return raw(outcome.answer, status=201)


async def list_agents(request: web.Request) -> web.Response:
    """GET /api/v1/agents, or of one crew `?crew_id=`: leads first, so that the first page has every crew's lead."""
    limit, offset = page_of(request, default=100, most=500)
    wanted = request.query.get("crew_id")
    rows, total = await core(request).roster.agents(
        principal(request).workspace_id, known(wanted) if wanted else None, limit=limit, offset=offset
    )
    return reply([shown(row) for row in rows], headers=page_headers(limit, offset, total))


async def get_agent(request: web.Request) -> web.Response:
    """GET /api/v1/agents/{agentId}"""
    return reply(shown(await core(request).roster.agent(principal(request).workspace_id, _id(request))))


async def update_agent(request: web.Request) -> web.Response:
    """PATCH /api/v1/agents/{agentId}: what the body names is changed."""
    body, who = await read(request, AgentFields), principal(request)
    row = await core(request).roster.update_agent(who.workspace_id, _id(request), _fields(body), by=who.actor)
    return reply(shown(row))


async def delete_agent(request: web.Request) -> web.Response:
    """DELETE /api/v1/agents/{agentId}"""
    who = principal(request)
    await core(request).roster.remove_agent(who.workspace_id, _id(request), by=who.actor)
    return no_content()


_SAME = (
    "name", "slug", "description", "role_title", "agent_role", "lead_mode", "cli_adapter", "llm_provider", "model",
    "system_prompt", "avatar_seed", "avatar_style", "tool_profile", "timeout_seconds", "memory_enabled",
)  # fmt: skip
"""Members of the answer that are columns."""


def shown(row: AgentRow) -> dict[str, Any]:
    """An agent as clients see it, with a glimpse of its crew."""
    crew = {
        "name": row.crew_name,
        "slug": row.crew_slug,
        "color": row.crew_color,
        "avatar_style": row.crew_avatar_style,
    }
    return {
        "id": spell(row.id),
        "crew_id": None if row.crew_id is None else spell(row.crew_id),
        "workspace_id": spell(row.workspace_id),
        **{name: getattr(row, name) for name in _SAME},
        "llm_model": row.model,
        "status": agent_status(row),
        "created_at": second(row.created_at),
        "updated_at": second(row.updated_at),
        "crew": None if row.crew_id is None else {"id": spell(row.crew_id), **crew},
        "_count": {"skills": 0, "credentials": 0, "chats": 0},
    }


def _id(request: web.Request) -> UUID:
    return known(request.match_info["agentId"])


def _timeout(value: int) -> int:
    seconds = value or DEFAULTS["timeout_seconds"]
    return forms.within("timeout_seconds", seconds, forms.AGENT_TIMEOUT)


_READ: Mapping[str, Callable[[Any], Any]] = {
    "name": forms.name,
    "slug": forms.slug,
    "crew_id": lambda text: known(text) if text else None,
    "agent_role": lambda text: forms.role(text or DEFAULTS["agent_role"]),
    "lead_mode": lambda text: forms.lead_mode(text) if text else None,
    "cli_adapter": lambda text: forms.adapter(text or DEFAULTS["cli_adapter"]),
    "tool_profile": lambda text: forms.tool_profile(text or DEFAULTS["tool_profile"]),
    "timeout_seconds": _timeout,
}
"""How a field's value becomes the stored one; the others are stored as they are."""


def _fields(body: AgentFields) -> dict[str, Any]:
    """The fields that the body names, as they are stored."""
    fields = stored(body, _READ)
    if "llm_model" in fields:
        fields.setdefault("model", fields.pop("llm_model"))
    return fields
