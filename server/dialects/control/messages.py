"""Control's messages: send, run in parallel, and the queue."""

from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from server.body import identity, read
from server.core import Core, core, principal
from server.dialects.control import wire
from server.dialects.control.answers import raw, reply
from server.dialects.control.executing import execute
from server.dialects.control.missions import create
from server.dialects.control.reading import facts_of
from server.keys import key_of
from server.missions.control import KIND, own_id
from storage.ids import new_id
from streams.errors import BadRequest, NotFound, Unprocessable

MAX_MESSAGE_CHARACTERS = 256 << 10


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
    message_id = str(body.client_message_id or new_id())
    key = None
    if body.client_message_id is not None:
        key = key_of(request, "control.message", {"content": content, "mission": body.mission_id}, message_id)
    elif "Idempotency-Key" in request.headers:
        key = key_of(request, "control.message", {"content": content, "mission": body.mission_id})
    with services.runs.slot() as has_slot:
        outcome = await execute(
            request,
            mission_id,
            "send",
            answer=lambda state: _taken(services, state, message_id, who.actor),
            key=key,
            message_id=message_id,
            content=content,
            agent=(body.agent or "").strip() or None,
            run_id=new_id(),
            has_slot=has_slot,
            must_start=must_start,
        )
    if body.mission_id is not None:
        await services.missions.set_current(who.workspace_id, who.user_id, mission_id)
    return raw(outcome.answer.encode())


def _taken(services: Core, state: Any, message_id: str, by: str | None) -> dict[str, Any]:
    """The answer to a message: the id under which it is known, and whether it waits."""
    waiting = {queued for queued, _, _ in services.kinds[KIND].facts(state).queue}
    own = own_id(message_id, by)
    return {
        "id": own if own in waiting else message_id,
        "queued": not waiting.isdisjoint({own, message_id}),
        "warnings": [],
    }


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
    made = await create(request, wire.CreateMission(), key)
    return UUID(msgspec.json.decode(made.answer)["id"])


async def run_parallel(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/parallel: 409 when it runs already or every slot is taken."""
    body = await read(request, wire.Parallel)
    mission_id, content = identity(request), _content(body.content)
    await _send(request, mission_id, content, wire.SendMessage(content=content), must_start=True)
    return reply({"ok": True, "mission_id": str(mission_id)})


async def remove_queued(request: web.Request) -> web.Response:
    """DELETE /api/control/queue/:id"""
    services, message_id = core(request), request.match_info["id"]
    for row in await services.missions.busy(principal(request).workspace_id):
        if any(waiting == message_id for waiting, _, _ in facts_of(services, row).queue):
            await execute(request, row.id, "remove_queued", message_id=message_id)
            return reply({"ok": True})
    raise NotFound("message not in queue")


async def clear_queue(request: web.Request) -> web.Response:
    """DELETE /api/control/queue, or of one `?mission_id=`."""
    services, cleared = core(request), 0
    wanted = request.query.get("mission_id")
    for row in await services.missions.busy(principal(request).workspace_id):
        waiting = len(facts_of(services, row).queue)
        if waiting and wanted in (None, "", str(row.id)):
            await execute(request, row.id, "remove_queued")
            cleared += waiting
    return reply({"ok": True, "cleared": cleared})
