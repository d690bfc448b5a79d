"""The cursor `epoch:position`: up to where, and in which history, a consumer has everything."""

import re
from typing import NamedTuple

from missionstream_client.errors import ProtocolError

_FORM = re.compile(r"([0-9a-z]{1,32}):([0-9]{1,18})")


class Cursor(NamedTuple):
    """A place among the events of one workspace; written `epoch:position`."""

    epoch: str
    position: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.position}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read `epoch:position`; ValueError for anything else."""
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"a cursor looks like epoch:position, not {text[:80]!r}")
        return cls(match[1], int(match[2]))

    @classmethod
    def sent(cls, text: str) -> "Cursor":
        """Read a cursor that the server sent; ProtocolError when it is none."""
        try:
            return cls.parse(text)
        except ValueError as error:
            raise ProtocolError(str(error)) from error
