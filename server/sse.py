"""Serving a stream of server-sent events over aiohttp: headers, the first frame, then the hub's direct writes."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from aiohttp import HttpVersion11, web

from server.core import PRINCIPAL, core
from streams.sse import HEADERS, frame
from streams.subscriber import Connection

SEND_BUFFER_BYTES = 256 << 10


async def serve(
    request: web.Request,
    attach: Callable[[Connection], Awaitable[None]] | None,
    first: bytes,
    *,
    headers: Mapping[str, str],
) -> web.StreamResponse:
    """Answer 200, write `first`, attach the connection, and stay until either side closes it.

    Without `attach` the response ends after the first frames. The hub writes straight to the transport, with chunk
    framing of its own.
    """
    response = web.StreamResponse(headers={**HEADERS, **headers})
    is_chunked = request.version >= HttpVersion11
    if is_chunked:
        response.enable_chunked_encoding()
    else:
        response.force_close()
    await response.prepare(request)
    await response.write(first)
    transport = request.transport
    if attach is None or transport is None:
        return response
    bound_kernel_buffer(transport)
    connection = Connection(cast(asyncio.WriteTransport, transport), "sse", is_chunked=is_chunked)
    connection.farewell_frame = lambda body: frame("closed", body)
    connection.owner = request.get(PRINCIPAL)
    hub = core(request).hub
    try:
        await attach(connection)
        await connection.serve()
    finally:
        hub.forget(connection)
    return response


def bound_kernel_buffer(transport: asyncio.BaseTransport) -> None:
    """The kernel would hide megabytes per stalled reader; a stream needs little."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
