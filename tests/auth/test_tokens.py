"""Tokens of our own make, and how secrets are compared."""

import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.auth import tokens

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_a_token_has_the_form_that_secret_scanners_look_for() -> None:
    made = {tokens.generate() for _ in range(200)}
    assert len(made) == 200
    assert all(re.fullmatch(r"mst_[0-9A-Za-z]{36}", token) and not tokens.is_misspelt(token) for token in made)


@given(st.text(max_size=60))
def test_the_checksum_is_the_crc32_in_base62(body: str) -> None:
    value = 0
    for digit in tokens.checksum(body):
        value = value * 62 + BASE62.index(digit)
    assert len(tokens.checksum(body)) == 6
    assert value == zlib.crc32(body.encode())


@given(st.integers(4, 39), st.sampled_from(BASE62))
def test_one_wrong_character_is_noticed(place: int, digit: str) -> None:
    token = tokens.generate()
    changed = token[:place] + digit + token[place + 1 :]
    assert tokens.is_misspelt(changed) == (changed != token)


@pytest.mark.parametrize(
    "text", ["", "mst_", "mst_short", "a token of the operator's own", "mst_" + "0" * 35, "é" * 40]
)
def test_another_form_is_never_called_misspelt(text: str) -> None:
    assert not tokens.is_misspelt(text)


@given(st.text(max_size=40), st.text(max_size=40))
def test_secrets_are_the_same_when_their_texts_are(left: str, right: str) -> None:
    assert tokens.is_same(left, right) == (left == right)
    assert tokens.is_same(left, left)


def test_a_lone_surrogate_is_only_a_wrong_secret() -> None:
    assert not tokens.is_same("\ud800", "secret")
    assert len(tokens.digest("\udcff")) == 32


def test_a_derived_token_is_the_same_for_the_same_key_and_label_only() -> None:
    made = tokens.derived(b"a key", "label")
    assert made == tokens.derived(b"a key", "label")
    assert re.fullmatch(r"mst_[0-9A-Za-z]{36}", made)
    assert not tokens.is_misspelt(made)
    assert len({made, tokens.derived(b"a key", "other"), tokens.derived(b"other", "label"), tokens.generate()}) == 4


@given(st.binary(max_size=64), st.text())
def test_every_derived_token_is_well_formed(key: bytes, label: str) -> None:
    made = tokens.derived(key, label)
    assert re.fullmatch(r"mst_[0-9A-Za-z]{36}", made)
    assert not tokens.is_misspelt(made)
