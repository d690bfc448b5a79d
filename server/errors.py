"""From an error's kind to its HTTP status; dialects render the bodies."""

from collections.abc import Mapping

from streams.errors import MissionstreamError, TooMany, Unavailable

STATUS: Mapping[str, int] = {
    "internal": 500,
    "invalid": 400,
    "shape": 422,
    "auth": 401,
    "denied": 403,
    "missing": 404,
    "conflict": 409,
    "key_reused": 422,
    "cursor": 409,
    "gone": 410,
    "large": 413,
    "media": 415,
    "limit": 429,
    "upstream": 502,
    "down": 503,
}

CLOSE_CODE: Mapping[str, int] = {
    "internal": 4500,
    "invalid": 4400,
    "shape": 4400,
    "auth": 4401,
    "denied": 4403,
    "missing": 4404,
    "large": 4413,
    "limit": 4429,
    "down": 4503,
}
"""44xx: mend something first; 4429, 4500, 4503: connect again with your cursor."""


def status_of(error: MissionstreamError) -> int:
    """The HTTP status of an error, by its kind."""
    return STATUS[error.kind]


def headers_of(error: MissionstreamError) -> dict[str, str]:
    """The headers that go with an error: when to come back."""
    if isinstance(error, TooMany | Unavailable):
        return {"Retry-After": str(max(1, round(error.retry_after)))}
    return {}
