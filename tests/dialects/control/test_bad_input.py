"""Bad input on every route with a body or a query: a clear 4xx or cleaned text, never a 500, and nothing stored."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.core import Core
from server.dialects.control.routes import ROUTES
from tests.conftest import Serving
from tests.dialects.control.driving import MISSIONS, Answer, ask, create, events, get, post

pytestmark = pytest.mark.asyncio(loop_scope="module")
JSON = {"Content-Type": "application/json"}
POSTS: dict[str, dict[str, Any]] = {
    "/api/auth/login": {"password": "p", "username": "u"},
    MISSIONS: {"title": "t", "agent": "a", "model_override": "m", "backend": "demo", "config_profile": "c"},
    MISSIONS + "/{id}/status": {"status": "pending"},
    MISSIONS + "/{id}/title": {"title": "t"},
    MISSIONS + "/{id}/settings": {"agent": "a", "permission_policy": "ask"},
    MISSIONS + "/{id}/resume": {"skip_message": True},
    MISSIONS + "/{id}/parallel": {"content": "say x", "model": "m"},
    MISSIONS + "/{id}/events": {
        "events": [{"event_id": "e", "event_type": "x_a", "content": "c", "metadata": {}, "tool_call_id": "t"}]
    },
    MISSIONS + "/{id}/progress": {"total_subtasks": 3, "completed_subtasks": 1, "current_subtask": "c", "depth": 1},
    MISSIONS + "/{id}/tasks": {"title": "t", "description": "d"},
    "/api/control/message": {"content": "say x", "agent": "a"},
    "/api/control/tool_result": {"tool_call_id": "t", "name": "n", "result": {}},
    "/api/workspaces": {"name": "n", "path": None},
}
"""Every route that reads a body, with a good one."""
NO_BODY = {
    MISSIONS + "/cleanup", MISSIONS + "/{id}/load", MISSIONS + "/{id}/cancel", "/api/control/cancel",
}  # fmt: skip
OPTIONAL = {MISSIONS, MISSIONS + "/{id}/resume"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mission(owner: ClientSession) -> AsyncIterator[str]:
    yield str((await create(owner, title="the target"))["id"])


async def head_of(shared: Serving) -> int:
    core: Core = shared.core
    return (await core.log.head(shared.workspace_id)).head


def check_refusal(answer: Answer) -> None:
    """A 4xx in control's form: plain text for people, short, with open CORS."""
    assert 400 <= answer.status < 500, answer
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert 0 < len(answer.text) < 500
    assert "Traceback" not in answer.text
    assert "asyncpg" not in answer.text


async def send_raw(owner: ClientSession, path: str, mission: str, raw: bytes, kind: str = "application/json") -> Answer:
    return await ask(owner, "POST", path.replace("{id}", mission), data=raw, headers={"Content-Type": kind})


async def test_every_route_with_a_body_is_in_the_table() -> None:
    assert {route.path for route in ROUTES if route.method == "POST"} == {*POSTS, *NO_BODY}


DEEP = b'{"x":' * 40 + b"1" + b"}" * 40
BROKEN = [
    b"{", b"}", b"[1,", b'"', b"nul", b"{'a':1}", b'{"a":1}x', b"\xff\xfe", b'{"a":"\xff"}', b"\x00", b'{"a":NaN}',
    b'{"a":1e999}', DEEP, b"[" * 100_000, b'{"a":' * 50_000,
]  # fmt: skip
WRONG = [b"null", b"[]", b"1", b'"text"', b"true"]


@pytest.mark.parametrize("path", POSTS)
async def test_a_body_that_is_no_json_is_400_and_stores_nothing(
    owner: ClientSession, shared: Serving, mission: str, path: str
) -> None:
    before = await head_of(shared)
    for raw in BROKEN:
        answer = await send_raw(owner, path, mission, raw)
        check_refusal(answer)
        assert answer.status == 400, (raw[:20], answer)
    assert await head_of(shared) == before


@pytest.mark.parametrize("path", POSTS)
async def test_json_of_another_shape_is_422_and_stores_nothing(
    owner: ClientSession, shared: Serving, mission: str, path: str
) -> None:
    before = await head_of(shared)
    for raw in WRONG:
        answer = await send_raw(owner, path, mission, raw)
        check_refusal(answer)
        assert answer.status == 422
    for name in POSTS[path]:
        for wrong in (1.5, [1], {"a": 1}, False):
            if name in ("result", "skip_message") or (name, wrong) == ("path", None):
                continue
            answer = await send_raw(owner, path, mission, json.dumps(POSTS[path] | {name: wrong}).encode())
            check_refusal(answer)
            assert answer.status == 422, (name, wrong, answer)
    assert await head_of(shared) == before


