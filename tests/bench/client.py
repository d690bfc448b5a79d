"""Drives the load client: compiles it, sends it commands, reads its answers."""

import contextlib
import hashlib
import json
import os
import select
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.peer import PADDING, Body, Channel, Running

SOURCES = Path(__file__).parent / "load"
_ANSWER_SECONDS = 180.0


class LoadFailed(RuntimeError):
    """The load client died or does not answer."""


def compiled() -> Path:
    """The load client's binary, compiled with gcc when its sources have changed."""
    sources = sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")])
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "missionstream-bench"
    binary = cache / f"load-{digest}"
    if not binary.exists():
        cache.mkdir(parents=True, exist_ok=True)
        draft = cache / f"draft-{os.getpid()}"
        subprocess.run(["gcc", "-O2", "-o", draft, *(path for path in sources if path.suffix == ".c")], check=True)
        draft.rename(binary)
    return binary


def _spelled(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


class Load:
    """One load client on the client's core, aimed at a server. Its answers are dicts; see load/*.c for the commands."""

    def __init__(
        self,
        server: Running,
        channels: Sequence[Channel],
        *,
        lanes: int = 8,
        pipeline: int = 1,
        padding: int = PADDING,
        body: Body | None = None,
    ) -> None:
        with machine.on_core(machine.CLIENT_CORE):
            self._process = subprocess.Popen([compiled()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        body = body or server.body
        aimed = self.say(
            "target", host="127.0.0.1", port=server.port, publish_port=server.publish_port, prefix=body.prefix,
            item=body.item, separator=body.separator, suffix=body.suffix, max_batch=body.max_batch, lanes=lanes,
            pipeline=pipeline, padding=padding,
        )  # fmt: skip
        if aimed["trouble"]:
            raise LoadFailed(aimed["trouble"])
        for channel in channels:
            hello = ",".join(frame.hex() for frame in channel.hello)
            self.say("channel", publish=channel.publish, subscribe=channel.subscribe, hello=hello)

    def say(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = " ".join([command, *(f"{name}={_spelled(value)}" for name, value in arguments.items())])
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise LoadFailed(f"the load client died before {command}") from None
        if not select.select([self._process.stdout], [], [], _ANSWER_SECONDS)[0]:
            raise LoadFailed(f"the load client does not answer {command}")
        answer = self._process.stdout.readline()
        if not answer:
            raise LoadFailed(f"the load client died at {command}")
        decoded: dict[str, Any] = json.loads(answer)
        return decoded

    def connect(self, server: Running, protocol: str, count: int, **arguments: Any) -> dict[str, Any]:
        """Open subscribers over all channels in turn; LoadFailed unless every one gets live."""
        arguments.setdefault("ready", server.ready(protocol))
        answer = self.say("connect", n=count, proto=protocol, **arguments)
        if answer["ready"] != count:
            raise LoadFailed(f"{answer['ready']} of {count} {protocol} subscribers got live: {answer['trouble']}")
        return answer

    def end(self) -> None:
        """Let the load client go, and all its connections with it."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextlib.contextmanager
def loading(server: Running, channels: Sequence[Channel], **options: Any) -> Iterator[Load]:
    """A load client that ends with the block."""
    load = Load(server, channels, **options)
    try:
        yield load
    finally:
        load.end()
