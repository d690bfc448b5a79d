"""Raw streams over sockets of our own, to see what a client library would smooth over: frames, silence, the last byte."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from tests.conftest import TOKEN


class Block(NamedTuple):
    """One block of an event stream; a comment has neither event nor data."""

    event: str | None
    data: Any
    id: str | None
    comment: str | None


def block_of(text: str) -> Block:
    """Parse one block."""
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(": ")
        fields[name] = value
    data = fields.get("data")
    return Block(fields.get("event"), data and json.loads(data), fields.get("id"), fields.get(""))


class Tap:
    """One server-sent event stream over one TCP connection, chunked as HTTP/1.1 has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.blocks: list[Block] = []
        self.is_ended = False
        self._reader = reader
        self._writer = writer
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, port: int, query: str = "", token: str = TOKEN) -> "Tap":
        """Connect and ask for the control stream."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"GET /api/control/stream{query} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {token}\r\n\r\n"
        writer.write(head.encode())
        status = await reader.readline()
        assert b" 200 " in status, status
        while await reader.readline() != b"\r\n":
            pass
        return cls(reader, writer)

    async def _read(self) -> None:
        text = ""
        try:
            while size := int(await self._reader.readline() or b"0", 16):
                chunk = await self._reader.readexactly(size + 2)
                *blocks, text = (text + chunk[:-2].decode()).split("\n\n")
                self.blocks += map(block_of, blocks)
                self._changed.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.is_ended = True
            self._changed.set()

    async def until(self, wanted: Callable[[Block], object], within_seconds: float = 20.0) -> Block:
        """The first block that `wanted` likes, past or future."""
        async with asyncio.timeout(within_seconds):
            while True:
                for block in self.blocks:
                    if wanted(block):
                        return block
                assert not self.is_ended, self.blocks[-3:]
                self._changed.clear()
                await self._changed.wait()

    async def event(self, name: str, within_seconds: float = 20.0) -> Block:
        """The first block with this event name."""
        return await self.until(lambda block: block.event == name, within_seconds)

    async def end(self, within_seconds: float = 20.0) -> None:
        """Wait until the server has ended the stream."""
        async with asyncio.timeout(within_seconds):
            while not self.is_ended:
                self._changed.clear()
                await self._changed.wait()

    @property
    def positions(self) -> list[int]:
        """The positions of the events so far."""
        return [block.data["position"] for block in self.blocks if block.data and "position" in block.data]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()


class SocketTap:
    """One WebSocket, authenticated and subscribed to one timeline channel from a cursor."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.frames: list[Any] = []
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, http: ClientSession, channel: str, payload: dict[str, Any]) -> "SocketTap":
        """Connect, authenticate with a ticket, subscribe."""
        async with http.get("/api/v1/ws-token") as answer:
            token = (await answer.json())["token"]
        socket = await http.ws_connect("/ws")
        await socket.send_json({"type": "auth", "token": token})
        tap = cls(socket)
        await tap.subscribe(channel, payload)
        return tap

    async def subscribe(self, channel: str, payload: dict[str, Any]) -> None:
        await self.socket.send_json({"type": "subscribe", "channel": channel, "payload": payload})

    async def _read(self) -> None:
        async for message in self.socket:
            assert message.type is WSMsgType.TEXT, message
            self.frames.append(json.loads(message.data))
            self._changed.set()
        self._changed.set()

    async def until(self, wanted: Callable[[Any], object], within_seconds: float = 20.0) -> Any:
        """The first frame that `wanted` likes, past or future."""
        async with asyncio.timeout(within_seconds):
            while True:
                for frame in self.frames:
                    if wanted(frame):
                        return frame
                assert not self._task.done(), self.frames[-3:]
                self._changed.clear()
                await self._changed.wait()

    async def frame(self, type: str, within_seconds: float = 20.0) -> Any:
        """The first frame of this type."""
        return await self.until(lambda frame: frame["type"] == type, within_seconds)

    @property
    def positions(self) -> list[int]:
        """The positions of the events so far."""
        return [frame["seq"] for frame in self.frames if frame["type"] == "timeline.event"]

    async def close(self) -> None:
        await self.socket.close()
        await asyncio.gather(self._task, return_exceptions=True)


async def until(condition: Callable[[], Awaitable[object]], within_seconds: float = 20.0) -> Any:
    """Ask until the condition gives something true, and give that."""
    async with asyncio.timeout(within_seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.02)
        return found