@pytest.mark.parametrize("path", sorted(set(POSTS) - OPTIONAL))
async def test_a_missing_body_or_another_content_type_is_refused(
    owner: ClientSession, shared: Serving, mission: str, path: str
) -> None:
    before = await head_of(shared)
    good = json.dumps(POSTS[path]).encode()
    for kind in ("text/plain", "application/xml", "multipart/form-data; boundary=x"):
        answer = await send_raw(owner, path, mission, good, kind)
        check_refusal(answer)
        assert answer.status == 415
    check_refusal(await send_raw(owner, path, mission, b""))
    check_refusal(await send_raw(owner, path, mission, b"{}"))
    assert await head_of(shared) == before


@pytest.mark.parametrize("path", POSTS)
async def test_a_text_that_is_too_long_is_refused_and_stores_nothing(
    owner: ClientSession, shared: Serving, mission: str, path: str
) -> None:
    before = await head_of(shared)
    long = "x" * 300_000
    for name, value in POSTS[path].items():
        if not isinstance(value, str) or (path, name) in CUT:
            continue
        answer = await send_raw(owner, path, mission, json.dumps(POSTS[path] | {name: long}).encode())
        check_refusal(answer)
    assert await head_of(shared) == before


CUT = {(MISSIONS, "title"), (MISSIONS + "/{id}/parallel", "model")}
"""A title is cut at creation, as the original does; parallel's model is not kept."""

UNSTORABLE = [r"a\u0000b", r"\ud800", r"x\udfffy", r"\udc00\ud800"]


async def test_nul_and_lone_surrogates_become_replacement_characters(owner: ClientSession, mission: str) -> None:
    for number, text in enumerate(UNSTORABLE):
        clean = json.loads(f'"{text}"').replace("\x00", "\ufffd")
        clean = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in clean)
        made = (await send_raw(owner, MISSIONS, mission, f'{{"title":"{text}","agent":"{text}"}}'.encode())).json
        assert (made["title"], made["agent"]) == (clean, clean)
        answer = await send_raw(owner, MISSIONS + "/{id}/title", made["id"], f'{{"title":"t{text}"}}'.encode())
        assert answer.status == 200
        assert (await get(owner, f"{MISSIONS}/{made['id']}"))["title"] == f"t{clean}"
        event = (
            f'{{"event_id":"{number}{text}","event_type":"tool_call","content":"{text}","tool_name":"{text}",'
            f'"tool_call_id":"{text}","metadata":{{"{text}":["{text}"]}}}}'
        )
        appended = await send_raw(owner, MISSIONS + "/{id}/events", made["id"], f'{{"events":[{event}]}}'.encode())
        assert appended.status == 200
        [row] = await events(owner, made["id"], types="tool_call")
        assert (row["event_id"], row["content"], row["metadata"]) == (f"{number}{clean}", clean, {clean: [clean]})
        answer = await send_raw(
            owner,
            "/api/control/tool_result",
            mission,
            f'{{"tool_call_id":"{text}","name":"n","result":"{text}"}}'.encode(),
        )
        assert answer.json == {"ok": True, "delivered": False}
        answer = await send_raw(owner, "/api/auth/login", mission, f'{{"password":"{text}"}}'.encode())
        assert answer.status in (401, 429)


async def test_raw_surrogate_bytes_are_cleaned_too(owner: ClientSession, mission: str) -> None:
    answer = await send_raw(owner, MISSIONS, mission, b'{"title":"\xed\xa0\x80 x"}')
    assert answer.json["title"] in ("\ufffd x", "\ufffd\ufffd\ufffd x")


async def test_the_depth_of_a_body_is_bounded(owner: ClientSession, shared: Serving, mission: str) -> None:
    def nested(levels: int) -> bytes:
        value = b"[" * (levels - 1) + b"]" * (levels - 1)
        return b'{"tool_call_id":"t","name":"n","result":' + value + b"}"

    assert (await send_raw(owner, "/api/control/tool_result", mission, nested(33))).status == 200
    for levels in (34, 35, 1_000, 500_000):
        answer = await send_raw(owner, "/api/control/tool_result", mission, nested(levels))
        check_refusal(answer)
        assert answer.status == 400


# queries

GETS = [
    MISSIONS, MISSIONS + "/{id}/events", "/api/control/events", MISSIONS + "/{id}/snapshot", MISSIONS + "/{id}/tree",
    MISSIONS + "/{id}", "/api/control/queue", "/api/control/running", "/api/control/progress", "/api/workspaces",
]  # fmt: skip
NUMBERS = [
    "-1",
    "abc",
    "1.5",
    "1e9",
    "0x10",
    " ",
    "%00",
    "1" * 30,
    "9" * 5_000,
    "-" + "9" * 50,
    "%F0%9F%98%80",
    "%ED%A0%80",
    "%FF",
]
NUMERIC = ["limit", "offset", "since_seq", "before_seq", "wait"]
TEXTUAL = [
    "status",
    "types",
    "view",
    "latest",
    "include_counts",
    "mission",
    "since",
    "mission_id",
    "unknown",
    "profile",
]
TEXTS = [
    "",
    "x" * 6_000,
    "%00",
    "a%00b",
    "%ED%A0%80",
    "%FF%FE",
    "'; --",
    "%",
    "%zz",
    "%0a%0d",
    ",,,",
    "null",
    "[]",
    "*",
]


