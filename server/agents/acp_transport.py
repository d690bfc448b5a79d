"""The wire to an agent: one JSON object per line over its pipes, bounded in every direction."""

import asyncio
import json
from typing import Any

import structlog

from server.agents.secrecy import Veil

_CHUNK = 64 << 10
_WINDOW_BYTES = 4 << 20

log = structlog.get_logger()


class AgentTransport:
    """What the SDK's `Connection` reads from and writes to.

    Lines that are no JSON object, or no sound JSON-RPC message, are skipped: a stray line must not end a turn.
    A line over `line_bytes`, or more than `wire_bytes` in all, ends the reading and leaves its reason in `fault`.
    Reading pauses while more than 4 MiB wait to be recorded, until `settle` is called. `veil` hides secrets in lines.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        line_bytes: int,
        wire_bytes: int,
        veil: Veil,
    ) -> None:
        self.fault: str | None = None
        self.ended = asyncio.Event()
        self.skipped_lines = 0
        self._reader = reader
        self._writer = writer
        self._line_bytes = line_bytes
        self._wire_bytes = wire_bytes
        self._veil = veil
        self._taken = 0
        self._buffer = bytearray()
        self._searched = 0
        self._waiting_bytes = 0
        self._room = asyncio.Event()

    def begin(self) -> None:
        """A turn begins: what was taken before no longer counts against its bound."""
        self._taken = 0

    async def send(self, message: dict[str, Any]) -> None:
        """Write one message. An agent that no longer listens is noticed by its end, not here."""
        try:
            self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            await self._writer.drain()
        except (OSError, RuntimeError):
            log.debug("agent takes no input", method=message.get("method"))

    async def receive(self) -> dict[str, Any] | None:
        """The next sound message, or None once the agent has ended or broken a bound."""
        while True:
            while self._waiting_bytes > _WINDOW_BYTES:
                self._room.clear()
                await self._room.wait()
            line = await self._line()
            if line is None:
                self.ended.set()
                return None
            message = _decode(self._veil.line(line))
            if message is not None:
                if "method" in message:  # nothing else is ever recorded, and so settled
                    self._waiting_bytes += len(line)
                return message
            self.skipped_lines += bool(line.strip())

    async def close(self) -> None:
        """Stop writing; the process's owner closes the pipes."""
        self.ended.set()

    def settle(self) -> None:
        """Everything received so far has been recorded: read on."""
        self._waiting_bytes = 0
        self._room.set()

    async def _line(self) -> bytes | None:
        while self.fault is None:
            end = self._buffer.find(b"\n", self._searched)
            length = end if end >= 0 else len(self._buffer)
            if length > self._line_bytes:
                self.fault = f"The agent sent a line of more than {_megabytes(self._line_bytes)}"
                break
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                self._searched = 0
                return line
            self._searched = len(self._buffer)
            if not await self._fill():
                line, self._buffer, self._searched = bytes(self._buffer), bytearray(), 0
                return line or None
        self._buffer.clear()
        return None

    async def _fill(self) -> bool:
        try:
            chunk = await self._reader.read(_CHUNK)
        except OSError:
            return False
        self._taken += len(chunk)
        if self._taken > self._wire_bytes:
            self.fault = f"The agent sent more than {_megabytes(self._wire_bytes)} in one turn"
        self._buffer += chunk
        return bool(chunk)


def _megabytes(count: int) -> str:
    return f"{count / (1 << 20):.3g} MiB"


def _decode(line: bytes) -> dict[str, Any] | None:
    """The message in a line, or None: the SDK's receive loop dies of what JSON-RPC does not allow."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict):
        return None
    if "method" in message:
        return message if isinstance(message["method"], str) else None
    if not isinstance(message.get("id"), int | str):
        return None
    error = message.get("error")
    if "result" not in message and error is not None:
        message["error"] = _sound_error(error)
    return message


def _sound_error(error: Any) -> dict[str, Any]:
    fields = error if isinstance(error, dict) else {"message": str(error)}
    code, text = fields.get("code"), fields.get("message")
    return {
        "code": code if isinstance(code, int) else -32603,
        "message": text if isinstance(text, str) else "Error",
        "data": fields.get("data"),
    }
