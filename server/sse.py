"""Serving a stream of server-sent events over aiohttp: headers, the first frame, then the hub's direct writes."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import structlog
from aiohttp import HttpVersion11, web
from aiohttp_sse import EventSourceResponse

from server.core import PRINCIPAL, core
from server.errors import CLOSE_CODE
from streams.errors import MissionstreamError
from streams.sse import frame
from streams.subscriber import STALL_SECONDS, Connection

Attach = Callable[[Connection], Awaitable[Any]]
log = structlog.get_logger()
SEND_BUFFER_BYTES = 256 << 10
_NEVER_SECONDS = 86_400.0


async def serve(
    request: web.Request,
    attach: Attach | None,
    first: bytes,
    headers: Mapping[str, str],
) -> web.StreamResponse:
    """Answer 200, write `first`, attach the connection, and stay until either side closes it.

    Without `attach` the response ends after the first frames. The hub writes straight to the transport, with chunk
    framing of its own.
    """
    response = EventSourceResponse(headers=headers, sep="\n", send_timeout=STALL_SECONDS, ping_interval=_NEVER_SECONDS)
    is_chunked = request.version >= HttpVersion11
    if not is_chunked:
        response.headers["Connection"] = "close"
        response.force_close()
    await response.prepare(request)
    response.stop_streaming()  # the hub's heartbeat, one timer for all, takes the place of a ping task for each
    response._ping_task = None  # a cancelled task keeps its error, traceback and frame: a kilobyte for each stream
    await response.write(first)
    del first, headers  # not held for the life of the stream
    transport = request.transport
    if attach is None or transport is None:
        return response
    bound_kernel_buffer(transport)
    connection = Connection(cast(asyncio.WriteTransport, transport), "sse", is_chunked=is_chunked)
    connection.farewell_frame = _closed
    connection.owner = request.get(PRINCIPAL)
    hub = core(request).hub
    try:
        await attach(connection)
        del attach
        await connection.serve()
    except Exception as error:  # the answer has begun: its last word must be a frame, never a second answer
        log.warning("stream.failed", error=repr(error), exc_info=not isinstance(error, MissionstreamError))
        connection.farewell(CLOSE_CODE["down"], "the stream cannot go on; connect again", 1_000)
    finally:
        hub.forget(connection)
    return response


def _closed(body: dict[str, Any]) -> bytes:
    return frame("closed", body)


def bound_kernel_buffer(transport: asyncio.BaseTransport) -> None:
    """The kernel would hide megabytes per stalled reader; a stream needs little."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
