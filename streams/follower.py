"""Follows one workspace: applies its events in order to the feeds, and repairs from the log what hints missed."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import structlog

from streams.channels import Channel, channels_of
from streams.errors import MissionstreamError, Unavailable
from streams.event import Event, Signal
from streams.feed import FLUSH_GAP_SECONDS, Face, Feed
from streams.reader import Head, Log
from streams.ring import RING_BYTES

_RETRY_SECONDS = 0.5
log = structlog.get_logger()


class Follower:
    """The feeds of one workspace in this process.

    `applied` is the position up to which every event was given to the feeds, in order, exactly once. Hints may be
    lost, doubled or late: the log is the truth, the follower repairs.
    """

    def __init__(
        self,
        channel: Channel,
        source: Log,
        head: Head,
        *,
        on_flush: Callable[[float], None],
        on_apply: Callable[[Sequence[Event]], None] = lambda events: None,
        gap_seconds: float = FLUSH_GAP_SECONDS,
        ring_bytes: int = RING_BYTES,
    ) -> None:
        self.channel = channel
        self.epoch = head.epoch
        self.floor = head.floor
        self.rights_version = head.rights_version
        self.applied = head.head
        self.head = head.head
        self.is_stale = False
        self.repairs = 0
        self.feeds: dict[tuple[Channel, Face], Feed] = {}
        self._by_channel: dict[Channel, list[Feed]] = {}
        self._log = source
        self._on_flush = on_flush
        self._on_apply = on_apply
        self._gap_seconds = gap_seconds
        self._ring_bytes = ring_bytes
        self._waiters: dict[Channel, set[asyncio.Future[None]]] = {}
        self._repair: asyncio.Task[None] | None = None
        self._is_poked = False
        self._priming: dict[tuple[Channel, Face], asyncio.Task[None]] = {}

    def apply(self, events: Sequence[Event]) -> None:
        """Take published events, in order of position; a hole before them is read from the log at once."""
        first, last = events[0].position, events[-1].position
        self.head = max(self.head, last)
        if first > self.applied + 1 or self._repair is not None:
            self.hint(last)
            return
        for event in events:
            if event.position == self.applied + 1:
                self.applied = event.position
                for channel in channels_of(event):
                    for feed in tuple(self._by_channel.get(channel, ())):
                        self._give(feed, event)
                    for waiter in self._waiters.pop(channel, ()):
                        if not waiter.done():
                            waiter.set_result(None)
        self._on_apply(events)

    def _give(self, feed: Feed, event: Event) -> None:
        try:
            feed.append(event)
        except Exception:  # one encoding's fault must cost the other feeds nothing
            log.exception("feed.failed", channel=str(feed.channel), type=event.type)
            feed.fail()

    @contextmanager
    def waiting(self, channel: Channel) -> "Iterator[asyncio.Future[None]]":
        """A future that the channel's next event ends. Taken before reading the log, it misses nothing."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(channel, set()).add(waiter)
        try:
            yield waiter
        finally:
            waiting = self._waiters.get(channel)
            if waiting is not None:
                waiting.discard(waiter)
                if not waiting:
                    del self._waiters[channel]

    def hint(self, position: int) -> None:
        """Hear that the workspace has reached `position`."""
        self.head = max(self.head, position)
        self._is_poked = True
        if self.head > self.applied and self._repair is None:
            self._repair = asyncio.create_task(self._catch_up(), name=f"repair {self.channel}")

    async def _catch_up(self) -> None:
        try:
            while self.applied < self.head:
                self.repairs += 1
                self._is_poked = False
                try:
                    page = await self._log.after(self.channel, self.applied, until=self.head)
                except Unavailable:
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                if not page.events:
                    if self._is_poked:
                        continue  # something was published while we read
                    break  # the hint ran ahead of what is visible; the next one, or the tick, asks again
                repair, self._repair = self._repair, None
                self.apply(page.events)
                self._repair = repair
        except MissionstreamError:
            log.exception("follower.repair_failed", channel=str(self.channel))
        finally:
            self._repair = None

    def signal(self, signal: Signal) -> None:
        """Push a signal to the feeds of its mission and of the workspace."""
        for channel in (self.channel, Channel(signal.workspace_id, "mission", signal.stream_id)):
            for feed in self._by_channel.get(channel, ()):
                feed.signal(signal)

    async def feed(self, channel: Channel, face: Face) -> Feed:
        """The feed of a channel in an encoding, made when first asked for. May raise Unavailable."""
        key = (channel, face)
        feed = self.feeds.get(key)
        if feed is None:
            feed = Feed(
                channel,
                face(channel, self.epoch),
                self._log,
                at=self.applied,
                on_flush=self._on_flush,
                gap_seconds=self._gap_seconds,
                ring_bytes=self._ring_bytes,
            )
            # registered before the first await: from here on it takes every event that is applied
            self.feeds[key] = feed
            if not feed.encoding.lingers:
                feed.on_left = partial(self.drop, key)
            self._by_channel.setdefault(channel, []).append(feed)
            self._priming[key] = asyncio.create_task(self._prime(key, feed, self.applied))
        priming = self._priming.get(key)
        if priming is not None:
            await asyncio.shield(priming)
        return feed

    async def _prime(self, key: tuple[Channel, Face], feed: Feed, at: int) -> None:
        try:
            await feed.prime(at)
        except BaseException:  # a feed that was never primed would take events for ever and give none
            self.drop(key)
            raise
        finally:
            self._priming.pop(key, None)

    def drop(self, key: tuple[Channel, Face]) -> None:
        """Forget a feed that has no subscribers."""
        feed = self.feeds.pop(key, None)
        if feed is not None:
            feeds = self._by_channel[feed.channel]
            feeds.remove(feed)
            if not feeds:
                del self._by_channel[feed.channel]

    def close(self) -> None:
        """Stop repairing."""
        if self._repair is not None:
            self._repair.cancel()
