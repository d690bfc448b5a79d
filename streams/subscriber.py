"""One client's connection, its subscribers, and the coroutine that reads the log for those that are behind."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from streams.errors import CursorLost, Unavailable

if TYPE_CHECKING:
    from streams.feed import Feed

BUDGET_BYTES = 64 << 10
PIECE_BYTES = 64 << 10
MAX_FLUSH_BYTES = 1 << 20
"""A larger flush is read in pieces, so that a slow reader holds its budget and no more than this. It is as large as a
ring, since whoever falls behind before a larger one finds the rest only in the log."""
STALL_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = (0.005, 0.25)
log = structlog.get_logger()


class Buffer:
    """Bytes for many transports: bare, or with the chunk framing that is added once for all chunked responses."""

    __slots__ = ("_chunked", "bare")

    def __init__(self, bare: bytes) -> None:
        self.bare = bare
        self._chunked = b""

    @property
    def chunked(self) -> bytes:
        if not self._chunked:
            self._chunked = b"%x\r\n%b\r\n" % (len(self.bare), self.bare)
        return self._chunked


class Connection:
    """A transport that several subscribers may share: one byte budget, one reading coroutine, O(1) memory.

    `serve` returns when the connection is closed by either side. A client that takes no byte for 30 s is cut;
    a slow one just reads the log at its own pace.
    """

    __slots__ = (
        "_sleep", "_taken", "_taken_at", "_written", "budget_bytes", "close_code", "farewell_frame", "is_chunked",
        "is_closed", "kind", "owner", "subscribers", "transport",
    )  # fmt: skip

    def __init__(
        self, transport: asyncio.WriteTransport, kind: str, *, is_chunked: bool, budget_bytes: int = BUDGET_BYTES
    ) -> None:
        self.transport = transport
        self.kind = kind
        self.is_chunked = is_chunked
        self.subscribers: dict[Any, Subscriber] = {}
        self.owner: Any = None
        """Whose connection it is; only the server's layers read it."""
        self.is_closed = False
        self.close_code = 1000
        self.farewell_frame: Callable[[dict[str, Any]], bytes] | None = None
        """How this transport says its last word; set by whoever opened it."""
        self.budget_bytes = budget_bytes
        self._sleep: asyncio.Future[None] | None = None
        self._written = 0
        self._taken = 0
        self._taken_at = asyncio.get_running_loop().time()

    @property
    def is_over_budget(self) -> bool:
        return self.transport.get_write_buffer_size() > self.budget_bytes

    def write(self, buffer: Buffer) -> None:
        """Write now, whatever the budget says; a dead transport is only marked."""
        data = buffer.chunked if self.is_chunked else buffer.bare
        transport = self.transport
        try:
            if transport.is_closing():
                self.close()
            else:
                transport.write(data)
                self._written += len(data)
        except Exception as error:  # one bad transport must never stop a flush; uvloop raises on a closed one
            log.debug("connection.write_failed", error=repr(error))
            self.close()

    def check(self, now: float) -> None:
        """Notice a client that is gone, and cut one that has taken no byte for STALL_SECONDS."""
        if self.transport.is_closing():
            self.close()
            return
        buffered = self.transport.get_write_buffer_size()
        taken = self._written - buffered
        if buffered == 0 or taken != self._taken:
            self._taken, self._taken_at = taken, now
        elif now - self._taken_at > STALL_SECONDS:
            log.info("connection.stalled", buffered=buffered)
            self.close()
            self.transport.abort()

    def close(self) -> None:
        """Detach all subscribers and let `serve` return."""
        if not self.is_closed:
            self.is_closed = True
            for subscriber in list(self.subscribers.values()):
                subscriber.detach()
            self.wake()

    def farewell(self, code: int, reason: str, retry_ms: int) -> None:
        """Say why and when to come back, then close. A reader over its budget is just closed."""
        self.close_code = code
        if self.farewell_frame is not None and not self.is_closed and not self.is_over_budget:
            self.write(Buffer(self.farewell_frame({"code": code, "reason": reason, "retry_ms": retry_ms})))
        self.close()

    def wake(self) -> None:
        """Let `serve` look again. It looks at everything before it sleeps, so a wake that finds it awake is not lost."""
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(None)

    async def serve(self) -> None:
        """Read the log for whoever is behind, until the connection is closed."""
        pause = _LOOK_AGAIN_SECONDS[0]
        try:
            while not self.is_closed:
                behind = [subscriber for subscriber in self.subscribers.values() if not subscriber.is_live]
                if not behind:
                    self._sleep = asyncio.get_running_loop().create_future()
                    await self._sleep
                    continue
                if self.is_over_budget or not await self._read(behind):
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LOOK_AGAIN_SECONDS[1])
                else:
                    pause = _LOOK_AGAIN_SECONDS[0]
                    await asyncio.sleep(0)  # let the loop send, and others have their turn
        finally:
            self.close()

    async def _read(self, behind: "list[Subscriber]") -> bool:
        """One piece for each in turn; False when the log cannot be read now."""
        for subscriber in behind:
            try:
                await subscriber.read()
            except Unavailable:
                return False
            except CursorLost as error:  # retention was quicker than this reader
                self.farewell(4409, error.code, 1_000)
                return True
            if self.is_closed or self.is_over_budget:
                break
        return True


class Subscriber:
    """One live connection on one feed. `cursor` is the position up to which everything was written to its transport.

    Live: the flush writes to it. Not live (reading): its connection's coroutine follows the read law, from the ring
    or the log, until its cursor has reached what the feed has flushed.
    """

    __slots__ = ("connection", "cursor", "feed", "is_live", "key", "on_detach")

    def __init__(self, connection: Connection, feed: "Feed", cursor: int, key: Any) -> None:
        self.connection = connection
        self.feed = feed
        self.cursor = cursor
        self.key = key
        self.is_live = False
        self.on_detach: Callable[[Subscriber], None] | None = None

    def push(self, buffer: Buffer, cursor: int) -> None:
        """Write, and move the cursor. Above its budget it falls behind instead."""
        connection = self.connection
        if connection.transport.get_write_buffer_size() > connection.budget_bytes:
            self.fall_behind()
        else:
            self.cursor = cursor
            connection.write(buffer)

    def say(self, buffer: Buffer) -> None:
        """Write what moves no cursor; a reader over its budget does without."""
        if not self.connection.is_over_budget:
            self.connection.write(buffer)

    def fall_behind(self) -> None:
        if self.is_live:
            self.is_live = False
            self.connection.wake()

    async def read(self) -> None:
        """Write the next piece, or go live in one step without an await when nothing is left."""
        if self.cursor >= self.feed.flushed:
            self.is_live = True
            return
        piece = await self.feed.piece(self.cursor)
        if self.connection.subscribers.get(self.key) is self:  # another may have taken the key meanwhile
            self.cursor = piece.cursor
            if piece.frames:
                self.connection.write(Buffer(piece.frames))

    def detach(self) -> None:
        """Leave the feed; nothing more is written."""
        self.is_live = False
        self.feed.subscribers.pop(self, None)
        self.connection.subscribers.pop(self.key, None)
        if self.feed.on_left is not None and not self.feed.subscribers:
            self.feed.on_left()
        if self.on_detach is not None:
            self.on_detach(self)
