"""The one exception tree and its two maps: every kind has a status, every refusal of a stream a close code."""

from collections.abc import Iterator

import pytest

from server.body import WrongMediaType
from server.errors import CLOSE_CODE, STATUS, headers_of, status_of
from streams import errors
from streams.errors import MissionstreamError, NotFound, Stalled, TooMany, Unavailable


def _tree(root: type[MissionstreamError]) -> Iterator[type[MissionstreamError]]:
    yield root
    for below in root.__subclasses__():
        yield from _tree(below)


EVERY = sorted({*_tree(MissionstreamError)}, key=lambda error: error.__name__)
OURS = [error for error in EVERY if error.__module__ in (errors.__name__, WrongMediaType.__module__)]
EXPECTED = {
    "AgentFailed": 502,
    "BadCursor": 400,
    "BadRequest": 400,
    "Conflict": 409,
    "CursorAhead": 409,
    "CursorGone": 410,
    "CursorLost": 409,
    "Forbidden": 403,
    "Gone": 410,
    "HeadMoved": 409,
    "KeyReused": 422,
    "MissionstreamError": 500,
    "MoveRefused": 409,
    "NotFound": 404,
    "OtherEpoch": 409,
    "OutcomeUnknown": 503,
    "Stalled": 429,
    "TokenExpired": 401,
    "TooLarge": 413,
    "TooMany": 429,
    "Unauthenticated": 401,
    "Unavailable": 503,
    "Unprocessable": 422,
    "WrongMediaType": 415,
}


@pytest.mark.parametrize("error", OURS, ids=lambda error: error.__name__)
def test_an_error_has_a_status_and_its_docstring_as_message(error: type[MissionstreamError]) -> None:
    assert status_of(error()) == EXPECTED[error.__name__]
    assert error().message == (error.__doc__ or "").strip()
    assert "\n" not in error().message
    assert error("said otherwise", a=1).details == {"a": 1}


def test_codes_are_unique() -> None:
    assert len({error.code for error in OURS}) == len(OURS) == len(EXPECTED)


def test_the_tree_in_the_modules_docstring_is_the_real_one() -> None:
    drawn = {line.strip(" │├└─").split()[0] for line in (errors.__doc__ or "").splitlines()[2:]}
    assert drawn == {error.__name__ for error in OURS if error.__module__ == errors.__name__}


def test_the_maps_know_the_same_kinds() -> None:
    assert {error.kind for error in EVERY} <= set(STATUS)
    assert set(CLOSE_CODE) <= set(STATUS)
    assert all(4400 <= code < 4600 for code in CLOSE_CODE.values())


def test_who_should_come_back_hears_when() -> None:
    assert headers_of(TooMany(retry_after=2.4)) == {"Retry-After": "2"}
    assert headers_of(Unavailable(retry_after=0.1)) == {"Retry-After": "1"}
    assert headers_of(Stalled()) == {"Retry-After": "1"}
    assert headers_of(NotFound()) == {}
