"""The one exception tree. It knows no HTTP: server/errors.py maps kinds to statuses, dialects to bodies.

MissionstreamError
 ├ BadRequest          the request cannot be understood
 │  ├ BadCursor        not of a cursor's form
 │  └ Unprocessable    understood, but of the wrong shape
 ├ Unauthenticated     who are you?
 │  └ TokenExpired
 ├ Forbidden           you may not
 ├ NotFound            nothing by that name that you may see
 ├ Conflict            the state does not allow it
 │  ├ MoveRefused      no such edge in the lifecycle
 │  ├ HeadMoved        somebody was quicker
 │  └ KeyReused        one idempotency key, two intents
 ├ Gone                it is over, for good
 ├ CursorLost          the cursor cannot be continued from
 │  ├ CursorGone       below the floor
 │  ├ CursorAhead      beyond the head
 │  └ OtherEpoch       of another history
 ├ TooLarge            over a bound that the message names
 ├ TooMany             over a rate
 │  └ Stalled          a reader that takes no byte
 ├ AgentFailed         the agent process failed
 └ Unavailable         not now; repeat later
    └ OutcomeUnknown   it may or may not have happened; repeat with the same key
"""

from typing import Any, ClassVar


class MissionstreamError(Exception):
    """Something went wrong on our side."""

    code: ClassVar[str] = "internal"
    kind: ClassVar[str] = "internal"

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.details = details
        super().__init__(self.message)


class BadRequest(MissionstreamError):
    """The request cannot be understood."""

    code = "bad_request"
    kind = "invalid"


class BadCursor(BadRequest):
    """A cursor looks like epoch:position, for example 3f9a0c1d2e4b5f60:42"""

    code = "bad_cursor"


class Unprocessable(BadRequest):
    """The request has the wrong shape."""

    code = "unprocessable"
    kind = "shape"


class Unauthenticated(MissionstreamError):
    """Invalid or expired token"""

    code = "unauthenticated"
    kind = "auth"


class TokenExpired(Unauthenticated):
    """Invalid or expired token"""

    code = "token_expired"


class Forbidden(MissionstreamError):
    """You may not do this."""

    code = "forbidden"
    kind = "denied"


class NotFound(MissionstreamError):
    """There is no such thing."""

    code = "not_found"
    kind = "missing"


class Conflict(MissionstreamError):
    """The state does not allow this."""

    code = "conflict"
    kind = "conflict"


class MoveRefused(Conflict):
    """There is no such move from this status."""

    code = "move_refused"


class HeadMoved(Conflict):
    """The mission has moved on; read it again."""

    code = "head_moved"


class KeyReused(Conflict):
    """This idempotency key was used for a different request."""

    code = "key_reused"
    kind = "key_reused"


class Gone(MissionstreamError):
    """This is over."""

    code = "gone"
    kind = "gone"


class CursorLost(MissionstreamError):
    """The stream cannot go on from this cursor; take a new snapshot."""

    code = "cursor_lost"
    kind = "cursor"


class CursorGone(CursorLost):
    """The events after this cursor were removed by retention; take a new snapshot."""

    code = "cursor_gone"
    kind = "gone"


class CursorAhead(CursorLost):
    """The cursor is ahead of the log; take a new snapshot."""

    code = "cursor_ahead"


class OtherEpoch(CursorLost):
    """The cursor belongs to another history of this workspace; take a new snapshot."""

    code = "other_epoch"


class TooLarge(MissionstreamError):
    """The request is larger than the server takes."""

    code = "too_large"
    kind = "large"


class TooMany(MissionstreamError):
    """Too many requests; wait and repeat."""

    code = "too_many"
    kind = "limit"

    def __init__(self, message: str | None = None, *, retry_after: float = 1.0, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class Stalled(TooMany):
    """The reader took no byte for too long."""

    code = "stalled"


class AgentFailed(MissionstreamError):
    """The agent process failed."""

    code = "agent_failed"
    kind = "upstream"


class Unavailable(MissionstreamError):
    """The service is not available right now; repeat later."""

    code = "unavailable"
    kind = "down"

    def __init__(self, message: str | None = None, *, retry_after: float = 1.0, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class OutcomeUnknown(Unavailable):
    """The outcome is not known yet; repeat with the same idempotency key."""

    code = "outcome_unknown"
