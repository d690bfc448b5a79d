"""The in-memory hub of this process: followers, subscriptions, signals, and the tick that finds lost hints."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import structlog

from streams.bus import Bus
from streams.bus.memory import MemoryBus
from streams.channels import Channel
from streams.cursor import Cursor, Opening
from streams.errors import CursorLost, MissionstreamError, Unavailable
from streams.event import Event, Signal
from streams.feed import FLUSH_GAP_SECONDS, SLICE, Face
from streams.follower import Follower
from streams.reader import Head, Log
from streams.ring import RING_BYTES
from streams.signals import SignalBoard
from streams.subscriber import Connection, Subscriber

HEARTBEAT_SECONDS = 3.0
RESEND_SECONDS = 2.0
PING_SECONDS = 30.0
_LINGER_SECONDS = 30.0
_LOOK_SECONDS = 2.0
log = structlog.get_logger()


async def _nothing() -> None:
    return None


class Census(NamedTuple):
    """Who is here: connections by transport, subscribers by state, and the largest number of events to catch up on."""

    connections: dict[str, int]
    subscribers: dict[str, int]
    lag: int
    repairs: int


class Guarded(Protocol):
    """Whoever may have to drop some of a connection's subscriptions and keep the others."""

    async def recheck(self, workspace_id: UUID) -> None:
        """Rights in a workspace have changed. Raises Unavailable when it cannot be known how."""

    def ping(self) -> None:
        """Prove that the connection lives, which no channel does for it."""


