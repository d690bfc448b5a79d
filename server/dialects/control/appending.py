"""Control's appends: answers to agents' questions, and events of outside programs."""

from uuid import UUID

import msgspec
from aiohttp import web

from server.body import identity, read
from server.core import Core, core, principal
from server.dialects.control import wire
from server.dialects.control.answers import reply
from streams.errors import BadRequest, Conflict, KeyReused, Unprocessable
from streams.event import Draft

MAX_APPEND = 500
OUTSIDE_TYPES = frozenset({"assistant_message", "thinking", "tool_call", "tool_result", "error"})


async def tool_result(request: web.Request) -> web.Response:
    """POST /api/control/tool_result: the answer to a question; the first one counts."""
    services, who = core(request), principal(request)
    body = await read(request, wire.ToolResult)
    if not body.tool_call_id.strip() or not body.name.strip():
        raise BadRequest("tool_call_id and name are required")
    mission_id = await services.missions.question(who.workspace_id, body.tool_call_id)
    if mission_id is None:
        return reply({"ok": True, "delivered": False})
    asked = await services.missions.get(who.workspace_id, mission_id)
    who.require(services.kinds[asked.kind].answering)
    draft = Draft(
        type="tool_result",
        content=msgspec.json.encode(body.result).decode(),
        tool_call_id=body.tool_call_id,
        tool_name=body.name,
        dedupe_key=f"answer:{body.tool_call_id}",
        actor=str(who.user_id),
    )
    try:
        [appended] = await services.writers.record(who.workspace_id, mission_id, [draft])
    except KeyReused:
        return reply({"ok": True, "delivered": False})
    return reply({"ok": True, "delivered": appended.fresh})


async def append_events(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/events: outside programs append, all or nothing; known ids keep their numbers."""
    services, who = core(request), principal(request)
    mission_id = identity(request)
    body = await read(request, wire.AppendEvents)
    if not 0 < len(body.events) <= MAX_APPEND:
        raise Unprocessable(f"between 1 and {MAX_APPEND} events at a time")
    drafts = [_draft(event, str(who.user_id)) for event in body.events]
    for draft in drafts:
        if draft.type == "tool_result" and draft.tool_call_id is not None:
            await _refuse_answer(services, who.workspace_id, draft.tool_call_id)
    try:
        appended = await services.writers.record(who.workspace_id, mission_id, drafts)
    except KeyReused as error:
        raise Conflict(error.message) from error
    return reply(
        {
            "events": [
                {"event_id": draft.event_id, "sequence": row.sequence, "position": row.position}
                for draft, row in zip(drafts, appended, strict=True)
            ]
        }
    )


async def _refuse_answer(services: Core, workspace_id: UUID, tool_call_id: str) -> None:
    """An agent's question is answered by people who may answer, never by appending."""
    if await services.missions.question(workspace_id, tool_call_id) is not None:
        raise Conflict(f"{tool_call_id[:64]} is an agent's question; answer it with POST /api/control/tool_result")


def _draft(event: wire.OutsideEvent, by: str) -> Draft:
    if not 0 < len(event.event_id) <= 64:
        raise Unprocessable("an event_id has 1 to 64 characters")
    if event.event_type not in OUTSIDE_TYPES and not _is_own_type(event.event_type):
        allowed = ", ".join(sorted(OUTSIDE_TYPES))
        raise Unprocessable(
            f"event_type {event.event_type[:64]!r} cannot be appended; one of {allowed}, or your own x_…"
        )
    return Draft(
        type=event.event_type,
        content=event.content,
        metadata=event.metadata or {},
        event_id=event.event_id,
        dedupe_key=f"outside:{event.event_id}",
        tool_call_id=event.tool_call_id,
        tool_name=event.tool_name,
        actor=by,
    )


def _is_own_type(name: str) -> bool:
    return name.startswith("x_") and len(name) <= 64 and name.isascii() and name.replace("_", "a").isalnum()
