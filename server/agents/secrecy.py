"""Secrets of an agent's environment, taken out of whatever it says before anybody sees it."""

import json
from collections.abc import Iterable

MASK = "***"
_MIN_LENGTH = 8


class Veil:
    """Hides the given secrets. Those of fewer than eight characters are left alone: they are words, not keys."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # A key that begins with another one goes first, or its end would stay.
        self._secrets = sorted({secret for secret in secrets if len(secret) >= _MIN_LENGTH}, key=len, reverse=True)
        self._encoded = [json.dumps(secret)[1:-1].encode() for secret in self._secrets]

    def text(self, text: str) -> str:
        """The text with a mask for each secret."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def line(self, line: bytes) -> bytes:
        """A line of JSON with a mask for each secret in it."""
        for secret in self._encoded:
            line = line.replace(secret, MASK.encode())
        return line
