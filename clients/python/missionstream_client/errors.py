"""The one tree of errors that the client raises.

ApiError                    the server, or the way to it, did not do what was asked
 ├ AuthenticationError      401: who are you?
 ├ ForbiddenError           403: you may not
 ├ NotFoundError            404: nothing by that name that you may see
 ├ ConflictError            409: the state does not allow it
 ├ CursorLostError          the cursor cannot be continued from; read a snapshot
 ├ RateLimitedError         429: too often; `retry_after` seconds
 ├ UnavailableError         502, 503, 504: not now; `retry_after` seconds
 │  └ ConnectionLostError   no answer, or half of one
 └ ProtocolError            an answer that the wire's contract does not know
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import ClassVar


class ApiError(Exception):
    """The request failed.

    `status` is the HTTP status (None when there was no HTTP answer), `text` the server's own words,
    `is_transient` whether the same request may succeed later.
    """

    _is_transient: ClassVar[bool] = False

    def __init__(self, text: str = "", *, status: int | None = None, retry_after: float | None = None) -> None:
        self.text = text or (type(self).__doc__ or "").strip()
        self.status = status
        self.retry_after = retry_after
        super().__init__(self.text if status is None else f"{status}: {self.text}")

    @property
    def is_transient(self) -> bool:
        """Whether waiting may help."""
        return self._is_transient or (self.status or 0) >= 500


class AuthenticationError(ApiError):
    """The token is missing, unknown or expired."""


class ForbiddenError(ApiError):
    """This token may not do that."""


class NotFoundError(ApiError):
    """There is no such thing."""


class ConflictError(ApiError):
    """The state does not allow this."""


class CursorLostError(ApiError):
    """The server cannot continue from this cursor; read a snapshot and follow from there.

    `lost` is the cursor that was given, `cursor` the place from which the server would go on (None when it
    did not say); what happened between the two was not seen.
    """

    def __init__(
        self,
        text: str = "",
        *,
        status: int | None = None,
        retry_after: float | None = None,
        lost: str | None = None,
        cursor: str | None = None,
    ) -> None:
        super().__init__(text or "the cursor was lost", status=status, retry_after=retry_after)
        self.lost = lost
        self.cursor = cursor


class RateLimitedError(ApiError):
    """Too many requests; wait `retry_after` seconds."""

    _is_transient = True


class UnavailableError(ApiError):
    """The server cannot answer now; repeat after `retry_after` seconds."""

    _is_transient = True


class ConnectionLostError(UnavailableError):
    """There was no answer, or only half of one; whether the request was done is unknown."""


class ProtocolError(ApiError):
    """The answer is not what this wire promises."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: CursorLostError,
    429: RateLimitedError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def error_of(status: int, text: str, retry_after: str | None = None, *, is_cursor_read: bool = False) -> ApiError:
    """The error that an HTTP answer means; a 409 to a reader with a cursor is about the cursor."""
    kind = CursorLostError if is_cursor_read and status == 409 else _BY_STATUS.get(status, ApiError)
    return kind(text.strip(), status=status, retry_after=seconds_of(retry_after))


def seconds_of(retry_after: str | None) -> float | None:
    """Read a Retry-After header, seconds or a date; None when it says nothing sensible."""
    if not retry_after:
        return None
    if retry_after.strip().replace(".", "", 1).isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time())
    except ValueError:
        return None
