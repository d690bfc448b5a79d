"""Control's errors: plain text, shown to people as it is; CORS on every answer."""

from collections.abc import Mapping

from aiohttp import web

from server.errors import headers_of, status_of
from streams.errors import MissionstreamError

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "*, X-Total-Events, X-Max-Sequence, X-Epoch, X-Workspace-ID, Retry-After",
}
PREFLIGHT = CORS | {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "*, Authorization, Content-Type, Idempotency-Key, Last-Event-ID",
    "Access-Control-Max-Age": "86400",
}


class ControlFace:
    """Renders errors as the original does: the bare message."""

    def error(self, request: web.Request, error: MissionstreamError) -> web.Response:
        return text(status_of(error), error.message, headers_of(error))


def text(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """A plain-text answer."""
    return web.Response(status=status, text=message, headers={**CORS, **(headers or {})})
