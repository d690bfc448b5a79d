"""/healthz, /readyz and /metrics."""

from aiohttp import web

from server.core import core
from server.routing import PUBLIC, Route
from streams.errors import MissionstreamError


async def healthz(request: web.Request) -> web.Response:
    """The process is alive."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """The server takes work: its database answers, and it is not draining."""
    services = core(request)
    if services.drain.is_draining:
        return web.json_response({"status": "draining"}, status=503, headers={"Retry-After": "1"})
    try:
        await services.database.ping()
    except MissionstreamError as error:
        return web.json_response({"status": "no database", "message": error.message}, status=503)
    return web.json_response({"status": "ready"})


async def metrics(request: web.Request) -> web.Response:
    """Prometheus' exposition format."""
    services = core(request)
    services.metrics.turns.set(len(services.runs.turns))
    return web.Response(body=services.metrics.text(), content_type="text/plain", charset="utf-8")


ROUTES = (
    Route("GET", "/healthz", healthz, PUBLIC),
    Route("GET", "/readyz", readyz, PUBLIC),
    Route("GET", "/metrics", metrics, "workspace:admin"),
)
