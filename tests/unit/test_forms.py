"""What crews' names and slugs look like, by property."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.crews import forms
from streams.errors import BadRequest


@given(st.text(max_size=110))
def test_a_name_is_trimmed_and_has_2_to_100_characters(text: str) -> None:
    if 2 <= len(text.strip()) <= 100:
        assert forms.name(text) == text.strip()
    else:
        with pytest.raises(BadRequest):
            forms.name(text)


@given(st.text(max_size=60) | st.from_regex(r"[a-z0-9][a-z0-9_-]{0,60}"))
def test_a_slug_is_what_crews_clients_check(text: str) -> None:
    is_one = 2 <= len(text) <= 50 and re.match(r"^[a-z0-9][a-z0-9_-]*\Z", text) is not None
    if is_one:
        assert forms.slug(text) == text
    else:
        with pytest.raises(BadRequest):
            forms.slug(text)
