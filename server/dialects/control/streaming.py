"""GET /api/control/stream: the control stream, from a cursor or from now."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from server.body import number
from server.core import Core, core
from server.cursors import after_sequence
from server.dialects.control.errors import CORS
from server.dialects.control.frames import ControlFrames
from server.dialects.control.reading import channel_of
from server.sse import Attach, serve
from server.timeline import TimelineSse
from storage.missions import MissionRow
from streams import sse
from streams.channels import Channel
from streams.cursor import Cursor, Opening
from streams.errors import BadRequest, CursorLost, Unavailable
from streams.feed import Face

_FACES: Mapping[str, Face] = {"control": ControlFrames, "timeline": TimelineSse}


async def stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events. Once authenticated always 200: overload or a lost database is a frame and a clean end."""
    return await serve(request, *await _begin(request))


async def _begin(request: web.Request) -> tuple[Attach | None, bytes, dict[str, str]]:
    """How to attach, the first frames, the headers. All else is forgotten before the stream's long life begins."""
    services = core(request)
    face = _FACES.get(request.query.get("format", "control"))
    if face is None:
        raise BadRequest(f"format is one of {', '.join(_FACES)}")
    try:
        channel = channel_of(request)
        rows = await services.openings.rows(channel)
        opening = await _opening(request, services, channel)
    except Unavailable as error:
        closing = {"code": 4503, "reason": error.message, "retry_ms": 1_000}
        first = sse.frame("status", {"type": "status", "state": "idle", "queue_len": 0})
        return None, first + sse.frame("closed", closing), CORS
    status = {"type": "status", **_state(services, rows), "stream": opening.body()}
    first = sse.frame("status", status) + sse.cursor_block(str(opening.cursor))
    attach = partial(services.hub.subscribe, channel=channel, face=face, cursor=opening.cursor)
    return attach, first, CORS | {"X-Epoch": opening.cursor.epoch}


async def _opening(request: web.Request, services: Core, channel: Channel) -> Opening:
    """From `since`, else Last-Event-ID, else `since_seq` of a mission, else from now; a lost cursor resets."""
    hub, workspace_id = services.hub, channel.workspace_id
    text = request.query.get("since") or request.headers.get("Last-Event-ID")
    sequence = request.query.get("since_seq")
    try:
        if text:
            return await hub.opening(workspace_id, Cursor.parse(text))
        if sequence and channel.kind == "mission":
            since = await after_sequence(services, workspace_id, channel.id, number(request, "since_seq", 0))
            return await hub.opening(workspace_id, since)
    except (BadRequest, CursorLost) as error:
        return await hub.reset(workspace_id, error)
    return await hub.opening(workspace_id, None)


def _state(services: Core, rows: Sequence[MissionRow]) -> dict[str, Any]:
    """What the first frame says: the state of the mission, or of the busiest one of the workspace."""
    running = next((row for row in rows if row.run_id is not None), None)
    if running is None:
        return {"state": "idle", "queue_len": sum(row.queued for row in rows)}
    state = services.hub.signals.body(running.id, "status").get("state", "running")
    return {"state": state, "queue_len": running.queued, "mission_id": str(running.id)}
