"""The spelling of ids: there and back for every UUID, in order, as the command line expects, and nothing else is read."""

import re
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from hypothesis import given
from hypothesis import strategies as st

from server.dialects.crew import ids

ANY = st.uuids(allow_nil=True)
PREFIXES = [ids.ENTITY, ids.CHECKPOINT, ids.ASSIGNMENT]


@given(ANY, st.sampled_from(PREFIXES))
def test_every_uuid_is_read_back_from_its_spelling(identity: UUID, prefix: str) -> None:
    assert ids.read(ids.spell(identity, prefix), prefix) == identity


@given(ANY, st.sampled_from(PREFIXES))
def test_every_uuid_is_read_in_its_own_form(identity: UUID, prefix: str) -> None:
    assert ids.read(str(identity), prefix) == identity
    assert ids.read(str(identity).upper(), prefix) == identity


@given(ANY)
def test_the_command_line_takes_a_spelling_for_an_id(identity: UUID) -> None:
    assert re.fullmatch(r"c[a-z0-9]{19,}", ids.spell(identity))
    assert len(ids.spell(identity)) == 26


@given(ANY, ANY)
def test_spellings_sort_like_their_uuids(one: UUID, other: UUID) -> None:
    assert (ids.spell(one) < ids.spell(other)) == (one.int < other.int)


@given(st.text(max_size=40) | st.from_regex(r"c[0-9a-zA-Z]{24,26}", fullmatch=True))
def test_what_is_read_is_spelled_the_same_again(text: str) -> None:
    identity = ids.read(text)
    assert identity is None or text in (ids.spell(identity), str(identity)) or text.lower() == str(identity)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c",
        "0" * 25,
        "c" + "0" * 24,
        "c" + "0" * 26,
        "c" + "z" * 25,  # above 128 bits
        "C" + "0" * 25,
        "c" + "A" * 25,
        "c" + "0" * 24 + "\u0661",  # a digit, but not ASCII
        "c" + "0" * 25 + "\n",
        "chk_" + "0" * 25,
        "00000000000000000000000000000000",
        "{00000000-0000-0000-0000-000000000000}",
        "urn:uuid:00000000-0000-0000-0000-000000000000",
    ],
)
def test_nothing_else_is_an_id(text: str) -> None:
    assert ids.read(text) is None


def test_the_largest_uuid_has_a_spelling_and_the_next_number_has_none() -> None:
    largest = ids.spell(UUID(int=(1 << 128) - 1))
    assert largest == "cf5lxx1zz5pnorynqglhzmsp33"
    assert ids.read(largest) == UUID(int=(1 << 128) - 1)
    assert ids.read(largest[:-1] + "4") is None


def test_an_unreadable_id_is_as_unknown_as_any_other() -> None:
    made = uuids.uuid7()
    assert ids.known(ids.spell(made)) == made
    assert ids.known("nothing") != ids.known("nothing")


@given(st.integers(1, 2**63 - 1))
def test_entries_are_read_back_and_sort_by_position(position: int) -> None:
    text = ids.spell_entry(position)
    assert re.fullmatch(r"j_[0-9a-f]{16}", text)
    assert ids.read_entry(text) == position
    assert text < ids.spell_entry(position + 1)


@pytest.mark.parametrize("text", ["", "j_", "j_" + "0" * 16, "j_" + "f" * 16, "j_" + "A" * 16, "0" * 15 + "1", "j_1"])
def test_nothing_else_is_an_entry(text: str) -> None:
    assert ids.read_entry(text) is None
