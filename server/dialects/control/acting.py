"""Control's writes: each decodes, executes one command or appends, and answers."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import msgspec
import uuid_utils.compat as uuids
from aiohttp import web

from server.agents import profiles
from server.body import identity, read
from server.core import Core, core, principal
from server.dialects.control import wire
from server.dialects.control.answers import raw, reply
from server.dialects.control.keys import key_of
from server.dialects.control.reading import facts_of, full_mission
from server.missions.control import KIND, LIFECYCLE, Create
from server.missions.kinds import NO_SPACE, command
from storage.rules import Key, Outcome
from streams.errors import BadRequest, Conflict, KeyReused, MoveRefused, NotFound, Unprocessable
from streams.event import Draft, Signal

MAX_APPEND = 500
MAX_TITLE_CHARACTERS = 500
MAX_MESSAGE_CHARACTERS = 256 << 10
_MEANT = ("status", "title", "content", "message_id", "whole_mission")
"""The fields of a command that its sender chose; an idempotency key stands for these."""
OUTSIDE_TYPES = frozenset({"assistant_message", "thinking", "tool_call", "tool_result", "error"})
_RESUME_TEXT = "You were interrupted. Look at what is done already, then go on without repeating it."


async def _execute(
    request: web.Request,
    mission_id: UUID,
    verb: str,
    *,
    answer: Callable[[Any], Any] = lambda state: {"ok": True},
    key: Key | None = None,
    **fields: Any,
) -> Outcome:
    """One command, by its verb, on a mission of whatever kind."""
    services, who = core(request), principal(request)
    row = await services.missions.get(who.workspace_id, mission_id)
    wish = command(services.kinds[row.kind], verb, **fields, by=str(who.user_id))
    if key is None:
        meant = {name: fields[name] for name in _MEANT if name in fields}
        key = key_of(request, f"control.{verb}:{mission_id}", meant)
    return await services.writers.execute(who.workspace_id, mission_id, row.kind, wish, answer=answer, key=key)


def _shown(services: Core, kind: str) -> Callable[[Any], Any]:
    """Renders a state just decided as a Mission object."""
    rules = services.kinds[kind]

    def answer(state: Any) -> Any:
        row = rules.row(state)
        return wire.mission(
            state.id,
            kind,
            row.status,
            row.phase,
            row.title,
            rules.facts(state),
            created_at=row.created_at,
            updated_at=row.updated_at,
            parent_id=row.parent_id,
        )

    return answer


async def create_mission(request: web.Request) -> web.Response:
    """POST /api/control/missions: pending, and from now on the user's current one."""
    body = await read(request, wire.CreateMission, is_optional=True)
    outcome = await _create(request, body, key_of(request, "control.create", body))
    return raw(outcome.answer.encode())


async def _create(request: web.Request, body: wire.CreateMission, key: Key | None = None) -> Outcome:
    services, who = core(request), principal(request)
    environment = services.environment
    backend = (body.backend or "").strip() or profiles.default_backend(environment)
    profiles.require_installed(backend, environment)
    if body.parent_mission_id is not None:
        await services.missions.get(who.workspace_id, body.parent_mission_id)
    space_id = body.workspace_id or NO_SPACE
    if space_id != NO_SPACE:
        await services.spaces.directory(who.workspace_id, space_id)
    mission_id = uuids.uuid7()
    wish = Create(
        id=mission_id,
        backend=backend,
        space_id=space_id,
        title=_title(body.title) if body.title and body.title.strip() else None,
        agent=body.agent,
        model_override=(body.model_override or "").strip() or None,
        config_profile=body.config_profile,
        parent_id=body.parent_mission_id,
        by=str(who.user_id),
    )
    outcome = await services.writers.execute(
        who.workspace_id, mission_id, KIND, wish, answer=_shown(services, KIND), key=key
    )
    made = UUID(msgspec.json.decode(outcome.answer)["id"])
    await services.missions.set_current(who.workspace_id, who.user_id, made)
    return outcome


