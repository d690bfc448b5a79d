"""A small server of the same wire, on a real socket, that goes wrong exactly as it is told to."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
from aiohttp import web

TOKEN = "token-for-tests"
WORKSPACE = "0b0f8f1e-0000-4000-8000-00000000aaaa"
HEARTBEAT_SECONDS = 0.03


@dataclass(frozen=True)
class Refuse:
    """Answer with a status."""

    status: int
    text: str = "not now"
    retry_after: str | None = None


@dataclass(frozen=True)
class Drop:
    """Cut the connection without an answer; `is_done`: after doing what was asked."""

    is_done: bool = False


@dataclass(frozen=True)
class Slow:
    """Never answer."""


@dataclass(frozen=True)
class End:
    """Open as if all were well, then end cleanly; with `has_status`, after the first frame."""

    has_status: bool = False


@dataclass(frozen=True)
class Cut:
    """Send `after` events, then half of the next, then cut the connection."""

    after: int = 0


@dataclass(frozen=True)
class Close:
    """Send `after` events, then say goodbye and close."""

    after: int = 0
    retry_ms: int = 1


@dataclass(frozen=True)
class Silence:
    """Send `after` events, then nothing more, not even heartbeats."""

    after: int = 0


@dataclass(frozen=True)
class Lose:
    """Leave these positions out, as if frames could get lost."""

    positions: frozenset[int]


@dataclass(frozen=True)
class Repeat:
    """Send every event twice."""


Fault = Refuse | Drop | Slow | End | Cut | Close | Silence | Lose | Repeat


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
FAULT: web.RequestKey[Any] = web.RequestKey("fault", object)


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value)


class FakeServer:
    """`stream_faults` and `call_faults` are used up, one for each opening of a stream and each call."""

    def __init__(self) -> None:
        self.epoch = "e1"
        self.floor = 0
        self.log: list[dict[str, Any]] = []
        self.missions: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, Any] = {}
        self.stream_faults: deque[Fault] = deque()
        self.call_faults: deque[Fault] = deque()
        self.requests: list[tuple[str, str]] = []
        self.keys: list[str | None] = []
        self.signals: list[dict[str, Any]] = []
        self.open_streams = 0
        self.port = 0
        self._news = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def head(self) -> int:
        return self.floor + len(self.log)

    async def start(self) -> None:
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/api/health", self._health),
                web.post("/api/auth/login", self._login),
                web.get("/api/control/missions", self._list),
                web.post("/api/control/missions", self._create),
                web.get("/api/control/missions/{id}", self._get),
                web.delete("/api/control/missions/{id}", self._delete),
                web.get("/api/control/missions/{id}/events", self._mission_events),
                web.get("/api/control/missions/{id}/snapshot", self._snapshot),
                web.post("/api/control/missions/{id}/events", self._append),
                web.post("/api/control/missions/{id}/{verb}", self._act),
                web.post("/api/control/message", self._message),
                web.post("/api/control/tool_result", self._tool_result),
                web.get("/api/control/running", self._running),
                web.get("/api/control/events", self._feed),
                web.get("/api/control/stream", self._stream),
                web.get("/api/v1/ws-token", self._ticket),
                web.get("/ws", self._socket),
            ]
        )
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.05)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = runner.addresses[0][1]
        self._runner = runner

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def happen(self, mission: str, count: int = 1, event_type: str = "thinking") -> list[int]:
        """Let `count` events happen; their positions."""
        positions = []
        for _ in range(count):
            sequence = 1 + sum(event["mission_id"] == mission for event in self.log)
            positions.append(self.head + 1)
            self.log.append(
                {
                    "id": self.head + 1,
                    "position": self.head + 1,
                    "mission_id": mission,
                    "sequence": sequence,
                    "event_type": event_type,
                    "timestamp": "2026-11-22T10:00:00.000Z",
                    "event_id": None,
                    "tool_call_id": None,
                    "tool_name": None,
                    "content": f"grüße {sequence}\r\n\u2028",
                    "metadata": {"done": True},
                    "actor": None,
                    "something_new": 1,
                }
            )
        async with self._news:
            self._news.notify_all()
        return positions

    def after(self, position: int, mission: str | None) -> list[tuple[dict[str, Any], int]]:
        """The feed's events after a position, each with the position before it."""
        feed = [event for event in self.log if mission in (None, event["mission_id"])]
        before = [0, *(event["position"] for event in feed)]
        pairs = zip(feed, before, strict=False)
        return [(event, prev) for event, prev in pairs if event["position"] > position]

    def opening(self, since: str | None) -> tuple[int, dict[str, Any]]:
        outcome, reason, position = "resumed", None, self.head
        if since is None:
            outcome = "fresh"
        elif (lost := self._lost(since)) is not None:
            outcome, reason = "reset", lost[1]
        else:
            position = int(since.partition(":")[2])
        cursor = f"{self.epoch}:{position}"
        return position, {"outcome": outcome, "reason": reason, "cursor": cursor, "head": self.head}

    def _lost(self, since: str) -> tuple[int, str] | None:
        epoch, _, position = since.partition(":")
        if epoch != self.epoch:
            return 409, "another epoch"
        if int(position) < self.floor:
            return 410, "below the floor"
        return (409, "ahead of the log") if int(position) > self.head else None

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        if request.method == "POST":
            self.keys.append(request.headers.get("Idempotency-Key"))
        is_open = request.path in ("/ws", "/api/health", "/api/auth/login")
        if not is_open and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401, text="Invalid or expired token")
        is_stream = request.path in ("/ws", "/api/control/stream")
        faults = self.stream_faults if is_stream else self.call_faults
        fault = faults.popleft() if faults else None
        request[FAULT] = fault
        match fault:
            case Refuse(status, text, retry_after):
                headers = {"Retry-After": retry_after} if retry_after else {}
                return web.Response(status=status, text=text, headers=headers)
            case Slow():
                await asyncio.Event().wait()
            case Drop(is_done):
                if is_done:
                    await handler(request)
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
        return await handler(request)

    # Calls

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "version": "1", "auth_required": True, "dev_mode": False})

    async def _login(self, request: web.Request) -> web.Response:
        if (await request.json())["password"] != "secret":
            return web.Response(status=401, text="Invalid password")
        return web.json_response({"token": TOKEN, "exp": 2_000_000_000})

    def _mission(self, request: web.Request) -> dict[str, Any]:
        mission = self.missions.get(request.match_info["id"])
        if mission is None:
            raise web.HTTPNotFound(text="Mission not found")
        return mission

    async def _list(self, request: web.Request) -> web.Response:
        status = request.query.get("status")
        found = [mission for mission in self.missions.values() if status in (None, mission["status"])]
        offset, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", 50))
        return web.json_response(found[offset : offset + limit])

    async def _create(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        if key not in self.answers:
            mission = {
                "id": str(uuid4()),
                "status": "pending",
                "title": None,
                "history": [],
                "created_at": "2026-11-22T10:00:00.000Z",
                "updated_at": "2026-11-22T10:00:00+00:00",
                "resumable": False,
                **await request.json(),
            }
            self.missions[mission["id"]] = self.answers[key] = mission
        return web.json_response(self.answers[key])

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self._mission(request))

    async def _delete(self, request: web.Request) -> web.Response:
        mission = self._mission(request)
        if mission["status"] == "active":
            return web.Response(status=409, text="Mission is running")
        del self.missions[mission["id"]]
        return web.json_response({"ok": True, "deleted": mission["id"]})

    async def _act(self, request: web.Request) -> web.Response:
        mission = self._mission(request)
        body = await request.json()
        statuses = {"cancel": "interrupted", "resume": "active", "status": body.get("status")}
        mission["status"] = statuses[request.match_info["verb"]]
        return web.json_response(mission if request.match_info["verb"] == "resume" else {"ok": True})

    async def _message(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.answers.setdefault(body["client_message_id"], []).append(body)
        return web.json_response({"id": body["client_message_id"], "queued": False, "warnings": []})

    async def _tool_result(self, request: web.Request) -> web.Response:
        self.answers["tool_result"] = await request.json()
        return web.json_response({"ok": True})

    async def _running(self, _: web.Request) -> web.Response:
        rows = [{"mission_id": "m", "state": "running", "queue_len": 0, "health": {"status": "healthy"}}]
        return web.json_response(rows)

    async def _append(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        if key not in self.answers:
            placed = []
            for draft in (await request.json())["events"]:
                await self.happen(request.match_info["id"], 1, draft["event_type"])
                self.log[-1] |= draft
                numbers = {name: self.log[-1][name] for name in ("event_id", "sequence", "position")}
                placed.append(numbers)
            self.answers[key] = {"events": placed}
        return web.json_response(self.answers[key])

    async def _mission_events(self, request: web.Request) -> web.Response:
        events = [event for event, _ in self.after(self.floor, request.match_info["id"])]
        top = events[-1]["sequence"] if events else 0
        limit = int(request.query.get("limit", 50_000))
        if "before_seq" in request.query:
            events = [event for event in events if event["sequence"] < int(request.query["before_seq"])][-limit:]
        else:
            since_seq = int(request.query.get("since_seq", 0))
            events = [event for event in events if event["sequence"] > since_seq][:limit]
        types = request.query.get("types")
        events = [event for event in events if types is None or event["event_type"] in types.split(",")]
        headers = {"X-Max-Sequence": str(top), "X-Total-Events": str(top), "X-Epoch": self.epoch}
        return web.json_response(events, headers=headers)

    async def _snapshot(self, request: web.Request) -> web.Response:
        mission = self._mission(request)
        events = [event for event, _ in self.after(0, mission["id"])]
        body = {
            "mission": mission,
            "events": events,
            "event_counts": {"thinking": len(events)},
            "visibility_counts": {"history": len(events)},
            "total_events": len(events),
            "latest_sequence": len(events),
            "cursor": f"{self.epoch}:{self.head}",
            "child_missions": [],
            "running": None,
            "signals": self.signals,
        }
        return web.json_response(body)

    async def _feed(self, request: web.Request) -> web.StreamResponse:
        since, mission = request.query.get("since"), request.query.get("mission")
        if since is not None and (lost := self._lost(since)) is not None:
            return web.Response(status=lost[0], text=lost[1])
        position = self.floor if since is None else int(since.partition(":")[2])
        if isinstance(request[FAULT], Repeat):
            position = max(self.floor, position - 3)
        if not self.after(position, mission):
            await self._wait(float(request.query.get("wait", 0)))
        events = [event for event, _ in self.after(position, mission)][: int(request.query["limit"])]
        is_full = len(events) == int(request.query["limit"])
        through = events[-1]["position"] if is_full else self.head
        body = encoded({"events": events, "cursor": f"{self.epoch}:{through}", "head": self.head})
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        if isinstance(request[FAULT], Cut):
            await response.write(body[: len(body) // 2])
            await asyncio.sleep(0)
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(body)
        return response

    # Streams

    async def steps(
        self, position: int, mission: str | None, fault: Fault | None
    ) -> AsyncIterator[tuple[str, Any, int]]:
        """What to send on any stream: (event | half | close | signal | through, value, prev)."""
        sent = 0
        for signal in self.signals:
            yield "signal", signal, 0
        while True:
            for event, prev in self.after(position, mission):
                match fault:
                    case Cut(after) if sent == after:
                        yield "half", event, prev
                        return
                    case Close(after, retry_ms) if sent == after:
                        yield "close", {"code": 4503, "reason": "draining", "retry_ms": retry_ms}, 0
                        return
                    case Silence(after) if sent == after:
                        await asyncio.Event().wait()
                if not (isinstance(fault, Lose) and event["position"] in fault.positions):
                    yield "event", event, prev
                if isinstance(fault, Repeat):
                    yield "event", event, prev
                position = event["position"]
                sent += 1
            await self._wait(HEARTBEAT_SECONDS)
            if not self.after(position, mission):
                position = self.head
                yield "through", position, 0

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        assert request.query["format"] == "timeline"
        fault, mission = request[FAULT], request.query.get("mission")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if fault == End(has_status=False):
            return response
        position, stream = self.opening(request.query.get("since") or request.headers.get("Last-Event-ID"))
        status = {"state": "idle", "queue_len": 0, "mission_id": mission, "stream": stream}
        await response.write(b"event: status\ndata: " + encoded(status) + b"\n\n")
        await response.write(f"id: {stream['cursor']}\n\n".encode())
        if fault == End(has_status=True):
            return response
        self.open_streams += 1
        try:
            async for kind, value, prev in self.steps(position, mission, fault):
                await response.write(self._block(kind, value, prev))
                if kind == "half":
                    # An orderly close in the middle of a chunked body: the half frame does arrive.
                    assert request.transport is not None
                    request.transport.close()
            return response
        finally:
            self.open_streams -= 1

    def _block(self, kind: str, value: Any, prev: int) -> bytes:
        match kind:
            case "signal":
                data = encoded(value | {"signal": True})
                return f"event: {value['event_type']}\n".encode() + b"data: " + data + b"\n\n"
            case "through":
                return f": heartbeat head={self.head}\n\nid: {self.epoch}:{value}\n\n".encode()
            case "close":
                return b"event: closed\ndata: " + encoded(value) + b"\n\n"
        head = f"event: {value['event_type']}\nid: {self.epoch}:{value['position']}\ndata: ".encode()
        block = head + encoded(value | {"prev": prev}) + b"\n\n"
        return block[: len(block) // 2] if kind == "half" else block

    async def _ticket(self, _: web.Request) -> web.Response:
        return web.json_response({"token": "ticket"}, headers={"X-Workspace-ID": WORKSPACE})

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        fault = request[FAULT]
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        auth = await socket.receive_json()
        if auth != {"type": "auth", "token": "ticket"}:
            await socket.send_json({"type": "error", "payload": {"message": "invalid or expired ws-token"}})
            return socket
        subscribe = await socket.receive_json()
        channel = subscribe["channel"]
        if fault == End(has_status=False):
            return socket
        owner = channel.removeprefix("timeline:")
        if owner not in (WORKSPACE, *self.missions):
            words = {"message": "access denied", "error": "access denied"}
            await socket.send_json({"type": "error", "channel": channel, "payload": words})
            await socket.receive()
            return socket
        position, opening = self.opening(subscribe["payload"].get("since"))
        await socket.send_json({"type": "subscribed", "channel": channel, "payload": opening})
        if fault == End(has_status=True):
            return socket
        self.open_streams += 1
        sender = asyncio.create_task(
            self._send(request, socket, channel, position, None if owner == WORKSPACE else owner)
        )
        try:
            while (await socket.receive()).type is aiohttp.WSMsgType.TEXT and not sender.done():
                pass
        finally:
            sender.cancel()
            await asyncio.wait([sender])
            self.open_streams -= 1
        return socket

    async def _send(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        channel: str,
        position: int,
        mission: str | None,
    ) -> None:
        async for kind, value, prev in self.steps(position, mission, request[FAULT]):
            frame: dict[str, Any] = {"channel": channel, "payload": value}
            match kind:
                case "event":
                    frame |= {"type": "timeline.event", "seq": value["position"], "prev": prev, "n": 0}
                case "signal":
                    frame |= {"type": "timeline.signal"}
                case "through":
                    frame |= {"type": "ping", "payload": None, "head": self.head, "through": value}
                case "close":
                    await socket.send_json({"type": "closing", "payload": value})
                    await socket.close(code=4503)
                    return
                case "half":
                    # A text frame that promises 100 bytes and brings 2.
                    assert request.transport is not None
                    request.transport.write(b"\x81\x64{}")
                    request.transport.close()
                    return
            await socket.send_str(encoded(frame).decode())
