"""WebSocket text frames as bytes: unmasked, unfragmented, written straight to the transport."""

import struct
from typing import Any

from streams.event import ascii_json

_TEXT = 0x81


def frame(message: Any) -> bytes:
    """One JSON message as one final text frame."""
    payload = ascii_json(message)
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", _TEXT, 126, size) + payload
    return struct.pack("!BBQ", _TEXT, 127, size) + payload
