"""A client of Missionstream: calls that are done once, and follows that lose and repeat nothing."""

from missionstream_client.backoff import Timing
from missionstream_client.client import Client
from missionstream_client.cursor import Cursor
from missionstream_client.errors import (
    ApiError,
    AuthenticationError,
    ConflictError,
    ConnectionLostError,
    CursorLostError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    UnavailableError,
)
from missionstream_client.follow import Follow
from missionstream_client.model import (
    Draft,
    Event,
    EventPage,
    FeedPage,
    Health,
    HistoryEntry,
    Login,
    Mission,
    Placed,
    RunningMission,
    Sent,
    Signal,
    Snapshot,
    Task,
)

__all__ = [
    "ApiError",
    "AuthenticationError",
    "Client",
    "ConflictError",
    "ConnectionLostError",
    "Cursor",
    "CursorLostError",
    "Draft",
    "Event",
    "EventPage",
    "FeedPage",
    "Follow",
    "ForbiddenError",
    "Health",
    "HistoryEntry",
    "Login",
    "Mission",
    "NotFoundError",
    "Placed",
    "ProtocolError",
    "RateLimitedError",
    "RunningMission",
    "Sent",
    "Signal",
    "Snapshot",
    "Task",
    "Timing",
    "UnavailableError",
]
