"""A crew's escalation: whatever is stored is an object that can be read again, and every threshold is from 0 to 1."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.crews.escalation import MOST_BYTES, Thresholds, stored, thresholds
from streams.errors import BadRequest

NAMES = Thresholds.__struct_fields__
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(JSON, st.booleans())
def test_whatever_is_stored_can_be_read(value: Any, as_text: bool) -> None:
    try:
        text = stored(json.dumps(value) if as_text else value)
    except BadRequest:
        return
    assert text is None or isinstance(json.loads(text), dict)
    assert all(found is None or 0 <= found <= 1 for found in map(thresholds(text).__getattribute__, NAMES))


@given(st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1)))
def test_sound_thresholds_are_kept(sound: dict[str, float]) -> None:
    assert thresholds(stored(sound)) == Thresholds(**sound) == thresholds(stored(json.dumps(sound)))


@given(st.sampled_from(NAMES), st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.booleans())
def test_no_other_threshold_is(name: str, value: Any) -> None:
    if isinstance(value, bool | str) or not 0 <= value <= 1:
        with pytest.raises(BadRequest):
            stored({name: value})


@pytest.mark.parametrize("nothing", [None, "", {}, "{}", " {} ", "null"])
def test_an_empty_one_is_none(nothing: Any) -> None:
    assert stored(nothing) is None


def test_a_large_one_is_refused() -> None:
    with pytest.raises(BadRequest, match="larger"):
        stored({"note": "x" * MOST_BYTES})