async def load_mission(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/load: makes it the user's current mission; nothing else changes."""
    services, who = core(request), principal(request)
    row = await services.missions.get(who.workspace_id, identity(request))
    await services.missions.set_current(who.workspace_id, who.user_id, row.id)
    return reply(await full_mission(services, row))


async def send_message(request: web.Request) -> web.Response:
    """POST /api/control/message: to the named mission, else the current one, else a new one."""
    body = await read(request, wire.SendMessage)
    content = _content(body.content)
    mission_id = body.mission_id or await _current_or_new(request, body.client_message_id)
    return await _send(request, mission_id, content, body)


async def _send(
    request: web.Request, mission_id: UUID, content: str, body: wire.SendMessage, *, must_start: bool = False
) -> web.Response:
    services, who = core(request), principal(request)
    message_id = str(body.client_message_id or uuids.uuid7())
    key = None
    if body.client_message_id is not None:
        key = key_of(request, "control.message", {"content": content, "mission": body.mission_id}, message_id)
    elif "Idempotency-Key" in request.headers:
        key = key_of(request, "control.message", {"content": content, "mission": body.mission_id})
    with services.runs.slot() as has_slot:
        outcome = await _execute(
            request,
            mission_id,
            "send",
            answer=lambda state: {"id": message_id, "queued": _is_queued(services, state, message_id), "warnings": []},
            key=key,
            message_id=message_id,
            content=content,
            agent=body.agent,
            run_id=uuids.uuid7(),
            has_slot=has_slot,
            must_start=must_start,
        )
    if body.mission_id is not None:
        await services.missions.set_current(who.workspace_id, who.user_id, mission_id)
    return raw(outcome.answer.encode())


def _is_queued(services: Core, state: Any, message_id: str) -> bool:
    return any(waiting == message_id for waiting, _, _ in services.kinds[KIND].facts(state).queue)


def _content(text: str) -> str:
    content = text.strip()
    if not content:
        raise BadRequest("content is required")
    if len(content) > MAX_MESSAGE_CHARACTERS:
        raise Unprocessable(f"a message has at most {MAX_MESSAGE_CHARACTERS} characters")
    return content


async def _current_or_new(request: web.Request, message_id: UUID | None) -> UUID:
    services, who = core(request), principal(request)
    current = await services.missions.current(who.workspace_id, who.user_id)
    if current is not None:
        try:
            return (await services.missions.get(who.workspace_id, current)).id
        except NotFound:
            pass
    # repeats of one message that come together make one mission
    key = key_of(request, "control.message.mission", {}, None if message_id is None else str(message_id))
    made = await _create(request, wire.CreateMission(), key)
    return UUID(msgspec.json.decode(made.answer)["id"])


async def run_parallel(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/parallel: 409 when it runs already or every slot is taken."""
    body = await read(request, wire.Parallel)
    mission_id, content = identity(request), _content(body.content)
    await _send(request, mission_id, content, wire.SendMessage(content=content), must_start=True)
    return reply({"ok": True, "mission_id": str(mission_id)})


async def cancel_current(request: web.Request) -> web.Response:
    """POST /api/control/cancel: stops the turn of the current mission, if there is one."""
    services, who = core(request), principal(request)
    mission_id = await services.missions.current(who.workspace_id, who.user_id)
    running = [row.id for row in await services.missions.busy(who.workspace_id) if row.run_id is not None]
    if mission_id in running or len(running) == 1:
        with suppress(NotFound):  # it may have ended just now
            await _execute(request, mission_id if mission_id in running else running[0], "cancel")
        return reply({"ok": True})
    services.hub.signal(
        Signal(
            workspace_id=who.workspace_id,
            stream_id=who.workspace_id,
            type="error",
            after=0,
            body={"message": "No running task to cancel"},
        )
    )
    return reply({"ok": True})


async def cancel_mission(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/cancel: stops its turn and drops its queue; 404 if it is not executing."""
    mission_id = identity(request)
    await _execute(request, mission_id, "cancel", whole_mission=True)
    return reply({"ok": True, "cancelled": str(mission_id)})


async def set_status(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/status: any status; a running turn goes on."""
    body = await read(request, wire.SetStatus)
    if body.status not in LIFECYCLE.phases:
        raise Unprocessable(f"unknown status {body.status[:40]!r}; one of {', '.join(LIFECYCLE.phases)}")
    await _execute(request, identity(request), "set_status", status=body.status)
    return reply({"ok": True})


async def set_title(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/title"""
    body = await read(request, wire.SetTitle)
    await _execute(request, identity(request), "rename", title=_title(body.title))
    return reply({"ok": True})


def _title(text: str) -> str:
    title = text.strip()
    if not 0 < len(title) <= MAX_TITLE_CHARACTERS:
        raise BadRequest(f"a title has 1 to {MAX_TITLE_CHARACTERS} characters")
    return title


async def resume_mission(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/resume: 400 for a mission that cannot be resumed, also for an unknown one."""
    services, who = core(request), principal(request)
    body = await read(request, wire.ResumeMission, is_optional=True)
    mission_id = identity(request)
    try:
        with services.runs.slot() as has_slot:
            outcome = await _execute(
                request,
                mission_id,
                "resume",
                answer=_shown(services, KIND),
                key=key_of(request, "control.resume", {"mission": str(mission_id)}),
                run_id=uuids.uuid7(),
                message_id=str(uuids.uuid7()),
                has_slot=has_slot,
                content=None if body.skip_message else _RESUME_TEXT,
            )
    except (NotFound, MoveRefused) as error:
        raise BadRequest(error.message) from error
    await services.missions.set_current(who.workspace_id, who.user_id, mission_id)
    return raw(outcome.answer.encode())


async def delete_mission(request: web.Request) -> web.Response:
    """DELETE /api/control/missions/:id: 409 while it runs."""
    mission_id = identity(request)
    await _execute(request, mission_id, "delete")
    return reply({"ok": True, "deleted": str(mission_id)})


async def cleanup(request: web.Request) -> web.Response:
    """POST /api/control/missions/cleanup: deletes untitled missions that were never used."""
    services = core(request)
    unused = await services.missions.unused(principal(request).workspace_id)
    for mission_id in unused:
        await _execute(request, mission_id, "delete")
    return reply({"ok": True, "deleted_count": len(unused)})


async def remove_queued(request: web.Request) -> web.Response:
    """DELETE /api/control/queue/:id"""
    services, message_id = core(request), request.match_info["id"]
    for row in await services.missions.busy(principal(request).workspace_id):
        if any(waiting == message_id for waiting, _, _ in facts_of(services, row).queue):
            await _execute(request, row.id, "remove_queued", message_id=message_id)
            return reply({"ok": True})
    raise NotFound("message not in queue")


async def clear_queue(request: web.Request) -> web.Response:
    """DELETE /api/control/queue, or of one `?mission_id=`."""
    services, cleared = core(request), 0
    wanted = request.query.get("mission_id")
    for row in await services.missions.busy(principal(request).workspace_id):
        waiting = len(facts_of(services, row).queue)
        if waiting and wanted in (None, "", str(row.id)):
            await _execute(request, row.id, "remove_queued")
            cleared += waiting
    return reply({"ok": True, "cleared": cleared})


async def tool_result(request: web.Request) -> web.Response:
    """POST /api/control/tool_result: the answer to a question; the first one counts."""
    services, who = core(request), principal(request)
    body = await read(request, wire.ToolResult)
    if not body.tool_call_id.strip() or not body.name.strip():
        raise BadRequest("tool_call_id and name are required")
    mission_id = await services.missions.question(who.workspace_id, body.tool_call_id)
    if mission_id is None:
        return reply({"ok": True, "delivered": False})
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
