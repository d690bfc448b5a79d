"""Runs a server until it is told to stop: listens, says where, drains, exits."""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import closing

import structlog
from aiohttp import web

from server.app import application, services
from server.core import Core
from server.settings import Settings

BACKLOG = 4_096
HEADER_SECONDS = 15.0
_COLLECT_AFTER = (20_000, 20, 20)
log = structlog.get_logger()


async def serve(
    settings: Settings,
    *,
    environment: Mapping[str, str],
    ready: Callable[[str, Core], None] = lambda url, core: None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or `stop`; then drain, within `settings.drain_seconds`, and return."""
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listening = _listen(settings.host, settings.port)  # before the database starts: a taken port is told at once
    with closing(listening):
        await _serve_on(listening, settings, environment, ready, stop)
    log.info("server.stopped")


async def _serve_on(
    listening: socket.socket,
    settings: Settings,
    environment: Mapping[str, str],
    ready: Callable[[str, Core], None],
    stop: asyncio.Event,
) -> None:
    async with services(settings, environment=environment, url=_url(listening)) as core:
        runner = web.AppRunner(
            application(core),
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=HEADER_SECONDS,  # also cuts whoever trickles a request's headers
            shutdown_timeout=2.0,
            lingering_time=2.0,
        )
        await runner.setup()
        try:
            await web.SockSite(runner, listening, backlog=BACKLOG).start()
            url = _url(listening)
            _settle_memory()
            log.info("server.ready", url=url)
            ready(url, core)
            await stop.wait()
            log.info("server.stopping")
            async with asyncio.timeout(settings.drain_seconds):
                await core.drain.run()
        except TimeoutError:
            log.warning("server.drain_cut_short", seconds=settings.drain_seconds)
        finally:
            await runner.cleanup()


def _settle_memory() -> None:
    """Let the cycle collector pass over what lives as long as the process, and look seldom.

    With a thousand streams its default takes a twentieth of the processor, in pauses that every stream waits for.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(address)
    return listening


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
