"""What the tests of authentication share: a clock moved by hand, an owner with a token, requests and refusals."""

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

import pytest
from aiohttp import web

from server.auth.authenticator import Authenticator
from streams.errors import MissionstreamError

PASSWORD = "correct horse battery staple"
SIGNING = "a signing secret of the tests, long enough"
TOKEN = "a token of the operator's own"

Asking = Callable[..., web.Request]


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


class Owner(NamedTuple):
    """The owner of `default`, whose token is TOKEN."""

    user_id: UUID
    workspace_id: UUID
    token_id: UUID


async def refusal(authenticator: Authenticator, request: web.Request) -> MissionstreamError:
    """The error that the request is answered with."""
    with pytest.raises(MissionstreamError) as refused:
        await authenticator.authenticate(request)
    return refused.value
