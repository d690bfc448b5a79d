"""GET /api/v1/journal/stream: entries as server-sent events, the newest ones first, then as they happen."""

from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from server.core import Core, core, principal
from server.dialects.crew import ids, journal
from server.dialects.crew.filters import Filters, filters_of
from server.sse import Attach, serve
from streams import sse
from streams.channels import Channel
from streams.cursor import Cursor, Opening
from streams.event import Event, Signal

SEED = 50
"""How many entries a stream begins with that does not resume."""


class JournalFrames:
    """Those entries of a channel that pass the filters. Their ids are positions, so one may resume from any of them."""

    is_whole = False
    lingers = False  # each filter has a feed of its own

    def __init__(self, filters: Filters) -> None:
        self._filters = filters

    def event(self, event: Event, prev: int) -> bytes:
        kind = self._filters.admits(event)
        if kind is None:
            return b""
        return sse.frame("entry", journal.entry(event, kind), ids.spell_entry(event.position))

    def signal(self, signal: Signal) -> bytes:
        return b""

    def heartbeat(self, through: int, head: int) -> bytes:
        return sse.heartbeat(ids.spell_entry(through), head)

    def notice(self, name: str, body: dict[str, Any]) -> bytes:
        return sse.frame(name, body)


class JournalFace(msgspec.Struct, frozen=True):
    """The journal's encoding for certain filters; equal filters share their feeds."""

    filters: Filters

    def __call__(self, channel: Channel, epoch: str) -> JournalFrames:
        return JournalFrames(self.filters)


async def stream_entries(request: web.Request) -> web.StreamResponse:
    """After `Last-Event-ID` everything newer, else the newest entries; then what happens, without a gap."""
    return await serve(request, *await _begin(request))


async def _begin(request: web.Request) -> tuple[Attach, bytes, dict[str, str]]:
    """How to attach, the first frames, the headers."""
    services, workspace_id = core(request), principal(request).workspace_id
    face = JournalFace(filters_of(request))
    channel = face.filters.channel(workspace_id)
    opening = await _opening(request, services, channel)
    cursor = opening.cursor
    first = sse.heartbeat(ids.spell_entry(cursor.position), opening.head) if cursor.position else b": empty\n\n"
    if opening.outcome != "resumed":
        newest, _ = await services.journal.page(
            workspace_id, face.filters.wanted(), before=cursor.position + 1, limit=SEED
        )
        frames = face(channel, cursor.epoch)
        first = b"".join(frames.event(event, 0) for event in reversed(newest)) + first
    attach = partial(services.hub.subscribe, channel=channel, face=face, cursor=cursor)
    return attach, first, {"X-Epoch": cursor.epoch}


async def _opening(request: web.Request, services: Core, channel: Channel) -> Opening:
    """From Last-Event-ID, if the log still has what follows it; else from now."""
    position = ids.read_entry(request.headers.get("Last-Event-ID", ""))
    if position is None:
        return await services.hub.opening(channel.workspace_id, None)
    follower = await services.hub.follower(channel.workspace_id)
    return await services.hub.opening(channel.workspace_id, Cursor(follower.epoch, position))
