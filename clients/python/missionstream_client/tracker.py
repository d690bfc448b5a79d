"""The read law: decides for each item whether it is news, a repeat, or proof of a gap. Pure."""

from collections.abc import Iterable
from enum import Enum, auto

from missionstream_client.cursor import Cursor
from missionstream_client.errors import ProtocolError
from missionstream_client.items import Arrived, Closing, Item, Opened, Signalled, Through
from missionstream_client.model import FeedPage


class Verdict(Enum):
    """What an item means for the consumer."""

    OPENED = auto()
    NEWS = auto()
    SIGNAL = auto()
    QUIET = auto()
    DUPLICATE = auto()
    GAP = auto()
    """Events before this one are missing: read them from the log, then take this one again."""
    RESET = auto()
    """The server does not continue from our cursor."""
    FOREIGN = auto()
    """A number of another epoch: only a new opening can say what that means."""
    CLOSING = auto()


class Tracker:
    """Keeps one cursor: everything up to it was handed out exactly once, nothing after it was.

    The cursor moves only by news, by a through mark, and by an opening when there was none before.
    """

    def __init__(self, cursor: Cursor | None = None) -> None:
        self.cursor = cursor
        self.outcome: str | None = None
        self.gap_count = 0
        self.duplicate_count = 0
        self._gap_at = 0

    def take(self, item: Item) -> Verdict:
        """Judge one item and move the cursor; ProtocolError for an order that cannot be."""
        match item:
            case Arrived():
                return self._arrived(item)
            case Through():
                return self._through(item)
            case Signalled():
                return Verdict.SIGNAL
            case Opened():
                return self._opened(item)
            case Closing():
                return Verdict.CLOSING

    def restart(self, opened: Opened) -> None:
        """Accept a reset: go on from where the server does."""
        self.cursor = opened.cursor
        self._gap_at = 0

    def _opened(self, item: Opened) -> Verdict:
        self.outcome = item.outcome
        if self.cursor is None:
            self.cursor = item.cursor
            return Verdict.OPENED
        is_ours = item.cursor == self.cursor if item.outcome == "fresh" else item.cursor.epoch == self.cursor.epoch
        if item.outcome == "reset" or not is_ours:
            self.outcome = "reset"
            return Verdict.RESET
        return Verdict.OPENED

    def _arrived(self, item: Arrived) -> Verdict:
        cursor = self._known_cursor()
        if item.epoch not in (None, cursor.epoch):
            return Verdict.FOREIGN
        position = item.event.position
        if position <= cursor.position:
            self.duplicate_count += 1
            return Verdict.DUPLICATE
        if item.prev >= position:
            raise ProtocolError(f"event {position} claims to follow event {item.prev}")
        if item.prev > cursor.position:
            self.gap_count += self._gap_at != position
            self._gap_at = position
            return Verdict.GAP
        self.cursor = cursor._replace(position=position)
        return Verdict.NEWS

    def _through(self, item: Through) -> Verdict:
        cursor = self._known_cursor()
        if item.epoch not in (None, cursor.epoch):
            return Verdict.FOREIGN
        self.cursor = cursor._replace(position=max(cursor.position, item.position))
        return Verdict.QUIET

    def _known_cursor(self) -> Cursor:
        if self.cursor is None:
            raise ProtocolError("the feed sent numbers before it said where it begins")
        return self.cursor


def page_items(page: FeedPage, since: Cursor) -> list[Item]:
    """A page of the log as items: what was read after `since` has nothing between."""
    items: list[Item] = []
    through, prev = Cursor.sent(page.cursor), since.position
    for event in page.events:
        items.append(Arrived(event, prev, through.epoch))
        prev = max(prev, event.position)
    return [*items, Through(through.position, through.epoch)]


def repair_items(page: FeedPage, since: Cursor, held: Arrived) -> list[Item]:
    """The part of a page before the event that proved the gap; empty if the page brought nothing."""
    return list(_before(page_items(page, since), held.event.position, since.position))


def _before(items: Iterable[Item], limit: int, start: int) -> Iterable[Item]:
    for item in items:
        match item:
            case Arrived(event) if event.position < limit:
                yield item
            case Through(position, epoch) if position > start:
                yield Through(min(position, limit - 1), epoch)
