"""What a server must offer to be measured: each file in peers/ has a `PEER` of this form."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from tests.bench import machine

ROOT = Path(__file__).parents[2]
PADDING = 160
"""Bytes of every event besides its mark of 36 bytes."""


class Body(NamedTuple):
    """How events become the body of a POST. `item` holds byte 1 for the mark, 2 for an id, 3 for the padding."""

    prefix: bytes
    item: bytes
    separator: bytes
    suffix: bytes
    max_batch: int


class Channel(NamedTuple):
    """One channel as raw requests: the head of a POST without its Content-Length, a subscription, frames to send after it."""

    publish: bytes
    subscribe: bytes
    hello: tuple[bytes, ...] = ()


class Cpu(NamedTuple):
    """Processor seconds so far: the server's own, and its database's."""

    server: float
    database: float = 0.0

    def since(self, before: "Cpu") -> "Cpu":
        return Cpu(self.server - before.server, self.database - before.database)


class Running(Protocol):
    """A server that runs, pinned to the server's core."""

    port: int
    publish_port: int
    body: Body
    pid: int

    def channel(self, protocol: str) -> Channel:
        """A new channel, empty."""

    def ready(self, protocol: str) -> bytes:
        """What a subscriber receives when it is live; empty: the response's head suffices."""

    def cpu(self) -> Cpu: ...
    def memory(self) -> int:
        """Resident bytes of the server's own processes."""

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Peer:
    """A server to measure. `missing` tells why it cannot be, or None."""

    name: str
    title: str
    protocols: tuple[str, ...]
    start: Callable[[Path], Running]
    missing: Callable[[], str | None] = lambda: None


JSON_EVENT = b'{"type":"x_bench","mission":"m","sequence":1,"actor":"bench","content":"\x01\x03","event_id":"\x02"}'
"""What servers without an event form of their own are given: about 300 bytes, as ours are before framing."""
HTTP_HEAD = b"Host: bench\r\nContent-Type: application/json\r\n"


def upgrade(path: str, headers: bytes = b"") -> bytes:
    """A WebSocket's opening request."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n".encode()
        + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        + headers
        + b"\r\n"
    )


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def begin(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start a server on the server's core, in a process group of its own, its output going to `log`."""
    with machine.on_core(machine.SERVER_CORE), log.open("wb") as output:
        return subprocess.Popen(
            arguments, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=ROOT, start_new_session=True,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip


def await_port(process: "subprocess.Popen[bytes]", port: int, log: Path, *, seconds: float = 20.0) -> None:
    """Wait until a server listens; RuntimeError, with its log's end, if it dies before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{' '.join(map(str, process.args[:4]))} does not listen:\n{log.read_text()[-2000:]}")  # type: ignore[index]


@dataclass
class Plain:
    """A running server without a database: its processes, its port and how its channels are spelled."""

    process: "subprocess.Popen[bytes]"
    port: int
    body: Body
    spell: Callable[[str, str], Channel]
    publish_port: int = 0
    hello: bytes = b""
    _made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.publish_port = self.publish_port or self.port
        self.pid = self.process.pid

    def channel(self, protocol: str) -> Channel:
        self._made += 1
        return self.spell(protocol, f"c{self._made}")

    def ready(self, protocol: str) -> bytes:
        return b""

    def cpu(self) -> Cpu:
        return Cpu(machine.cpu_seconds(machine.tree(self.pid)))

    def memory(self) -> int:
        return machine.resident_bytes(machine.tree(self.pid))

    def stop(self) -> None:
        stop(self.process)


def stop(process: "subprocess.Popen[bytes]", *, seconds: float = 15.0) -> None:
    """End a server that `begin` started, and whatever it leaves in its process group."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def python(*arguments: str) -> list[str]:
    """This interpreter with arguments; a module of the benchmark is found from the repository's root."""
    return [sys.executable, *arguments]
