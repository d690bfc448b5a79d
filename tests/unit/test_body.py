"""Reading bodies and queries: what is decoded, cleaned and refused."""

import json
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from server.body import WrongMediaType, decoded, identity, number, parse, read, seconds
from streams.errors import BadRequest, Unprocessable
from streams.event import MAX_DEPTH, ascii_json, clean_text, clean_value

JSON = {"Content-Type": "application/json"}


class Shape(msgspec.Struct):
    text: str = "default"
    value: Any = None


def a_request(raw: bytes = b"", *, query: str = "", headers: dict[str, str] | None = None) -> web.Request:
    request = make_mocked_request("POST", f"/{query}", headers=JSON if headers is None else headers)
    request._read_bytes = raw
    return request


async def test_an_absent_body_is_the_default_where_it_is_optional() -> None:
    assert await read(a_request(b" \n", headers={}), Shape, is_optional=True) == Shape()
    assert await read(a_request(b"{}", headers={}), Shape, is_optional=True) == Shape()
    with pytest.raises(BadRequest):
        await read(a_request(b""), Shape)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
async def test_another_content_type_is_refused(kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    with pytest.raises(WrongMediaType):
        await read(a_request(b"{}", headers=headers), Shape)


async def test_a_charset_does_not_matter() -> None:
    request = a_request(b'{"text":"x"}', headers={"Content-Type": "application/json; charset=utf-8"})
    assert (await read(request, Shape)).text == "x"


@pytest.mark.parametrize(
    "raw",
    [
        b"{", b"]", b"nul", b'{"text":', b'{"text":"a"} trailing', b"\xff\xfe\x00", b'{"text":"\xc3"}', b"NaN",
        b'{"value":NaN}', b'{"value":Infinity}', b'{"value":-Infinity}', b'{"value":1e999}', b"'a'", b"{,}",
        b'{"value":' + b"9" * 5_000 + b"}",
    ],
)  # fmt: skip
async def test_what_is_no_json_is_a_bad_request(raw: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        await read(a_request(raw), Shape)
    assert type(caught.value) is BadRequest
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("raw", [b"null", b"[]", b'"text"', b"1", b'{"text":1}', b'{"text":null}', b'{"text":["a"]}'])
async def test_json_of_another_shape_is_unprocessable(raw: bytes) -> None:
    with pytest.raises(Unprocessable):
        await read(a_request(raw), Shape)


async def test_the_refusal_names_the_path() -> None:
    with pytest.raises(Unprocessable, match=r"\$\.text"):
        await read(a_request(b'{"text":1}'), Shape)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (rb'{"text":"a\u0000b"}', "a\ufffdb"),
        (rb'{"text":"\ud800"}', "\ufffd"),
        (rb'{"text":"\udc00\ud800"}', "\ufffd\ufffd"),
        (rb'{"text":"\ud83d\ude00"}', "\U0001f600"),
        (b'{"text":"\xed\xa0\x80"}', "\ufffd"),
        ('{"text":"héllo 😀"}'.encode(), "héllo 😀"),
        (rb'{"text":"ok","value":{"k\u0000":"\udfff"}}', "ok"),
        ('{"text":"a\\u0000b"}'.encode("utf-16-le"), "a\ufffdb"),
        ('{"text":"\\ud800"}'.encode("utf-32-be"), "\ufffd"),
    ],
)
async def test_text_that_cannot_be_stored_is_cleaned(raw: bytes, text: str) -> None:
    shape = await read(a_request(raw), Shape)
    assert shape.text == text
    if shape.value is not None:
        assert shape.value == {"k\ufffd": "\ufffd"}


def _nested(levels: int) -> bytes:
    return b'{"value":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


async def test_depth_is_bounded() -> None:
    await read(a_request(_nested(MAX_DEPTH + 1)), Shape)
    for levels in (MAX_DEPTH + 2, 1_000, 200_000):
        with pytest.raises(BadRequest):
            await read(a_request(_nested(levels)), Shape)


async def test_depth_is_bounded_where_there_is_something_to_clean_too() -> None:
    escaped = _nested(MAX_DEPTH + 2).replace(b"[]", rb'["\u0000"]')
    with pytest.raises(BadRequest, match="nested deeper"):
        await read(a_request(escaped), Shape)


@given(st.text(st.characters(), max_size=40), st.booleans())
def test_text_without_escapes_needs_no_cleaning(text: str, is_ascii: bool) -> None:
    raw = json.dumps({"text": text}, ensure_ascii=is_ascii).encode(errors="surrogatepass")
    assert decoded(raw, Shape).text == clean_text(text)


@given(st.binary(max_size=200))
def test_parsing_any_bytes_gives_a_value_that_can_be_stored_or_a_bad_request(raw: bytes) -> None:
    try:
        value = parse(raw)
    except BadRequest:
        return
    assert ascii_json(clean_value(value)).isascii()


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_values)
def test_parsing_any_json_keeps_its_value(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value


@given(_values)
def test_any_json_value_can_be_written_again(value: Any) -> None:
    assert ascii_json(clean_value(parse(json.dumps(value).encode()))).isascii()


class TestNumber:
    @pytest.mark.parametrize("text", ["", "?n="])
    def test_absent_is_the_default(self, text: str) -> None:
        assert number(a_request(query=text), "n", 7) == 7

    @pytest.mark.parametrize(
        "text", ["x", "1.5", "1e3", "0x1", "--1", "NaN", "1,2", "%00", "a" * 60, "1" * 60 + "x", "1_000", "%D9%A1", "+"]
    )
    def test_garbled_is_refused(self, text: str) -> None:
        with pytest.raises(BadRequest, match="n must be a whole number"):
            number(a_request(query=f"?n={text}"), "n", 0)

    @pytest.mark.parametrize("text", ["-1", "-" + "9" * 60])
    def test_below_the_least_is_refused(self, text: str) -> None:
        with pytest.raises(BadRequest, match="n must be"):
            number(a_request(query=f"?n={text}"), "n", 0)

    @pytest.mark.parametrize("text", ["99", "9" * 30, "9" * 5_000])
    def test_above_the_most_is_clamped(self, text: str) -> None:
        assert number(a_request(query=f"?n={text}"), "n", 0, most=10) == 10

    def test_within_the_bounds_is_taken(self) -> None:
        assert number(a_request(query="?n=3"), "n", 0, least=3, most=3) == 3


@pytest.mark.parametrize(
    ("text", "value"), [("", 1.5), ("?s=2", 2.0), ("?s=-3", 0.0), ("?s=1e9", 60.0), ("?s=inf", 60.0)]
)
def test_seconds_are_clamped(text: str, value: float) -> None:
    assert seconds(a_request(query=text), "s", 1.5, most=60) == value


@pytest.mark.parametrize("text", ["x", "nan", "%00"])
def test_garbled_seconds_are_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        seconds(a_request(query=f"?s={text}"), "s", 0, most=60)


@pytest.mark.parametrize("text", ["", "1", "null", "0" * 31, "g" * 32, "x" * 5_000, "\x00" * 32, "\ud800"])
def test_an_id_that_is_no_uuid_is_refused(text: str) -> None:
    request = make_mocked_request("GET", "/", match_info={"id": text})
    with pytest.raises(BadRequest, match="is not a UUID") as caught:
        identity(request)
    assert len(caught.value.message) < 600
