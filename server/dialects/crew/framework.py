"""What surrounds crew's routes: the headers of every answer under /api/v1, and the framework's own answers there."""

from http import HTTPStatus
from importlib.metadata import version

from aiohttp import web

from server.dialects.crew.face import problem

PREFIX = "/api/v1/"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "0",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Crewship-Server-Version": version("missionstream"),
}
"""On every answer of the API: it is data, and no page may take it for anything else."""


async def harden(request: web.Request, response: web.StreamResponse) -> None:
    """Put HEADERS on whatever is answered under /api/v1; for the application's on_response_prepare."""
    if request.path.startswith(PREFIX):
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)


def framework_answer(request: web.Request, error: web.HTTPException) -> web.Response | None:
    """Unknown routes, wrong methods and oversized bodies under /api/v1 in crew's form; None elsewhere."""
    if not request.path.startswith(PREFIX):
        return None
    headers = {}
    if isinstance(error, web.HTTPMethodNotAllowed):
        headers["Allow"] = ", ".join(sorted(error.allowed_methods))
    return problem(request, error.status, HTTPStatus(error.status).phrase, headers=headers)
