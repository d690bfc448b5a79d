"""The read law: whatever the wire loses, repeats or marks, the consumer sees the log once and in order."""

import random
from collections import deque
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from missionstream_client.cursor import Cursor
from missionstream_client.errors import ProtocolError
from missionstream_client.items import Arrived, Closing, Item, Opened, Signalled, Through
from missionstream_client.model import Event, FeedPage, Signal
from missionstream_client.tracker import Tracker, Verdict, page_items, repair_items

POSITIONS = st.lists(st.integers(1, 60), unique=True, max_size=25).map(sorted)


def event(position: int) -> Event:
    return Event(
        position=position, sequence=position, event_type="thinking", timestamp=datetime(2026, 1, 1, tzinfo=UTC)
    )


def page(log: list[int], since: Cursor, limit: int) -> FeedPage:
    after = [position for position in log if position > since.position]
    shown = after[:limit]
    through = shown[-1] if len(after) > limit else max([since.position, *log])
    return FeedPage(cursor=f"{since.epoch}:{through}", head=60, events=[event(each) for each in shown])


def bad_wire(log: list[int], chance: random.Random) -> list[Item]:
    """The log as a wire that loses and repeats frames would send it; the last frame arrives."""
    items: list[Item] = []
    for prev, position in zip([0, *log], log, strict=False):
        if chance.random() < 0.7 or position == log[-1]:
            items.append(Arrived(event(position), prev))
        if chance.random() < 0.3:
            items.append(chance.choice(items or [Through(0)]))
        if chance.random() < 0.1:
            items.append(Signalled(Signal(event_type="text_delta")))
    return items


@given(log=POSITIONS, chance=st.randoms(use_true_random=False), limit=st.integers(1, 5))
def test_the_log_is_seen_once_and_in_order(log: list[int], chance: random.Random, limit: int) -> None:
    tracker = Tracker(Cursor("e", 0))
    waiting = deque(bad_wire(log, chance))
    seen = []
    while waiting:
        item = waiting.popleft()
        verdict = tracker.take(item)
        if verdict is Verdict.NEWS:
            assert isinstance(item, Arrived)
            seen.append(item.event.position)
        if verdict is Verdict.GAP:
            assert isinstance(item, Arrived)
            assert tracker.cursor is not None
            found = repair_items(page(log, tracker.cursor, limit), tracker.cursor, item)
            assert found
            waiting.extendleft(reversed([*found, item]))
    assert seen == log
    assert tracker.cursor == Cursor("e", max(log, default=0))


@given(log=POSITIONS, limit=st.integers(1, 5), start=st.integers(0, 60))
def test_pages_read_one_after_another_have_no_gap(log: list[int], limit: int, start: int) -> None:
    tracker = Tracker(Cursor("e", start))
    for _ in range(len(log) + 1):
        assert tracker.cursor is not None
        verdicts = {tracker.take(item) for item in page_items(page(log, tracker.cursor, limit), tracker.cursor)}
        assert verdicts <= {Verdict.NEWS, Verdict.QUIET}
    assert tracker.cursor == Cursor("e", max([start, *log]))


def test_a_gap_does_not_move_the_cursor_and_counts_once() -> None:
    tracker = Tracker(Cursor("e", 3))
    assert [tracker.take(Arrived(event(7), 5)) for _ in range(2)] == [Verdict.GAP, Verdict.GAP]
    assert (tracker.cursor, tracker.gap_count) == (Cursor("e", 3), 1)


def test_a_hole_in_the_numbers_is_no_gap_when_prev_says_so() -> None:
    tracker = Tracker(Cursor("e", 3))
    assert tracker.take(Arrived(event(9), 2)) is Verdict.NEWS
    assert tracker.gap_count == 0


def test_through_never_moves_back() -> None:
    tracker = Tracker(Cursor("e", 3))
    tracker.take(Through(9))
    tracker.take(Through(5, "e"))
    assert tracker.cursor == Cursor("e", 9)
    assert tracker.take(Arrived(event(8), 7)) is Verdict.DUPLICATE


@pytest.mark.parametrize(
    ("cursor", "opened", "verdict", "outcome"),
    [
        (None, Opened("fresh", Cursor("e", 5)), Verdict.OPENED, "fresh"),
        (None, Opened("reset", Cursor("e", 5)), Verdict.OPENED, "reset"),
        (Cursor("e", 3), Opened("resumed", Cursor("e", 3)), Verdict.OPENED, "resumed"),
        (Cursor("e", 3), Opened("reset", Cursor("e", 9), "gone"), Verdict.RESET, "reset"),
        (Cursor("e", 3), Opened("fresh", Cursor("e", 9)), Verdict.RESET, "reset"),
        (Cursor("e", 3), Opened("resumed", Cursor("f", 3)), Verdict.RESET, "reset"),
    ],
)
def test_how_an_opening_is_judged(cursor: Cursor | None, opened: Opened, verdict: Verdict, outcome: str) -> None:
    tracker = Tracker(cursor)
    assert tracker.take(opened) is verdict
    assert tracker.outcome == outcome
    assert tracker.cursor == (cursor or opened.cursor)


def test_a_reset_that_is_accepted_goes_on_from_the_servers_cursor() -> None:
    tracker = Tracker(Cursor("e", 30))
    opened = Opened("reset", Cursor("f", 2))
    tracker.take(opened)
    tracker.restart(opened)
    assert tracker.take(Arrived(event(3), 2, "f")) is Verdict.NEWS


def test_numbers_of_another_epoch_are_foreign() -> None:
    tracker = Tracker(Cursor("e", 3))
    assert tracker.take(Arrived(event(4), 3, "f")) is Verdict.FOREIGN
    assert tracker.take(Through(9, "f")) is Verdict.FOREIGN
    assert tracker.cursor == Cursor("e", 3)


def test_signals_and_goodbyes_leave_the_cursor() -> None:
    tracker = Tracker()
    assert tracker.take(Signalled(Signal(event_type="status"))) is Verdict.SIGNAL
    assert tracker.take(Closing("draining")) is Verdict.CLOSING
    assert tracker.cursor is None


@pytest.mark.parametrize("item", [Arrived(event(1), 0), Through(1)])
def test_numbers_before_the_opening_are_refused(item: Item) -> None:
    with pytest.raises(ProtocolError):
        Tracker().take(item)


def test_an_event_that_follows_itself_is_refused() -> None:
    with pytest.raises(ProtocolError):
        Tracker(Cursor("e", 1)).take(Arrived(event(4), 4))