@pytest.mark.parametrize("path", GETS)
async def test_no_query_is_an_error_of_ours(owner: ClientSession, shared: Serving, mission: str, path: str) -> None:
    before = await head_of(shared)
    cases = [f"{name}={value}" for name in NUMERIC for value in NUMBERS if not (name == "wait" and value.isdigit())]
    cases += [f"{name}={value}" for name in TEXTUAL for value in TEXTS]
    for query in cases:
        answer = await ask(owner, "GET", f"{path.replace('{id}', mission)}?{query}")
        if answer.status != 200:
            check_refusal(answer)
    assert await head_of(shared) == before


@pytest.mark.parametrize("name", ["limit", "offset", "since_seq", "before_seq"])
@pytest.mark.parametrize("text", ["-1", "abc", "1.5", "1e9", "%00", "-" + "9" * 50])
async def test_a_garbled_number_is_400(owner: ClientSession, mission: str, name: str, text: str) -> None:
    answer = await ask(owner, "GET", f"{MISSIONS}/{mission}/events?{name}={text}")
    check_refusal(answer)
    assert answer.status == 400
    assert name in answer.text


IDS = [
    "x",
    "%00",
    "%FF",
    "%ED%A0%80",
    "a" * 5_000,
    "0" * 32 + "g",
    "'",
    "%F0%9F%98%80",
    "{id}",
    "-",
    "null",
]


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if "{id}" in route.path], ids=lambda route: f"{route.method} {route.path}"
)
async def test_an_id_of_another_form_is_a_4xx(owner: ClientSession, shared: Serving, route: Any) -> None:
    before = await head_of(shared)
    body = POSTS.get(route.path)
    for text in IDS:
        options = {"json": body} if body and route.method == "POST" else {}
        answer = await ask(owner, route.method, route.path.replace("{id}", text), **options)
        assert 400 <= answer.status < 500, (text, answer)
    assert await head_of(shared) == before


HEADERS = [
    ("Idempotency-Key", ""), ("Idempotency-Key", "x" * 256), ("Idempotency-Key", "\u00e9"), ("Last-Event-ID", "x" * 5_000),
    ("X-Request-ID", "\u00e9" * 100), ("X-Workspace-ID", "nobody"), ("Accept", "text/html"), ("Origin", "null"),
    ("Content-Encoding", "gzip"), ("Range", "bytes=0-1"), ("If-None-Match", "*"), ("Expect", "200-ok"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), HEADERS, ids=[f"{name} {value[:5]}" for name, value in HEADERS])
async def test_no_header_is_an_error_of_ours(owner: ClientSession, mission: str, name: str, value: str) -> None:
    for method, path, options in (
        ("GET", MISSIONS, {}),
        ("POST", MISSIONS, {"data": b"{}"}),
        ("POST", f"{MISSIONS}/{mission}/title", {"data": b'{"title":"x"}'}),
    ):
        answer = await ask(owner, method, path, headers={**JSON, "Connection": "close", name: value}, **options)
        assert answer.status < 500, answer


async def test_an_idempotency_key_of_bytes_that_are_no_text_is_refused(shared: Serving, mission: str) -> None:
    host, port = shared.url.removeprefix("http://").split(":")
    for raw in (b"\xff\xfe", b"\xed\xa0\x80"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /api/control/missions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"Authorization: " + shared.headers["Authorization"].encode() + b"\r\nContent-Length: 2\r\n"
            b"Idempotency-Key: " + raw + b"\r\n\r\n{}"
        )
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 4"), answer[:300]


# any JSON whatever

_texts = st.text(max_size=12)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)
_QUIET = [path for path in POSTS if not path.endswith(("/message", "/parallel", "/resume", "/login"))]
"""Where a lucky body starts no agent; those that do get bodies without a content that could be sent."""


@pytest.mark.parametrize("path", POSTS)
async def test_any_json_on_any_route_is_never_an_error_of_ours(owner: ClientSession, mission: str, path: str) -> None:
    bodies: list[Any] = []
    fields = st.fixed_dictionaries({}, optional={name: _json for name in POSTS[path] if name != "content"})

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(_json | fields | st.dictionaries(_texts, _json, max_size=3))
    def collect(body: Any) -> None:
        if not (isinstance(body, dict) and isinstance(body.get("content"), str)):
            bodies.append(body)

    collect()
    for body in bodies:
        raw = json.dumps(body).encode()
        answer = await send_raw(owner, path, mission, raw)
        assert answer.status < 500, (raw, answer)
    assert await post(owner, f"{MISSIONS}/{mission}/title", {"title": "still here"}) == {"ok": True}
