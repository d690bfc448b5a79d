"""The polling transport: long polls of /api/control/events that look like a connection."""

import asyncio
from collections import deque

from missionstream_client.cursor import Cursor
from missionstream_client.errors import CursorLostError
from missionstream_client.feed import Feed, feed_page, head_cursor
from missionstream_client.items import Item, Opened
from missionstream_client.tracker import page_items
from missionstream_client.wire import Wire


class Poll:
    """Pages of the log, one after another. A lost cursor is a reset, as on the streams."""

    def __init__(self, wire: Wire, feed: Feed, since: Cursor | None) -> None:
        self._wire = wire
        self._feed = feed
        self._cursor = since
        self._is_opened = False
        self._items: deque[Item] = deque()

    async def receive(self) -> Item:
        """See Connection."""
        while not self._items:
            if self._cursor is None:
                await self._begin("fresh")
            else:
                await self._continue(self._cursor)
        return self._items.popleft()

    async def _begin(self, outcome: str, reason: str | None = None) -> None:
        cursor = await head_cursor(self._wire, self._feed)
        self._open(outcome, cursor, reason)

    def _open(self, outcome: str, cursor: Cursor, reason: str | None = None) -> None:
        self._cursor = cursor
        self._is_opened = True
        self._items.append(Opened(outcome, cursor, reason))

    async def _continue(self, cursor: Cursor) -> None:
        timing = self._wire.timing
        # The first page does not wait: it says at once whether the cursor is good.
        wait_seconds = timing.poll_wait_seconds if self._is_opened else 0.0
        began = asyncio.get_running_loop().time()
        try:
            page = await feed_page(self._wire, self._feed, cursor, wait_seconds=wait_seconds)
        except CursorLostError as error:
            await self._begin("reset", error.text)
            return
        if not self._is_opened:
            self._open("resumed", cursor)
        elif not page.events:
            spent = asyncio.get_running_loop().time() - began
            await asyncio.sleep(max(0.0, timing.poll_pause_seconds - spent))
        self._items.extend(page_items(page, cursor))
        self._cursor = Cursor.sent(page.cursor)

    async def aclose(self) -> None:
        """See Connection."""
        self._items.clear()


async def open_poll(wire: Wire, feed: Feed, since: Cursor | None) -> Poll:
    """A poll from `since`, or from the head; nothing is asked before the first receive."""
    return Poll(wire, feed, since)
