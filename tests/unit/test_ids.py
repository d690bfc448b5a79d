"""Ids: of version 7 and growing; read strictly; equal to any other UUID of the same value."""

import uuid

import pytest

from storage.ids import new_id, parse_id


def test_later_ids_are_greater() -> None:
    made = [new_id() for _ in range(1_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {one.version for one in made} == {7}


def test_ids_stand_for_any_uuid_of_the_same_value() -> None:
    made = new_id()
    plain = uuid.UUID(str(made))
    assert isinstance(made, uuid.UUID)
    assert made == plain == parse_id(plain.hex) == parse_id(str(plain).upper())
    assert {made: 1}[plain] == {plain: 1}[made] == 1


@pytest.mark.parametrize(
    "text",
    ["", "x", "x" * 36, "{00000000-0000-7000-8000-000000000000}", "urn:uuid:00000000-0000-7000-8000-000000000000",
     "00000000-0000-7000-8000-00000000000", "00000000-0000-7000-8000-0000000000000", "\u00e9" * 36, "\ud800" * 32,
     "\0" * 32, "\u0661" * 32, " 0000000-0000-7000-8000-000000000000"],
)  # fmt: skip
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_id(text)
