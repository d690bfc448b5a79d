"""The WebSocket: authenticate by the first frame, subscribe to channels, follow them from cursors."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast
from uuid import UUID

import msgspec
import structlog
from aiohttp import WSMsgType, web

from server.auth.principal import Principal
from server.body import parse
from server.core import Core, core, principal
from server.cursors import after_sequence
from server.errors import CLOSE_CODE
from server.routing import PUBLIC, Route
from server.sse import bound_kernel_buffer
from streams import websocket
from streams.channels import Channel
from streams.cursor import Cursor, Opening
from streams.errors import BadRequest, CursorLost, MissionstreamError, NotFound, Unauthenticated, Unavailable
from streams.feed import Face
from streams.subscriber import Buffer, Connection

AUTH_SECONDS = 10.0
MAX_FRAME_BYTES = 64 << 10
MAX_SUBSCRIPTIONS = 200
_TIMED_OUT = "no auth message received within 10s (handshake timed out)"
_BAD_AUTH = 'the first message must be {"type": "auth", "token": …}'
log = structlog.get_logger()

Resolver = Callable[[Core, Principal, str], Awaitable[tuple[Channel, Face]]]
"""From what stands after a channel's colon to the channel and its encoding.

Any refusal, whatever its reason, is told as the same `access denied`; only Unavailable is told as what it is.
"""
Channels = Mapping[str, Resolver]
CHANNELS = web.AppKey("channels", Channels)
"""The channels that this server has, by what stands before the colon."""


class Frame(msgspec.Struct):
    """What a client sends."""

    type: str
    channel: str | None = None
    payload: Any = None
    token: str | None = None


async def ws_token(request: web.Request) -> web.Response:
    """GET /api/v1/ws-token: 15 minutes, reusable, only for /ws."""
    who = principal(request)
    token = await core(request).authenticator.ws_token(who)
    return web.json_response({"token": token}, headers={"X-Workspace-ID": str(who.workspace_id)})


async def open_socket(request: web.Request) -> web.StreamResponse:
    """GET /ws"""
    services = core(request)
    services.authenticator.check_connect(request)
    response = web.WebSocketResponse(max_msg_size=MAX_FRAME_BYTES, compress=False, timeout=5.0, autoclose=True)
    if not response.can_prepare(request):
        raise BadRequest("this is a WebSocket endpoint; connect with an Upgrade request")
    await response.prepare(request)
    transport = request.transport
    if transport is None:
        return response
    bound_kernel_buffer(transport)
    connection = Connection(cast(asyncio.WriteTransport, transport), "ws", is_chunked=False)
    session = Session(request, response, connection)
    try:
        await session.run()
    finally:
        services.hub.forget(connection)
    return response


class Session:
    """One socket: its principal and its subscriptions. Reading frames and reading the log go on side by side."""

    __slots__ = ("_connection", "_request", "_response", "_who")

    def __init__(self, request: web.Request, response: web.WebSocketResponse, connection: Connection) -> None:
        self._request = request
        self._response = response
        self._connection = connection
        self._who: Principal | None = None
        connection.farewell_frame = _closing

    @property
    def _services(self) -> Core:
        return core(self._request)

    async def run(self) -> None:
        """Serve until either side closes."""
        if not await self._authenticate():
            return
        self._services.hub.connections[self._connection] = self
        receiving = asyncio.create_task(self._receive(), name="socket frames")
        receiving.add_done_callback(lambda _: self._connection.close())
        try:
            await self._connection.serve()
        except Exception:
            self._failed()
        finally:
            receiving.cancel()
            await asyncio.wait({receiving})
            if not self._response.closed:
                with contextlib.suppress(ConnectionError, TimeoutError):
                    await self._response.close(code=self._connection.close_code)

    def _failed(self) -> None:
        """Say a defect to the log, and that it was one to the client."""
        log.exception("socket.failed")
        self._connection.close_code = CLOSE_CODE["internal"]

    async def _authenticate(self) -> bool:
        try:
            async with asyncio.timeout(AUTH_SECONDS):
                message = await self._response.receive()
        except TimeoutError:
            await self._refuse(_TIMED_OUT, 4401)
            return False
        frame = _frame(message.data) if message.type in (WSMsgType.TEXT, WSMsgType.BINARY) else None
        if frame is None or frame.type != "auth" or not frame.token:
            await self._refuse(_BAD_AUTH, 4401)
            return False
        try:
            self._who = await self._services.authenticator.ws_principal(frame.token)
            self._who.require("stream:view")
        except Unauthenticated:
            await self._refuse("invalid or expired ws-token", 4401)
            return False
        except MissionstreamError as error:
            await self._refuse(error.message, CLOSE_CODE.get(error.kind, 4500))
            return False
        self._connection.owner = self._who
        return True

    async def _refuse(self, message: str, code: int) -> None:
        if not self._response.closed:
            with contextlib.suppress(ConnectionError):
                await self._response.send_json({"type": "error", "payload": {"message": message, "error": message}})
                await self._response.close(code=code, message=message.encode()[:120])

    async def _receive(self) -> None:
        try:
            await self._act()
        except Exception:
            self._failed()

    async def _act(self) -> None:
        async for message in self._response:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            frame = _frame(message.data)
            if frame is None:
                self._say_error("malformed message frame")
                continue
            act = _ACTIONS.get(frame.type)
            if act is None:
                self._say_error(f"unknown message type: {frame.type[:64]}", frame.channel)
                continue
            try:
                await act(self, frame)
            except Unavailable as error:
                self._say_error(error.message, frame.channel)
            except MissionstreamError:
                self._say_error("access denied", frame.channel)

    def _say(self, body: dict[str, Any]) -> None:
        if self._connection.is_over_budget:  # it asks without reading what it is told
            self._connection.close_code = CLOSE_CODE["limit"]
            self._connection.close()
            return
        self._connection.write(Buffer(websocket.frame(body)))

    def _say_error(self, text: str, channel: str | None = None) -> None:
        body: dict[str, Any] = {"type": "error", "payload": {"message": text, "error": text}}
        self._say(body if channel is None else {**body, "channel": channel[:128]})

    def ping(self) -> None:
        """Prove that the socket lives, as crew's own server does."""
        self._say({"type": "ping", "payload": None})

    async def _pong(self, frame: Frame) -> None:
        self._say({"type": "pong", "payload": None})

    async def _unsubscribe(self, frame: Frame) -> None:
        subscriber = self._connection.subscribers.get(frame.channel)
        if subscriber is not None:
            subscriber.detach()

    async def _chat(self, frame: Frame) -> None:
        """There is no chat here; whoever tries to talk is told so on the channel of the talk."""
        payload = frame.payload
        if isinstance(payload, str):
            payload = parse(payload.encode(errors="replace"))
        session = payload.get("session_id") if isinstance(payload, dict) else None
        self._say_error("chat not available", f"session:{session}" if isinstance(session, str) else frame.channel)

    async def _subscribe(self, frame: Frame) -> None:
        """Attach to a channel; with a cursor in the payload it is answered, and replays from there."""
        name = frame.channel or ""
        if not name or (name in self._connection.subscribers and not frame.payload):
            return
        if len(self._connection.subscribers) >= MAX_SUBSCRIPTIONS:
            self._say_error(f"at most {MAX_SUBSCRIPTIONS} subscriptions on one connection", name)
            return
        channel, face = await self._channel(name)
        asked = frame.payload if isinstance(frame.payload, dict) else {}
        hub = self._services.hub
        opening = await self._opening(channel, asked)
        if name in self._connection.subscribers:
            self._connection.subscribers[name].detach()
        if asked:
            self._say({"type": "subscribed", "channel": name, "payload": opening.body()})
        await hub.subscribe(self._connection, channel, face, opening.cursor, key=name)

    async def _channel(self, name: str) -> tuple[Channel, Face]:
        """The channel of a name, if this principal may see it."""
        prefix, _, text = name.partition(":")
        assert self._who is not None
        resolve = self._request.app[CHANNELS].get(prefix)
        if resolve is None:
            raise NotFound
        return await resolve(self._services, self._who, text)

    async def recheck(self, workspace_id: UUID) -> None:
        """Rights in a workspace have changed: drop the channels there that may be seen no more. May raise Unavailable."""
        for name, subscriber in list(self._connection.subscribers.items()):
            if subscriber.feed.channel.workspace_id == workspace_id:
                try:
                    await self._channel(name)
                except Unavailable:
                    raise
                except MissionstreamError:
                    subscriber.detach()
                    self._say_error("access revoked", name)

    async def _opening(self, channel: Channel, asked: dict[str, Any]) -> Opening:
        """Where the channel starts; a cursor that cannot be gone on from resets it, with the reason."""
        hub, sequence = self._services.hub, asked.get("since_seq")
        try:
            if isinstance(asked.get("since"), str):
                return await hub.opening(channel.workspace_id, Cursor.parse(asked["since"]))
            if channel.kind == "mission" and isinstance(sequence, int) and not isinstance(sequence, bool):
                since = await after_sequence(self._services, channel.workspace_id, channel.id, sequence)
                return await hub.opening(channel.workspace_id, since)
        except (BadRequest, CursorLost) as error:
            return await hub.reset(channel.workspace_id, error)
        return await hub.opening(channel.workspace_id, None)


_ACTIONS: Mapping[str, Callable[[Session, Frame], Any]] = {
    "ping": Session._pong,
    "subscribe": Session._subscribe,
    "unsubscribe": Session._unsubscribe,
    "send_message": Session._chat,
    "cancel_message": Session._chat,
    "resume": Session._chat,
}


def _closing(body: dict[str, Any]) -> bytes:
    """The last word. Crew's own clients know another one for a session that has ended."""
    closing = websocket.frame({"type": "closing", "payload": body})
    if body["code"] != CLOSE_CODE["auth"]:
        return closing
    revoked = {"message": "session_revoked", "reason": body["reason"]}
    return websocket.frame({"type": "session_revoked", "payload": revoked}) + closing


def _frame(data: str | bytes) -> Frame | None:
    try:
        return msgspec.convert(parse(data.encode(errors="replace") if isinstance(data, str) else data), Frame)
    except (msgspec.ValidationError, MissionstreamError):
        return None


ROUTES = (Route("GET", "/ws", open_socket, PUBLIC),)
