"""Server-sent events as bytes: LF only, one data line per frame, ASCII JSON."""

from typing import Any

from streams.event import ascii_json


def frame(name: str, data: Any, cursor: str | None = None) -> bytes:
    """One dispatched event; with a cursor it also sets the reader's Last-Event-ID."""
    mark = b"" if cursor is None else b"id: %b\n" % cursor.encode()
    return b"event: %b\n%bdata: %b\n\n" % (name.encode(), mark, ascii_json(data))


def cursor_block(cursor: str) -> bytes:
    """A block that dispatches nothing and sets Last-Event-ID: everything up to here was sent."""
    return b"id: %b\n\n" % cursor.encode()


def heartbeat(cursor: str, head: int) -> bytes:
    """A comment, and the cursor that it proves."""
    return b": heartbeat head=%d\nid: %b\n\n" % (head, cursor.encode())
