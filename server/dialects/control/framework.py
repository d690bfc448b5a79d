"""What the framework itself would answer under /api, in control's form: preflight, unknown routes, wrong methods."""

from aiohttp import web

from server.dialects.control.errors import CORS, PREFLIGHT, text


def framework_answer(request: web.Request, error: web.HTTPException) -> web.Response | None:
    """Preflights need no token (dashboards live on other origins); errors are plain text. None where it is not control's."""
    if not request.path.startswith("/api/") or request.path.startswith("/api/v1/"):
        return None
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return web.Response(status=204, headers=PREFLIGHT)
    if isinstance(error, web.HTTPNotFound):
        return web.Response(status=404, headers=CORS)
    if isinstance(error, web.HTTPMethodNotAllowed):
        return text(405, "", {"Allow": ", ".join(sorted(error.allowed_methods))})
    return text(error.status, error.reason)