class Hub:
    """Fans events out within this process.

    Promises: a subscriber gets every event of its channel after its cursor, once, in order. A slow one costs a
    bounded number of bytes and slows nobody. Hints may be lost: the tick asks the database for heads.
    """

    def __init__(
        self,
        source: Log,
        *,
        bus: Bus | None = None,
        gap_seconds: float = FLUSH_GAP_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        ring_bytes: int = RING_BYTES,
    ) -> None:
        self.connections: dict[Connection, Guarded | None] = {}
        """Everybody's connection, with what looks after its subscriptions where something does."""
        self.signals = SignalBoard(self._emit)
        self.on_rights_change: Callable[[UUID], None] = lambda workspace_id: None
        self.on_apply: Callable[[UUID, Sequence[Event]], None] = lambda workspace_id, events: None
        self.on_look: Callable[[], Awaitable[None]] = _nothing
        self._log = source
        self._bus: Bus = bus or MemoryBus()
        self.on_flush: Callable[[float], None] = lambda seconds: None
        self._gap_seconds = gap_seconds
        self._ring_bytes = ring_bytes
        self._heartbeat_seconds = heartbeat_seconds
        self._followers: dict[UUID, Follower] = {}
        self._opening: dict[UUID, asyncio.Task[Follower]] = {}
        self._missed: dict[UUID, int] = {}
        self._idle_since: dict[tuple[Channel, Face], float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    # lifetime

    async def start(self) -> None:
        """Begin to hear the bus, and to tick."""
        await self._bus.start(self.hint, self.signals.put)
        self._tasks = [
            asyncio.create_task(self._every(self._heartbeat_seconds, self._beat), name="hub heartbeat"),
            asyncio.create_task(self._every(self._heartbeat_seconds, self._look), name="hub look"),
            asyncio.create_task(self._every(RESEND_SECONDS, self._resend), name="hub resend"),
            asyncio.create_task(self._every(PING_SECONDS, self._ping), name="hub ping"),
        ]

    async def close(self) -> None:
        """Stop; connections must have been closed by then."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for follower in self._followers.values():
            follower.close()
        await self._bus.close()

    # publishing

    def publish(self, workspace_id: UUID, events: Sequence[Event]) -> None:
        """Hear of committed events, in order of position. Never blocks, never raises: they are facts already."""
        self._bus.hint(workspace_id, events[-1].position)
        follower = self._followers.get(workspace_id)
        if follower is not None:
            try:
                follower.apply(events)
            except Exception:
                log.exception("hub.publish_failed", workspace_id=str(workspace_id))
        elif workspace_id in self._opening:
            self._missed[workspace_id] = events[-1].position

    def hint(self, workspace_id: UUID, position: int) -> None:
        """Hear from another process that a workspace has reached `position`."""
        follower = self._followers.get(workspace_id)
        if follower is not None:
            follower.hint(position)

    def signal(self, signal: Signal) -> None:
        """Set a mission's current signal; it goes out conflated."""
        self.signals.put(signal)
        self._bus.signal(signal)

    def _emit(self, signal: Signal) -> None:
        follower = self._followers.get(signal.workspace_id)
        if follower is not None:
            follower.signal(signal)

    # subscribing

    async def follower(self, workspace_id: UUID) -> Follower:
        """The follower of a workspace; made, from one reading of its head, when first needed."""
        follower = self._followers.get(workspace_id)
        if follower is not None:
            return follower
        opening = self._opening.get(workspace_id)
        if opening is None:
            opening = self._opening[workspace_id] = asyncio.create_task(self._open(workspace_id))
        return await asyncio.shield(opening)

    async def _open(self, workspace_id: UUID) -> Follower:
        try:
            head = await self._log.head(workspace_id)
            follower = Follower(
                Channel(workspace_id, "workspace", workspace_id),
                self._log,
                head,
                on_flush=lambda seconds: self.on_flush(seconds),
                on_apply=lambda events: self.on_apply(workspace_id, events),
                gap_seconds=self._gap_seconds,
                ring_bytes=self._ring_bytes,
            )
            self._followers[workspace_id] = follower
            follower.hint(self._missed.pop(workspace_id, 0))
            return follower
        finally:
            self._opening.pop(workspace_id, None)
            self._missed.pop(workspace_id, None)

    async def opening(self, workspace_id: UUID, since: Cursor | None) -> Opening:
        """Decide where a stream starts. A lost cursor is no error here: the stream is reset to the head."""
        follower = await self.follower(workspace_id)
        now = Cursor(follower.epoch, follower.applied)
        if since is None:
            return Opening("fresh", None, now, follower.head)
        try:
            if since.position > follower.head:
                follower.hint((await self._log.head(workspace_id)).head)
            since.check(epoch=follower.epoch, floor=follower.floor, head=follower.head)
        except CursorLost as error:
            return await self.reset(workspace_id, error)
        return Opening("resumed", None, since, follower.head)

    async def reset(self, workspace_id: UUID, reason: MissionstreamError) -> Opening:
        """A start at the head, for a reader whose cursor is lost or cannot be read."""
        follower = await self.follower(workspace_id)
        return Opening("reset", reason.code, Cursor(follower.epoch, follower.applied), follower.head)

    async def subscribe(
        self, connection: Connection, channel: Channel, face: Face, cursor: Cursor, *, key: Any = None
    ) -> Subscriber:
        """Attach a connection to a channel, from a cursor that `opening` gave. It begins as a reader of the log."""
        follower = await self.follower(channel.workspace_id)
        if cursor.epoch != follower.epoch:
            raise Unavailable("the history changed just now; connect again")
        while (feed := await follower.feed(channel, face)) is not follower.feeds.get((channel, face)):
            pass  # its last subscriber left while we waited for it
        subscriber = Subscriber(connection, feed, cursor.position, key if key is not None else (channel, face))
        if connection.is_closed:
            return subscriber
        feed.subscribers[subscriber] = None
        connection.subscribers[subscriber.key] = subscriber
        self.connections.setdefault(connection, None)
        connection.wake()
        return subscriber

    def forget(self, connection: Connection) -> None:
        """Close a connection and drop it from the hub."""
        connection.close()
        self.connections.pop(connection, None)

    def census(self) -> Census:
        """Count connections and subscribers."""
        connections = Counter(connection.kind for connection in self.connections)
        subscribers = {"live": 0, "reading": 0}
        lag = 0
        for follower in self._followers.values():
            for feed in follower.feeds.values():
                for subscriber in feed.subscribers:
                    subscribers["live" if subscriber.is_live else "reading"] += 1
                    lag = max(lag, feed.flushed - subscriber.cursor)
        repairs = sum(follower.repairs for follower in self._followers.values())
        return Census({"sse": 0, "ws": 0, **connections}, subscribers, lag, repairs)

    # ticking

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception:
                log.exception("hub.tick_failed")

    async def _resend(self) -> None:
        self.signals.resend()

    async def _ping(self) -> None:
        """Connections with channels have their heartbeats."""
        silent = [guarded for connection, guarded in self.connections.items() if not connection.subscribers]
        for number, guarded in enumerate(silent, 1):
            if guarded is not None:
                guarded.ping()
            if number % SLICE == 0:
                await asyncio.sleep(0)

    async def _beat(self) -> None:
        """Heartbeats and dead peers: nothing here waits for the database."""
        now = asyncio.get_running_loop().time()
        for follower in list(self._followers.values()):
            for feed in list(follower.feeds.values()):
                if feed.ring is not None:
                    await feed.heartbeat(follower.applied, follower.head)
            self._drop_idle(follower, now)
        for connection in list(self.connections):
            connection.check(now)

    async def _look(self) -> None:
        """Ask the database, once for all workspaces, for lost hints, changed rights and another history."""
        applied = {workspace_id: follower.applied for workspace_id, follower in self._followers.items()}
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                heads = await self._log.heads(applied) if applied else {}
        except (MissionstreamError, TimeoutError):
            heads = None
        for workspace_id, follower in list(self._followers.items()):
            self._set_stale(follower, heads is None)
            if heads is not None and workspace_id in heads and workspace_id in applied:
                await self._compare(workspace_id, follower, heads[workspace_id], applied[workspace_id])
        await self.on_look()

    async def _compare(self, workspace_id: UUID, follower: Follower, head: Head, applied: int) -> None:
        if head.epoch != follower.epoch or head.head < applied:
            log.warning("hub.history_changed", workspace_id=str(workspace_id), head=head.head, applied=applied)
            del self._followers[workspace_id]
            follower.close()
            for feed in follower.feeds.values():
                for subscriber in list(feed.subscribers):
                    subscriber.connection.farewell(4409, "other_epoch", 1_000)
            return
        follower.floor = head.floor
        follower.hint(head.head)
        if head.rights_version != follower.rights_version:
            follower.rights_version = head.rights_version
            self.on_rights_change(workspace_id)

    def _set_stale(self, follower: Follower, is_stale: bool) -> None:
        if follower.is_stale != is_stale:
            follower.is_stale = is_stale
            for feed in follower.feeds.values():
                feed.notice("stale", {"stale": is_stale})

    def _drop_idle(self, follower: Follower, now: float) -> None:
        for key, feed in list(follower.feeds.items()):
            if feed.subscribers or feed.ring is None:
                self._idle_since.pop(key, None)
            elif now - self._idle_since.setdefault(key, now) > _LINGER_SECONDS:
                follower.drop(key)
                self._idle_since.pop(key, None)
