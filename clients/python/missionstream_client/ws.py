"""The WebSocket transport: one subscription to a timeline channel as a connection."""

import asyncio
from typing import Any

import aiohttp
import msgspec

from missionstream_client.cursor import Cursor
from missionstream_client.errors import (
    ApiError,
    AuthenticationError,
    ConnectionLostError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    error_of,
)
from missionstream_client.feed import Feed
from missionstream_client.items import Arrived, Closing, Item, Opening, Signalled, Through
from missionstream_client.model import Event, Signal
from missionstream_client.wire import NETWORK_ERRORS, Wire, decoded

MAX_FRAME_BYTES = 32 << 20

_ERRORS: dict[str, type[ApiError]] = {
    "access denied": NotFoundError,
    "access revoked": ForbiddenError,
    "invalid or expired ws-token": AuthenticationError,
    "session_revoked": AuthenticationError,
}
"""What the server says in error frames; any other text is taken as a passing failure."""

_CLOSE_CODES: dict[int, type[ApiError]] = {
    4400: ProtocolError,
    4401: AuthenticationError,
    4403: ForbiddenError,
    4404: NotFoundError,
}
"""Close codes after which coming back is useless."""


class _Frame(msgspec.Struct, frozen=True):
    type: str
    channel: str | None = None
    payload: msgspec.Raw = msgspec.Raw(b"null")
    prev: int | None = None
    through: int | None = None


class _Token(msgspec.Struct, frozen=True):
    token: str


class _Notice(msgspec.Struct, frozen=True):
    message: str | None = None
    error: str | None = None
    reason: str | None = None
    retry_ms: float | None = None


def item_of(text: str, channel: str, mission: str | None) -> Item | None:
    """What one text frame says about our channel; raises what an error frame stands for."""
    frame = decoded(text, _Frame)
    if frame.channel not in (None, channel):
        return None
    match frame.type:
        case "timeline.event" if frame.prev is not None:
            return Arrived(decoded(frame.payload, Event), frame.prev)
        case "timeline.signal":
            return Signalled(Signal.of(decoded(frame.payload, dict[str, Any]), mission_id=mission))
        case "ping" if frame.through is not None:
            return Through(frame.through)
        case "subscribed":
            return decoded(frame.payload, Opening).item()
        case "closing":
            notice = decoded(frame.payload, _Notice)
            retry_seconds = None if notice.retry_ms is None else notice.retry_ms / 1000
            return Closing(notice.reason or "the server closed the channel", retry_seconds)
        case "error" | "session_revoked":
            notice = decoded(frame.payload, _Notice)
            words = notice.message or notice.error or frame.type
            raise _ERRORS.get(words, ConnectionLostError)(words)
    return None


class Socket:
    """An open WebSocket with one subscription."""

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        channel: str,
        mission: str | None,
        silence_seconds: float,
    ) -> None:
        self._socket = socket
        self._channel = channel
        self._mission = mission
        self._silence_seconds = silence_seconds

    async def receive(self) -> Item:
        """See Connection."""
        while True:
            try:
                async with asyncio.timeout(self._silence_seconds):
                    message = await self._socket.receive()
            except TimeoutError as error:
                raise ConnectionLostError(f"the socket was silent for {self._silence_seconds:g} s") from error
            if message.type is not aiohttp.WSMsgType.TEXT:
                code = self._socket.close_code or 1006
                raise _CLOSE_CODES.get(code, ConnectionLostError)(f"the socket closed with {code}")
            item = item_of(message.data, self._channel, self._mission)
            if item is not None:
                return item

    async def aclose(self) -> None:
        """See Connection."""
        await self._socket.close()


async def open_socket(wire: Wire, feed: Feed, since: Cursor | None) -> Socket:
    """Fetch a ticket, connect, authenticate and subscribe after `since`, or at the head."""
    answer = await wire.exchange("GET", "/api/v1/ws-token", attempts=1)
    owner = feed.mission or answer.headers.get("X-Workspace-ID")
    if owner is None:
        raise ProtocolError("the server did not name the home workspace (X-Workspace-ID)")
    channel = f"timeline:{owner}"
    subscribe = {
        "type": "subscribe",
        "channel": channel,
        "payload": {"since": str(since)} if since else {},
    }
    try:
        async with asyncio.timeout(wire.timing.silence_seconds):
            socket = await wire.session.ws_connect(
                wire.url("/ws"),
                max_msg_size=MAX_FRAME_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            )
    except aiohttp.WSServerHandshakeError as error:
        retry_after = error.headers.get("Retry-After") if error.headers else None
        raise error_of(error.status, error.message, retry_after) from error
    except NETWORK_ERRORS as error:
        raise ConnectionLostError(f"the socket did not open: {error or type(error).__name__}") from error
    try:
        for frame in ({"type": "auth", "token": answer.into(_Token).token}, subscribe):
            await socket.send_str(msgspec.json.encode(frame).decode())
    except NETWORK_ERRORS as error:
        await socket.close()
        raise ConnectionLostError(f"the socket broke: {error or type(error).__name__}") from error
    except BaseException:
        await socket.close()
        raise
    return Socket(socket, channel, feed.mission, wire.timing.silence_seconds)
