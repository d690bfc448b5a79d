"""What the framework itself would answer under /api, in control's form: preflight, unknown routes, wrong methods."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from server.dialects.control.errors import CORS, PREFLIGHT, text


@web.middleware
async def control_http(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer preflights without a token (dashboards live on other origins), and framework errors as plain text."""
    if not request.path.startswith("/api/") or request.path.startswith("/api/v1/"):
        return await handler(request)
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return web.Response(status=204, headers=PREFLIGHT)
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return web.Response(status=404, headers=CORS)
    except web.HTTPMethodNotAllowed as error:
        return text(405, "", {"Allow": ", ".join(sorted(error.allowed_methods))})
    except web.HTTPException as error:
        return text(error.status, error.reason)
