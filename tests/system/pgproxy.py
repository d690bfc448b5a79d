"""A socket between the writer and PostgreSQL that can cut a connection in the middle of what stores events."""

import asyncio
import re
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

_BEGIN = b"Q\x00\x00\x00\x0aBEGIN\x00"
_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"  # the writer's own; a reader's transaction ends with "COMMIT;"
_PARSE = re.compile(rb"P.{4}(\w+)\x00[^\x00]*append_events", re.DOTALL)
_BIND = re.compile(rb"B.{4}\x00(\w+)\x00", re.DOTALL)
_TERMINATE = b"X\x00\x00\x00\x04"
_BYTES = 1 << 16


class Held:
    """What was to store events came and went no further: what becomes of it is the test's to say."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.late = asyncio.Event()
        self.over = asyncio.Event()
        self._fate: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def lose(self) -> None:
        """Cut both sides; PostgreSQL never hears of it."""
        self._fate.set_result("lose")

    def do_and_cut(self) -> None:
        """Let PostgreSQL commit, then cut before its answer reaches the writer."""
        self._fate.set_result("cut")

    def delay(self) -> None:
        """Cut the writer off at once; PostgreSQL hears of it once `late` is set, and has dealt with it when `over` is."""
        self._fate.set_result("delay")

    def go_on(self) -> None:
        """Let it through."""
        self._fate.set_result("go on")

    async def fate(self) -> str:
        self.came.set()
        return await self._fate


class Proxy:
    """Forwards connections. Each Held in `holds` takes one COMMIT, or one append that is a transaction of its own.

    While not `is_open`, new connections are cut.
    """

    def __init__(self, upstream: Mapping[str, Any], folder: Path) -> None:
        self.connect = {**upstream, "host": str(folder)}
        self.holds: deque[Held] = deque()
        self.is_open = True
        self._upstream = f"{upstream['host']}/.s.PGSQL.{upstream['port']}"
        self._path = f"{folder}/.s.PGSQL.{upstream['port']}"
        self._tasks: set[asyncio.Task[None]] = set()

    def hold(self) -> Held:
        """Hold the next COMMIT or lone append."""
        held = Held()
        self.holds.append(held)
        return held

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        server = await asyncio.start_unix_server(self._accepted, self._path)
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_writer: asyncio.StreamWriter | None = None
        try:
            if self.is_open:
                up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
                answers = asyncio.create_task(self._answers(up_reader, writer))
                try:
                    await self._questions(reader, up_reader, up_writer, writer, answers)
                finally:
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)
        except OSError:
            pass
        finally:
            writer.transport.abort()
            if up_writer is not None:
                up_writer.transport.abort()

    async def _answers(self, up_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await up_reader.read(_BYTES):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    async def _questions(
        self,
        reader: asyncio.StreamReader,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
        answering: asyncio.StreamWriter,
        answers: "asyncio.Task[None]",
    ) -> None:
        stores = _Storing()
        while data := await reader.read(_BYTES):
            held = self.holds.popleft() if stores.by(data) and self.holds else None
            fate = await held.fate() if held else "go on"
            if fate == "lose":
                return
            if fate != "go on":
                answers.cancel()  # nothing of what PostgreSQL says from now on gets through
                await asyncio.gather(answers, return_exceptions=True)
                data += _TERMINATE  # it closes the connection after this, and so after the COMMIT
            if held and fate == "delay":
                answering.transport.abort()
                await held.late.wait()
            up_writer.write(data)
            await up_writer.drain()
            if held and fate != "go on":
                await up_reader.read()
                held.over.set()
                return


class _Storing:
    """Tells which of a connection's messages makes the writer's events durable."""

    def __init__(self) -> None:
        self._appends: set[bytes] = set()
        self._is_in_transaction = False

    def by(self, data: bytes) -> bool:
        if data.endswith(_BEGIN):
            self._is_in_transaction = True
        if data.endswith(_COMMIT):
            self._is_in_transaction = False
            return True
        self._appends.update(_PARSE.findall(data))
        bound = _BIND.match(data)
        return bound is not None and bound[1] in self._appends and not self._is_in_transaction


@asynccontextmanager
async def proxied(upstream: Mapping[str, Any]) -> AsyncIterator[Proxy]:
    """A proxy in front of a PostgreSQL that listens on a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="pgproxy-") as folder:
        async with Proxy(upstream, Path(folder)).running() as proxy:
            yield proxy
