"""A socket between the writer and PostgreSQL that can cut a connection in the middle of COMMIT."""

import asyncio
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"  # the writer's own; a reader's transaction ends with "COMMIT;"
_TERMINATE = b"X\x00\x00\x00\x04"
_BYTES = 1 << 16


class Held:
    """A COMMIT that came and went no further: what becomes of it is the test's to say."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self._fate: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def lose(self) -> None:
        """Cut both sides; PostgreSQL never hears of it."""
        self._fate.set_result("lose")

    def do_and_cut(self) -> None:
        """Let PostgreSQL commit, then cut before its answer reaches the writer."""
        self._fate.set_result("cut")

    def go_on(self) -> None:
        """Let it through."""
        self._fate.set_result("go on")

    async def fate(self) -> str:
        self.came.set()
        return await self._fate


class Proxy:
    """Forwards connections; each Held in `holds` takes one COMMIT. While not `is_open`, new connections are cut."""

    def __init__(self, upstream: Mapping[str, Any], folder: Path) -> None:
        self.connect = {**upstream, "host": str(folder)}
        self.holds: deque[Held] = deque()
        self.is_open = True
        self._upstream = f"{upstream['host']}/.s.PGSQL.{upstream['port']}"
        self._path = f"{folder}/.s.PGSQL.{upstream['port']}"
        self._tasks: set[asyncio.Task[None]] = set()

    def hold(self) -> Held:
        """Hold the next COMMIT."""
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
                    await self._questions(reader, up_reader, up_writer, answers)
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
        answers: "asyncio.Task[None]",
    ) -> None:
        while data := await reader.read(_BYTES):
            fate = await self.holds.popleft().fate() if data.endswith(_COMMIT) and self.holds else "go on"
            if fate == "lose":
                return
            if fate == "cut":
                answers.cancel()  # nothing of what PostgreSQL says from now on gets through
                await asyncio.gather(answers, return_exceptions=True)
                data += _TERMINATE  # it closes the connection after this, and so after the COMMIT
            up_writer.write(data)
            await up_writer.drain()
            if fate == "cut":
                await up_reader.read()
                return


@asynccontextmanager
async def proxied(upstream: Mapping[str, Any]) -> AsyncIterator[Proxy]:
    """A proxy in front of a PostgreSQL that listens on a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="pgproxy-") as folder:
        async with Proxy(upstream, Path(folder)).running() as proxy:
            yield proxy
