"""A feed's most recent frames, bounded by bytes."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

RING_BYTES = 1 << 20


class Piece(NamedTuple):
    """Frames to write, and the cursor after them."""

    frames: bytes
    cursor: int


class Ring:
    """The feed's most recent frames. It holds every event of the feed above `floor`, up to `last`."""

    def __init__(self, floor: int, last: int, max_bytes: int = RING_BYTES) -> None:
        self.floor = floor
        self.last = last
        self._max_bytes = max_bytes
        self._bytes = 0
        self._positions: list[int] = []
        self._frames: list[bytes] = []
        self._joined: tuple[int, int, bytes] | None = None

    def append(self, position: int, frames: bytes) -> None:
        self._positions.append(position)
        self._frames.append(frames)
        self.last = position
        self._bytes += len(frames)
        if self._bytes > self._max_bytes:
            self._trim()

    def prepend(self, floor: int, older: Iterable[tuple[int, bytes]]) -> None:
        """Put what a reader fetched from the log in front, when it touches the ring and fits."""
        entries = list(older)
        size = sum(len(frames) for _, frames in entries)
        if self._bytes + size > self._max_bytes // 2:
            return
        self._positions[:0] = [position for position, _ in entries]
        self._frames[:0] = [frames for _, frames in entries]
        self._bytes += size
        self.floor = floor

    def _trim(self) -> None:
        # a quarter at a time, so that the cost of moving the lists is spread over many appends
        gone = 0
        while self._bytes > self._max_bytes * 3 // 4 and gone < len(self._frames) - 1:
            self._bytes -= len(self._frames[gone])
            gone += 1
        if gone:
            self.floor = self._positions[gone - 1]
            del self._positions[:gone]
            del self._frames[:gone]

    def after(self, cursor: int, until: int, max_bytes: int) -> Piece | None:
        """The frames of (cursor, until], capped by bytes; None when the ring no longer holds them all."""
        if cursor < self.floor:
            return None
        start, end = bisect_right(self._positions, cursor), bisect_right(self._positions, until)
        size = 0
        for stop in range(start, end):
            size += len(self._frames[stop])
            if size >= max_bytes:
                end = stop + 1
                break
        if start >= end:
            return Piece(b"", max(cursor, until))
        first, last = self._positions[start], self._positions[end - 1]
        if self._joined is None or self._joined[:2] != (first, last):  # a herd asks for the same piece
            self._joined = (first, last, b"".join(self._frames[start:end]))
        return Piece(self._joined[2], last if end < bisect_right(self._positions, until) else max(last, until))
