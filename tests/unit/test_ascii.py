"""JSON in pure ASCII: the same value, whatever its characters."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.event import ascii_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.recursive(
        TEXTS | st.integers(-(2**53), 2**53) | st.none() | st.booleans(),
        lambda v: st.lists(v) | st.dictionaries(TEXTS, v),
    )
)
def test_what_is_read_is_what_was_written(value: object) -> None:
    encoded = ascii_json(value)
    assert encoded.isascii()
    assert json.loads(encoded) == value


@pytest.mark.parametrize("text", ["дом", "é", "\x80\xff", "😀", "a\\x41é\\U0001f600😀", "\u2028", '"\\"'])
def test_it_is_written_as_the_standard_library_writes_it(text: str) -> None:
    assert ascii_json({"t": text}) == json.dumps({"t": text}, separators=(",", ":")).encode()


def test_raw_json_within_is_escaped_too() -> None:
    assert ascii_json({"m": msgspec.Raw('{"é":"д"}'.encode())}) == b'{"m":{"\\u00e9":"\\u0434"}}'
