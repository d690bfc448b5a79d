"""What an agent tells again when it loads a session: when that is over, and whether the session is whole."""

import asyncio
from collections.abc import Mapping
from typing import Any

from server.agents.content import as_text, block_text

_SPEECH = "agent_message_chunk"
_KEPT = 64 << 10
_COMPARED = 200


class Replay:
    """Hears the updates of one load."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._said = ""

    def hear(self, update: Mapping[str, Any]) -> None:
        """One more update."""
        self._news.set()
        if as_text(update.get("sessionUpdate")) == _SPEECH:
            self._said = (self._said + _squeezed(block_text(update.get("content"))))[-_KEPT:]

    async def over(self, quiet_seconds: float) -> None:
        """Wait until nothing has come for so long; 0 does not wait at all."""
        while quiet_seconds:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), quiet_seconds)
            except TimeoutError:
                return

    def has(self, answer: str) -> bool:
        """Whether the agent has said this answer, near the end of what it told; an empty one, always."""
        return _squeezed(answer)[-_COMPARED:] in self._said


def _squeezed(text: str) -> str:
    """The text without what agents change in it: how it is spaced, and broken into pieces."""
    return "".join(text.split())
