"""A feed: one channel in one encoding. Its recent frames as bytes, and the flush that pushes them."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from streams.channels import Channel
from streams.event import Event, Signal
from streams.reader import Log
from streams.ring import RING_BYTES, Piece, Ring
from streams.subscriber import MAX_FLUSH_BYTES, PIECE_BYTES, Buffer, Subscriber

FLUSH_GAP_SECONDS = 0.005
GAP_PER_LONE_FLUSH = 3.0
"""A large feed waits this many times as long as its flush took, divided by the frames that shared it: a flush of one costs
as much as one of many, and the more there are, the less is won by waiting for another."""
MOST_PATIENCE_SECONDS = 0.025
"""How long it may be on that account: where all is slow, nobody shall wait long for two to share."""
LEAST_GAP_PER_FLUSH = 0.5
"""However many frames shared it, a feed has at most two thirds of the event loop."""
MOST_GAP_SECONDS = 0.1
SLICE = 128
KEPT_PIECES = 8
MOST_PIECES = 64
_MOST_ENDS = 256
LOOK_BACK = 100
"""How many positions a new feed goes back from its last event, to find the last one that had frames."""


class Encoding(Protocol):
    """Turns events into whole frames for one feed; owned by a dialect. Pure: the same event gives the same bytes."""

    is_whole: bool
    """Whether every event has frames."""
    lingers: bool
    """Whether its feed waits for readers that come back, and takes events meanwhile."""

    def event(self, event: Event, prev: int) -> bytes:
        """The frames of one event, joined; `prev` is the position of the event before it in this feed that had any.

        An encoding that leaves an event out gives no bytes for it.
        """

    def signal(self, signal: Signal) -> bytes:
        """The frame of a signal; empty where this encoding has none."""

    def heartbeat(self, through: int, head: int) -> bytes:
        """Proof of life: everything of this feed up to `through` was sent."""

    def notice(self, name: str, body: dict[str, Any]) -> bytes:
        """A frame about the stream itself: `stale`, `closed`."""


Face = Callable[[Channel, str], Encoding]
"""Makes the encoding of a channel in an epoch; feeds are shared by those who name the same face."""


class Feed:
    """A channel in one encoding, within one epoch.

    `flushed` is the position up to which everything of the feed was pushed to live subscribers. The flush joins what
    is new into one buffer and writes it once to each subscriber's transport: no task, queue or copy per subscriber.
    """

    def __init__(
        self,
        channel: Channel,
        encoding: Encoding,
        log: Log,
        *,
        at: int,
        on_flush: Callable[[float], None],
        gap_seconds: float = FLUSH_GAP_SECONDS,
        ring_bytes: int = RING_BYTES,
    ) -> None:
        self.channel = channel
        self.encoding = encoding
        self.flushed = at
        self.subscribers: dict[Subscriber, None] = {}
        self.ring: Ring | None = None
        self._prev = at
        self._loading = asyncio.Lock()
        self._loaded: dict[int, Piece] = {}
        self._prevs: dict[int, int] = {}
        """Of an encoding that leaves events out: where a piece ended, and the last event before with frames."""
        self.on_left: Callable[[], None] | None = None
        """Hears that the last subscriber has gone."""
        self._log = log
        self._on_flush = on_flush
        """Hears how long the oldest event of a flush had waited when the last subscriber was written to."""
        self._ring_bytes = ring_bytes
        self._backlog: list[Event] = []
        self._pending: list[bytes] = []
        self._pending_first = 0
        self._pending_since = 0.0
        self._gap_seconds = self._least_gap_seconds = gap_seconds
        self._flush_began = 0.0
        self._frames = 1
        """How many shared the last flush."""
        self._flushed_at = 0.0
        self._flushing_since = 0.0
        self._is_scheduled = False
        self._loop = asyncio.get_running_loop()

    async def prime(self, at: int) -> None:
        """Find out what came before `at`, where the feed was made; frames can be encoded from now on."""
        last = await self._log.before(self.channel, at)
        # an event without frames is nobody's predecessor: who comes from before it would miss it
        prev = last if self.encoding.is_whole else await self._last_with_frames(last)
        self.ring = Ring(last, last, self._ring_bytes)
        self._prev = prev
        backlog, self._backlog = self._backlog, []
        for event in backlog:
            self.append(event)

    async def _last_with_frames(self, last: int) -> int:
        """The last event up to `last` that has frames; 0, which misleads nobody, when it is none of those just before."""
        page = await self._log.after(self.channel, max(0, last - LOOK_BACK), until=last)
        if not page.events or page.events[-1].position < last:
            return 0
        return next((event.position for event in reversed(page.events) if self.encoding.event(event, 0)), 0)

    def append(self, event: Event) -> None:
        """Take the next event of the channel."""
        if self.ring is None:
            self._backlog.append(event)
            return
        frames = self.encoding.event(event, self._prev)
        if not frames:
            self.ring.last = event.position
            return  # the next frames or the next heartbeat move the cursors past it
        self._prev = event.position
        self.ring.append(event.position, frames)
        if not self._pending_first:
            self._pending_first, self._pending_since = event.position, self._loop.time()
        self._push(frames)

    def signal(self, signal: Signal) -> None:
        """Push a signal to live subscribers; it moves no cursor and is not kept."""
        if self.ring is not None and self.subscribers and (frame := self.encoding.signal(signal)):
            self._push(frame)

    def _push(self, frames: bytes) -> None:
        self._pending.append(frames)
        if not self._is_scheduled:
            self._is_scheduled = True
            wait = self._flushed_at + self._gap_seconds - self._loop.time()
            if wait <= 0:
                self._loop.call_soon(self._flush)
            else:
                self._loop.call_later(wait, self._flush)

    def _flush(self) -> None:
        assert self.ring is not None
        self._flush_began = self._loop.time()
        self._frames = len(self._pending)
        buffer = Buffer(b"".join(self._pending))
        first, before, after = self._pending_first, self.flushed, self.flushed
        if first:
            after = self.ring.last
        self._pending, self._pending_first, self.flushed = [], 0, max(before, after)
        self._flushing_since = self._pending_since if first else 0.0
        self._write(list(self.subscribers), 0, buffer, first, before, after)

    def _write(
        self, subscribers: list[Subscriber], start: int, buffer: "Buffer", first: int, before: int, after: int
    ) -> None:
        """Write to one slice of the subscribers, then yield to the loop; one flush of a feed at a time."""
        fits = len(buffer.bare) <= MAX_FLUSH_BYTES
        for subscriber in subscribers[start : start + SLICE]:
            if not subscriber.is_live:
                continue
            if not first:
                subscriber.say(buffer)
            elif fits and before <= subscriber.cursor < first:
                subscriber.push(buffer, after)
            elif subscriber.cursor < after:
                subscriber.fall_behind()  # it has a part of this buffer already, or lacks more than this
        if start + SLICE < len(subscribers):
            self._loop.call_soon(self._write, subscribers, start + SLICE, buffer, first, before, after)
            return
        self._flushed_at = self._loop.time()  # the gap counts from here, and is longer after a long flush
        took = self._flushed_at - self._flush_began
        patience = min(took * GAP_PER_LONE_FLUSH / self._frames, MOST_PATIENCE_SECONDS)
        rest = min(took * LEAST_GAP_PER_FLUSH, MOST_GAP_SECONDS)
        self._gap_seconds = max(self._least_gap_seconds, patience, rest)
        if first and subscribers:
            self._on_flush(self._flushed_at - self._flushing_since)
        if self._pending:
            self._loop.call_later(self._gap_seconds, self._flush)
        else:
            self._is_scheduled = False

    async def piece(self, cursor: int) -> Piece:
        """What follows `cursor`, up to what was flushed: from the ring, else from the log, read once for a herd."""
        piece = self._at_hand(cursor)
        if piece is None:
            async with self._loading:
                piece = self._at_hand(cursor) or await self._load(cursor)
        return piece

    def _at_hand(self, cursor: int) -> Piece | None:
        assert self.ring is not None
        return self.ring.after(cursor, self.flushed, PIECE_BYTES) or self._loaded.get(cursor)

    async def _load(self, cursor: int) -> Piece:
        """Read from the log; the last few pieces are kept, since those who fell behind together ask for the same ones."""
        assert self.ring is not None
        ring = self.ring
        until = self.flushed
        page = await self._log.after(self.channel, cursor, until=until, max_bytes=PIECE_BYTES)
        # page.prev may have had no frames; whoever comes from the piece before this one was never at it
        prev, entries = self._prevs.get(cursor, page.prev), []
        for event in page.events:
            if frames := self.encoding.event(event, prev):
                entries.append((event.position, frames))
                prev = event.position
        last = page.events[-1].position if page.events else until
        if page.events and last >= ring.floor:
            ring.prepend(cursor, [entry for entry in entries if entry[0] <= ring.floor])
        piece = Piece(b"".join(frames for _, frames in entries), last)
        self._loaded[cursor] = piece
        while (
            len(self._loaded) > MOST_PIECES
            or sum(len(kept.frames) for kept in self._loaded.values()) > KEPT_PIECES * PIECE_BYTES
        ):
            del self._loaded[next(iter(self._loaded))]
        if not self.encoding.is_whole:
            self._prevs[last] = prev
            if len(self._prevs) > _MOST_ENDS:
                del self._prevs[next(iter(self._prevs))]
        return piece

    async def heartbeat(self, applied: int, head: int) -> None:
        """Tell every subscriber that the feed lives, and those who have all of it up to where; in slices."""
        if all(subscriber.is_live for subscriber in self.subscribers):
            self._loaded.clear()
        if self._pending_first:
            return  # the flush that comes is proof enough
        beat = Buffer(self.encoding.heartbeat(applied, head))
        for number, subscriber in enumerate(list(self.subscribers), 1):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            if subscriber.is_live and self.flushed <= subscriber.cursor <= applied:
                subscriber.push(beat, applied)
            else:
                subscriber.say(Buffer(self.encoding.heartbeat(subscriber.cursor, head)))

    def fail(self) -> None:
        """The encoding has failed: its subscribers come back with their cursors, to a feed made anew."""
        for subscriber in list(self.subscribers):
            subscriber.connection.farewell(4500, "internal", 1_000)

    def notice(self, name: str, body: dict[str, Any]) -> None:
        """Write a frame about the stream itself to every subscriber that can take it."""
        buffer = Buffer(self.encoding.notice(name, body))
        for subscriber in list(self.subscribers):
            subscriber.say(buffer)
