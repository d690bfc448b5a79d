"""A parser of server-sent events: bytes in, blocks and comments out, however the bytes are split. Pure."""

import codecs
from dataclasses import dataclass

from missionstream_client.errors import ProtocolError

MAX_BLOCK_CHARACTERS = 32 << 20


@dataclass(frozen=True, slots=True)
class Block:
    """One block of fields; a field that was not sent is None (`event` too: its reader knows the default).

    `data` joins its lines with a newline. A block with only an id tells where the stream is.
    """

    event: str | None = None
    data: str | None = None
    id: str | None = None
    retry_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Comment:
    """A line that began with a colon: proof of life."""

    text: str


class SseParser:
    """Feed it bytes as they come; an unfinished block at the end is dropped, as the standard asks."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._is_first = True
        self._after_cr = False
        self._line: list[str] = []
        self._size = 0
        self._data: list[str] = []
        self._fields: dict[str, str] = {}
        self._retry_ms: int | None = None

    def feed(self, data: bytes) -> list[Block | Comment]:
        """What these bytes completed, in order; ProtocolError for a block beyond all bounds."""
        text = self._decoder.decode(data)
        if not text:
            return []
        if self._is_first:
            self._is_first = False
            text = text.removeprefix("\ufeff")
        if self._after_cr:
            text = text.removeprefix("\n")
        self._after_cr = text.endswith("\r")
        self._size += len(text)
        *lines, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        done: list[Block | Comment] = []
        for line in lines:
            self._line.append(line)
            item = self._end_line("".join(self._line))
            self._line.clear()
            if item is not None:
                done.append(item)
        if rest:
            self._line.append(rest)
        if self._size > MAX_BLOCK_CHARACTERS:
            raise ProtocolError(f"a block of more than {MAX_BLOCK_CHARACTERS} characters")
        return done

    def _end_line(self, line: str) -> Block | Comment | None:
        if not line:
            return self._end_block()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                return Comment(value)
            case "data":
                self._data.append(value)
            case "event":
                self._fields["event"] = value
            case "id" if "\0" not in value:
                self._fields["id"] = value
            case "retry" if value.isascii() and value.isdecimal():
                self._retry_ms = int(value)
        return None

    def _end_block(self) -> Block | None:
        data = "\n".join(self._data) if self._data else None
        block = Block(self._fields.get("event"), data, self._fields.get("id"), self._retry_ms)
        self._size = 0
        self._data.clear()
        self._fields.clear()
        self._retry_ms = None
        return None if block == Block() else block
