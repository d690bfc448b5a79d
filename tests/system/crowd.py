"""Hundreds of raw event streams, cheaply: one selector, no parsing but of what a test asks for."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.conftest import TOKEN

_POSITION = re.compile(rb"\nid: [0-9a-z]+:(\d+)\ndata")
_BYTES = 1 << 18


class Member:
    """One stream over one socket; it reads only when told to."""

    def __init__(self, port: int, query: str = "", *, receive_bytes: int | None = None) -> None:
        self.text = bytearray()
        self.count = 0
        self.last = 0
        self.is_in_order = True
        self.is_ended = False
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.setblocking(False)
        self._tail = b""
        self._keep = False
        self._port = port
        self._query = query

    async def open(self) -> None:
        """Connect and ask; HTTP/1.0, so that the frames come bare."""
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, ("127.0.0.1", self._port))
        head = f"GET /api/control/stream{self._query} HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        await loop.sock_sendall(self.socket, head.encode())

    async def opened(self) -> None:
        """Read until the first frame has come."""
        loop = asyncio.get_running_loop()
        while b"\n\nid: " not in self.text:
            data = await loop.sock_recv(self.socket, 4_096)
            assert data, bytes(self.text)
            self.text += data
            self._count(data)

    def listen(self, keep: bool = False) -> None:
        """Read from now on, as bytes come. The positions are counted; `keep` keeps the text too."""
        self._keep = keep
        asyncio.get_running_loop().add_reader(self.socket, self._readable)

    def _readable(self) -> None:
        try:
            data = self.socket.recv(_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.is_ended = True
            asyncio.get_running_loop().remove_reader(self.socket)
            return
        if self._keep:
            self.text += data
        self._count(data)

    def _count(self, data: bytes) -> None:
        data = self._tail + data
        start = 0
        while (at := data.find(b"\nid: ", start)) >= 0:
            found = _POSITION.match(data, at)
            if found is None:
                if len(data) - at < 80:
                    break
                start = at + 1
                continue
            position = int(found[1])
            self.is_in_order &= position == self.last + 1 or self.last == 0
            self.last = position
            self.count += 1
            start = found.end()
        self._tail = data[max(start, len(data) - 80) :]

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.socket)
        self.socket.close()


@asynccontextmanager
async def crowd(members: Sequence[Member], at_once: int = 64) -> AsyncIterator[None]:
    """Open them all, and close them all at the end."""
    try:
        for start in range(0, len(members), at_once):
            some = members[start : start + at_once]
            await asyncio.gather(*(member.open() for member in some))
            await asyncio.gather(*(member.opened() for member in some))
        yield
    finally:
        for member in members:
            member.close()
