"""The obvious server: aiohttp and aiohttp-sse with one asyncio.Queue per subscriber; in memory, no authentication."""

import asyncio
import json
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.bench.peer import HTTP_HEAD, JSON_EVENT, Body, Channel, Peer, Plain, await_port, begin, free_port, python


def _start(directory: Path) -> Plain:
    port, log = free_port(), directory / "server.log"
    process = begin(python("-P", "-m", __spec__.name, str(port)), log)
    await_port(process, port, log)
    return Plain(process, port, Body(b'{"events":[', JSON_EVENT, b",", b"]}", max_batch=500), _spell)


def _spell(protocol: str, name: str) -> Channel:
    return Channel(
        f"POST /{name} HTTP/1.1\r\n".encode() + HTTP_HEAD,
        f"GET /{name} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n".encode(),
    )


def _missing() -> str | None:
    return None if find_spec("aiohttp_sse") else "aiohttp-sse is not installed"


PEER = Peer("aiohttp_sse", "aiohttp-sse, a queue each", ("sse",), _start, _missing)


def main(port: int) -> None:
    """Serve: POST /NAME publishes, GET /NAME streams."""
    import uvloop
    from aiohttp import web
    from aiohttp_sse import sse_response

    channels: defaultdict[str, set[asyncio.Queue[str]]] = defaultdict(set)

    async def publish(request: web.Request) -> web.Response:
        body: dict[str, list[Any]] = await request.json()
        for event in body["events"]:
            text = json.dumps(event)
            for queue in channels[request.path]:
                queue.put_nowait(text)
        return web.Response()

    async def subscribe(request: web.Request) -> web.StreamResponse:
        queue: asyncio.Queue[str] = asyncio.Queue()
        channels[request.path].add(queue)
        try:
            async with sse_response(request) as response:
                while response.is_connected():
                    await response.send(await queue.get())
            return response
        finally:
            channels[request.path].discard(queue)

    app = web.Application()
    app.router.add_post("/{name}", publish)
    app.router.add_get("/{name}", subscribe)
    web.run_app(
        app,
        host="127.0.0.1",
        port=port,
        access_log=None,
        print=None,
        backlog=4096,
        handler_cancellation=True,
        loop=uvloop.new_event_loop(),
        shutdown_timeout=0.5,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
