"""The websockets package with its own broadcast(); in memory, no authentication. Publishing is a plain HTTP port."""

import asyncio
import json
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.bench.peer import (
    HTTP_HEAD,
    JSON_EVENT,
    Body,
    Channel,
    Peer,
    Plain,
    await_port,
    begin,
    free_port,
    python,
    upgrade,
)


def _start(directory: Path) -> Plain:
    port, publish_port, log = free_port(), free_port(), directory / "server.log"
    process = begin(python("-P", "-m", __spec__.name, str(port), str(publish_port)), log)
    await_port(process, port, log)
    await_port(process, publish_port, log)
    body = Body(b'{"events":[', JSON_EVENT, b",", b"]}", max_batch=500)
    return Plain(process, port, body, _spell, publish_port)


def _spell(protocol: str, name: str) -> Channel:
    return Channel(f"POST /{name} HTTP/1.1\r\n".encode() + HTTP_HEAD, upgrade(f"/{name}"))


def _missing() -> str | None:
    return None if find_spec("websockets") else "websockets is not installed"


PEER = Peer("websockets", "websockets broadcast", ("ws",), _start, _missing)


async def main(port: int, publish_port: int) -> None:
    """Serve: POST /NAME publishes on one port, WebSockets at /NAME listen on the other."""
    from aiohttp import web
    from websockets.asyncio.server import ServerConnection, broadcast, serve

    channels: defaultdict[str, set[ServerConnection]] = defaultdict(set)

    async def publish(request: web.Request) -> web.Response:
        body: dict[str, list[Any]] = await request.json()
        for event in body["events"]:
            broadcast(channels[request.path], json.dumps(event))
        return web.Response()

    async def subscribe(connection: ServerConnection) -> None:
        assert connection.request is not None
        path = connection.request.path
        channels[path].add(connection)
        try:
            await connection.wait_closed()
        finally:
            channels[path].discard(connection)

    app = web.Application()
    app.router.add_post("/{name}", publish)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", publish_port).start()
    async with serve(subscribe, "127.0.0.1", port, compression=None, ping_interval=None, backlog=4096):
        await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
