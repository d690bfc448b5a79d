"""A follow: one feed as an endless iterator that survives cut connections, on any transport."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, cast

from missionstream_client.cursor import Cursor
from missionstream_client.errors import ApiError, ConnectionLostError, CursorLostError
from missionstream_client.eventstream import open_event_stream
from missionstream_client.feed import Feed, cursor_after, feed_page
from missionstream_client.items import Arrived, Closing, Connection, Item, Opened, Signalled
from missionstream_client.poll import open_poll
from missionstream_client.tracker import Tracker, Verdict, repair_items
from missionstream_client.wire import Wire
from missionstream_client.ws import open_socket

Transport = Literal["sse", "ws", "poll"]
OnReset = Literal["raise", "continue"]
Since = str | int | None
T = TypeVar("T")

OPENERS: Mapping[Transport, Callable[[Wire, Feed, Cursor | None], Awaitable[Connection]]] = {
    "sse": open_event_stream,
    "ws": open_socket,
    "poll": open_poll,
}

logger = logging.getLogger("missionstream_client")


class Follow(Generic[T]):
    """Every event of a feed after a cursor, each exactly once and in order, until it is closed.

    It reads only when asked for the next event and starts no task; cancelling a read loses nothing, and the
    next read goes on. Lost connections are opened again from the cursor. What waiting cannot mend ends it
    with an error: 401, 403, 404 and, unless `on_reset` is "continue", CursorLostError.

    `reconnects` counts the openings after the first.
    """

    def __init__(
        self,
        wire: Wire,
        feed: Feed,
        since: Since,
        *,
        transport: Transport = "sse",
        has_signals: bool = False,
        on_reset: OnReset = "raise",
        when_closed: Callable[["Follow[T]"], None] = lambda _: None,
    ) -> None:
        if isinstance(since, int) and (feed.mission is None or since < 0):
            raise ValueError("a sequence, 0 or more, is a place in one mission; follow a workspace by cursor")
        self.reconnects = 0
        self._wire = wire
        self._feed = feed
        self._since_sequence = since if isinstance(since, int) else None
        self._tracker = Tracker(Cursor.parse(since) if isinstance(since, str) else None)
        self._open = OPENERS[transport]
        self._has_signals = has_signals
        self._on_reset = on_reset
        self._when_closed = when_closed
        self._connection: Connection | None = None
        self._pending: deque[Item] = deque()
        self._backoff = wire.timing.backoff()
        self._retry_at = 0.0
        self._opened_at: float | None = None
        self._is_opened_once = False
        self._is_closed = False

    @property
    def cursor(self) -> str | None:
        """Up to where everything was handed out; None before the first opening.

        Give it to a later follow, on any transport.
        """
        return None if self._tracker.cursor is None else str(self._tracker.cursor)

    @property
    def gap_count(self) -> int:
        """How often events were missing on the wire and read from the log instead; 0 is expected."""
        return self._tracker.gap_count

    @property
    def duplicate_count(self) -> int:
        """How many events came again and were dropped."""
        return self._tracker.duplicate_count

    @property
    def outcome(self) -> str | None:
        """How the last opening went: fresh, resumed or reset; None before it."""
        return self._tracker.outcome

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._is_closed:
            try:
                shown = await self._judge(await self._next_item())
            except ApiError as error:
                if not error.is_transient:
                    await self.aclose()
                    raise
                await self._lost(error)
            else:
                if shown is not None:
                    return cast(T, shown)
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection and end the iteration; safe to repeat."""
        self._is_closed = True
        self._when_closed(self)
        await self._disconnect()

    async def _next_item(self) -> Item:
        if self._pending:
            return self._pending.popleft()
        if self._connection is None:
            await self._connect()
        assert self._connection is not None
        return await self._connection.receive()

    async def _connect(self) -> None:
        await asyncio.sleep(max(0.0, self._retry_at - _now()))
        if self._since_sequence is not None:
            assert self._feed.mission is not None
            self._tracker.cursor = await cursor_after(self._wire, self._feed.mission, self._since_sequence)
            self._since_sequence = None
        self._connection = await self._open(self._wire, self._feed, self._tracker.cursor)
        if self._is_closed:
            raise ConnectionLostError("closed while it opened")

    async def _judge(self, item: Item) -> Any:
        """What of this item is for the consumer, or None."""
        verdict = self._tracker.take(item)
        match item:
            case Arrived(event) if verdict is Verdict.NEWS:
                self._backoff.reset()
                return event
            case Arrived() if verdict is Verdict.GAP:
                await self._repair(item)
            case Signalled(signal):
                return signal if self._has_signals else None
            case Opened():
                self._opened(item, is_reset=verdict is Verdict.RESET)
            case Closing(reason, retry_seconds):
                raise ConnectionLostError(reason, retry_after=retry_seconds)
        if verdict is Verdict.FOREIGN:
            raise ConnectionLostError("the server began another epoch")
        return None

    def _opened(self, item: Opened, *, is_reset: bool) -> None:
        self.reconnects += self._is_opened_once
        self._is_opened_once = True
        self._opened_at = _now()
        if not is_reset:
            return
        if self._on_reset == "raise":
            raise CursorLostError(item.reason or "", lost=self.cursor, cursor=str(item.cursor))
        logger.warning("cursor %s lost (%s), going on from %s", self.cursor, item.reason, item.cursor)
        self._tracker.restart(item)

    async def _repair(self, held: Arrived) -> None:
        """Read what is missing before `held` from the log; `held` itself waits behind it."""
        self._pending.appendleft(held)
        cursor = self._tracker.cursor
        assert cursor is not None
        logger.warning("gap after %s: the next event on the wire follows %d", cursor, held.prev)
        try:
            page = await feed_page(self._wire, self._feed, cursor)
        except CursorLostError as error:
            # The next opening says reset, with the place to go on from.
            raise ConnectionLostError(error.text) from error
        found = repair_items(page, cursor, held)
        if not found:
            raise ConnectionLostError(f"the log has nothing after {cursor} yet")
        self._pending.extendleft(reversed(found))

    async def _lost(self, error: ApiError) -> None:
        """Close what is left, and note when to come back."""
        now = _now()
        if self._opened_at is not None and now - self._opened_at >= self._wire.timing.stable_seconds:
            self._backoff.reset()
        self._opened_at = None
        delay = self._backoff.next_delay(error.retry_after)
        self._retry_at = now + delay
        logger.info("coming back in %.2f s: %s", delay, error)
        await self._disconnect()

    async def _disconnect(self) -> None:
        # What is pending would be sent again: the next opening begins at the cursor.
        self._pending.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()


def _now() -> float:
    return asyncio.get_running_loop().time()
