"""Peers that send headers or bodies a byte at a time are cut, and hold nobody else up."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

import server.body
import server.serve
from server.settings import Settings
from tests.conftest import TOKEN, Serving, url_of


async def _trickle(url: str, start: bytes, drop: bytes) -> bytes:
    """Send `start`, then `drop` again and again; the head of the server's answer, or nothing when it just hangs up."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def send() -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(drop)
                await writer.drain()
                await asyncio.sleep(0.05)

    writer.write(start)
    sending = asyncio.create_task(send())
    answer = b""
    try:
        async with asyncio.timeout(10):
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                answer = await reader.readuntil(b"\r\n\r\n")
    finally:
        sending.cancel()
        writer.close()
    return answer


async def test_trickled_headers_are_cut(
    connect: dict[str, Any], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.serve, "HEADER_SECONDS", 0.5)
    settings = Settings(
        port=0, data_dir=data_dir, database_url=url_of(connect), allow_unsafe_database=True, bootstrap_token=TOKEN
    )
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    running = asyncio.create_task(
        server.serve.serve(settings, environment=os.environ, ready=lambda url, core: ready.set_result(url), stop=stop)
    )
    try:
        url = await asyncio.wait_for(ready, 30)
        await _trickle(url, b"GET /api/health HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"a")
        async with ClientSession(url) as http, http.get("/api/health") as answer:
            assert answer.status == 200
    finally:
        stop.set()
        await running


async def test_a_trickled_body_is_cut(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.body, "BODY_SECONDS", 0.5)
    token = serving.headers["Authorization"]
    start = (
        f"POST /api/control/missions HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    )
    answer = await _trickle(serving.url, start.encode(), b" ")
    assert answer.startswith(b"HTTP/1.1 400 ")
    async with ClientSession(serving.url, headers=serving.headers) as http, http.get("/api/control/missions") as listed:
        assert await listed.json() == []
