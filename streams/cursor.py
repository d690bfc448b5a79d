"""The cursor `epoch:position`: up to where, and in which history, a consumer has everything."""

import re
from typing import Any, NamedTuple

from streams.errors import BadCursor, CursorAhead, CursorGone, OtherEpoch

_CURSOR = re.compile(r"([0-9a-z]{1,32}):([0-9]{1,18})")
MAX_POSITION = 2**63 - 1


class Cursor(NamedTuple):
    """A place in one workspace's stream; written `epoch:position`."""

    epoch: str
    position: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.position}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read `epoch:position`; raise BadCursor that shows the form."""
        match = _CURSOR.fullmatch(text.strip())
        if match is None:
            raise BadCursor
        return cls(match[1], int(match[2]))

    def check(self, *, epoch: str, floor: int, head: int) -> None:
        """Raise OtherEpoch, CursorGone or CursorAhead unless events after this cursor can all be read."""
        if self.epoch != epoch:
            raise OtherEpoch(cursor=str(self), epoch=epoch)
        if self.position < floor:
            raise CursorGone(cursor=str(self), floor=floor)
        if self.position > head:
            raise CursorAhead(cursor=str(self), head=head)


class Opening(NamedTuple):
    """How a stream starts: `fresh`, `resumed`, or `reset` with the reason. `cursor` is where it goes on from."""

    outcome: str
    reason: str | None
    cursor: Cursor
    head: int

    def body(self) -> dict[str, Any]:
        return {"outcome": self.outcome, "reason": self.reason, "cursor": str(self.cursor), "head": self.head}
