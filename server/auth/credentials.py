"""Where a request carries its token: the headers that clients use, and the dashboard's cookie."""

from collections.abc import Mapping, Sequence

from aiohttp import web

from server.auth.origins import counts_cookie

COOKIE = "missionstream_session"
CREW_COOKIES = ("authjs.session-token", "__Secure-authjs.session-token")
"""Where the crew dialect's pages keep a token; they count on its routes alone, beside its rule for origins."""
API_KEY = "X-Wede-API-Key"
_SUBPROTOCOL = "jwt."


def credential(request: web.BaseRequest, cookies: Sequence[str] = ()) -> str | None:
    """The request's token, None without one. The first place that holds one counts, right or wrong:

    Authorization: Bearer (in any case), X-Wede-API-Key, `jwt.<token>` among the WebSocket subprotocols, one of
    the `cookies`, our own cookie.
    """
    found = of_headers(request.headers) or next(filter(None, map(request.cookies.get, cookies)), None)
    if found is None and counts_cookie(request.method, request.headers.get("Origin"), request.scheme, request.host):
        found = request.cookies.get(COOKIE)
    return found or None


def of_headers(headers: Mapping[str, str]) -> str | None:
    """The token in the headers (a mapping that takes names in any case)."""
    scheme, _, value = headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if key := headers.get(API_KEY, "").strip():
        return key
    for protocol in headers.get("Sec-WebSocket-Protocol", "").split(","):
        if protocol.strip().startswith(_SUBPROTOCOL):
            return protocol.strip().removeprefix(_SUBPROTOCOL) or None
    return None


def set_session(response: web.StreamResponse, token: str, *, max_age_seconds: int, is_secure: bool) -> None:
    """Give the browser the dashboard's cookie. `is_secure`: over https only, for a page that came over https."""
    response.set_cookie(
        COOKIE, token, max_age=max_age_seconds, httponly=True, samesite="Strict", secure=is_secure, path="/"
    )


def clear_session(response: web.StreamResponse) -> None:
    """Take the dashboard's cookie back."""
    response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
