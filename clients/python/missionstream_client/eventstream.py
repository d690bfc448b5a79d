"""The SSE transport: GET /api/control/stream as a connection."""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

import aiohttp
import msgspec

from missionstream_client.cursor import Cursor
from missionstream_client.errors import ConnectionLostError, ProtocolError
from missionstream_client.feed import Feed
from missionstream_client.items import Arrived, Closing, Item, Opening, Signalled, Through
from missionstream_client.model import Event, Signal
from missionstream_client.sse import Block, Comment, SseParser
from missionstream_client.wire import NETWORK_ERRORS, Wire, decoded, refusal


class _Previous(msgspec.Struct, frozen=True):
    prev: int


class _StatusData(msgspec.Struct, frozen=True):
    stream: Opening | None = None


class _ClosedData(msgspec.Struct, frozen=True):
    reason: str | None = None
    retry_ms: float | None = None


def items_of(block: Block | Comment) -> Iterator[Item]:
    """What one block of the timeline format says; nothing for comments, which only prove life."""
    match block:
        case Block(data=None, id=str(cursor)):
            epoch, position = Cursor.sent(cursor)
            yield Through(position, epoch)
        case Block(event=_, data=str(data), id=str(cursor)):
            yield Arrived(decoded(data, Event), decoded(data, _Previous).prev, Cursor.sent(cursor).epoch)
        case Block(event="closed", data=str(data)):
            closed = decoded(data, _ClosedData)
            yield Closing(closed.reason or "the server closed the stream", _seconds(closed.retry_ms))
        case Block(event=str(name), data=str(data)):
            if name == "status" and (opening := decoded(data, _StatusData).stream) is not None:
                yield opening.item()
            yield Signalled(Signal.of(decoded(data, dict[str, Any]), event_type=name))


def _seconds(retry_ms: float | None) -> float | None:
    return None if retry_ms is None else retry_ms / 1000


class EventStream:
    """An open event stream. It reads only when asked, so a slow consumer slows the socket, not the memory."""

    def __init__(self, response: aiohttp.ClientResponse, silence_seconds: float) -> None:
        self._response = response
        self._silence_seconds = silence_seconds
        self._parser = SseParser()
        self._items: deque[Item] = deque()

    async def receive(self) -> Item:
        """See Connection."""
        while not self._items:
            for block in self._parser.feed(await self._read()):
                self._items.extend(items_of(block))
        return self._items.popleft()

    async def _read(self) -> bytes:
        try:
            async with asyncio.timeout(self._silence_seconds):
                data = await self._response.content.readany()
        except TimeoutError as error:
            raise ConnectionLostError(f"the stream was silent for {self._silence_seconds:g} s") from error
        except NETWORK_ERRORS as error:
            raise ConnectionLostError(f"the stream broke: {error or type(error).__name__}") from error
        if not data:
            raise ConnectionLostError("the stream ended")
        return data

    async def aclose(self) -> None:
        """See Connection."""
        self._response.close()


async def open_event_stream(wire: Wire, feed: Feed, since: Cursor | None) -> EventStream:
    """Open the feed after `since`, or at the head."""
    params = {"format": "timeline", "mission": feed.mission, "since": since and str(since)}
    try:
        async with asyncio.timeout(wire.timing.silence_seconds):
            response = await wire.session.get(
                wire.url("/api/control/stream"),
                params={name: value for name, value in params.items() if value is not None},
                headers=wire.headers() | {"Accept": "text/event-stream"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=wire.timing.connect_seconds),
                allow_redirects=False,
            )
            if response.status >= 300:
                async with response:
                    raise refusal(response, await response.read())
    except NETWORK_ERRORS as error:
        raise ConnectionLostError(f"the stream did not open: {error or type(error).__name__}") from error
    if response.content_type != "text/event-stream":
        response.close()
        raise ProtocolError(f"{response.content_type} instead of an event stream")
    return EventStream(response, wire.timing.silence_seconds)
