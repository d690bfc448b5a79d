"""Calls are typed, say what went wrong, and are done once even when the way to the server fails."""

import asyncio
from dataclasses import replace
from uuid import UUID

import aiohttp
import pytest

from missionstream_client import (
    ApiError,
    AuthenticationError,
    Client,
    ConflictError,
    ConnectionLostError,
    CursorLostError,
    Draft,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    UnavailableError,
)
from missionstream_client.ws import item_of
from tests.client.conftest import TIMING
from tests.client.fake_server import TOKEN, Drop, FakeServer, Fault, Refuse, Slow


async def test_a_mission_is_created_read_listed_and_deleted(client: Client) -> None:
    made = await client.create_mission("one", backend="codex", parent_mission_id=UUID(int=7))
    assert (made.title, made.status, made.parent_mission_id) == ("one", "pending", str(UUID(int=7)))
    assert await client.mission(UUID(made.id)) == made
    assert await client.missions(limit=5, status="pending") == [made]
    assert await client.missions(status="active") == []
    await client.delete(made.id)
    with pytest.raises(NotFoundError, match="Mission not found"):
        await client.mission(made.id)


async def test_a_mission_is_acted_upon(client: Client, mission: str, server: FakeServer) -> None:
    assert (await client.resume(mission)).status == "active"
    with pytest.raises(ConflictError, match="running"):
        await client.delete(mission)
    await client.cancel(mission)
    assert (await client.mission(mission)).status == "interrupted"
    await client.set_status(mission, "completed")
    assert (await client.mission(mission)).status == "completed"
    await client.tool_result("call", "AskUserQuestion", {"answer": 42})
    assert server.answers["tool_result"]["result"] == {"answer": 42}
    assert [mission.state for mission in await client.running()] == ["running"]


async def test_a_snapshot_joins_a_follow(client: Client, mission: str, server: FakeServer) -> None:
    server.signals = [{"event_type": "thinking", "content": "hm", "after": 2}]
    await server.happen(mission, 2)
    snapshot = await client.snapshot(mission)
    assert [event.sequence for event in snapshot.events] == [1, 2]
    assert (snapshot.latest_sequence, snapshot.cursor) == (2, "e1:2")
    assert (snapshot.signals[0].content, snapshot.signals[0].mission_id) == ("hm", mission)
    await server.happen(mission, 1)
    async with client.follow(mission, since=snapshot.cursor) as follow, asyncio.timeout(5):
        assert (await anext(follow)).sequence == 3


async def test_events_are_read_in_pages(client: Client, mission: str, server: FakeServer) -> None:
    await server.happen(mission, 3)
    await server.happen(mission, 2, "tool_call")
    page = await client.events(mission, since_seq=1, limit=2)
    assert ([event.sequence for event in page.events], page.max_sequence, page.epoch) == ([2, 3], 5, "e1")
    page = await client.events(mission, before_seq=4, limit=2)
    assert [event.sequence for event in page.events] == [2, 3]
    page = await client.events(mission, types=["tool_call"])
    assert [event.sequence for event in page.events] == [4, 5]


async def test_the_feed_is_read_in_pages(client: Client, server: FakeServer) -> None:
    await server.happen("a", 3)
    page = await client.feed(limit=2)
    assert ([event.position for event in page.events], page.cursor, page.head) == ([1, 2], "e1:2", 3)
    page = await client.feed(since=page.cursor, mission_id="a", wait_seconds=0.05)
    assert [event.position for event in page.events] == [3]
    with pytest.raises(CursorLostError, match="ahead"):
        await client.feed(since="e1:9")


async def test_login_gives_the_client_its_token(server: FakeServer) -> None:
    async with Client(server.url + "/", timing=TIMING) as client:
        assert (await client.health()).status == "ok"
        with pytest.raises(AuthenticationError, match="Invalid password"):
            await client.login("wrong")
        assert (await client.login("secret")).token == TOKEN
        assert await client.missions() == []


@pytest.mark.parametrize("fault", [Drop(is_done=True), Drop(), Refuse(503, retry_after="0"), Refuse(502)], ids=repr)
async def test_what_is_repeated_is_done_once(client: Client, mission: str, server: FakeServer, fault: Fault) -> None:
    server.keys.clear()
    server.call_faults.extend([fault, fault])
    await client.create_mission("two", idempotency_key="mine")
    assert len(server.missions) == 2
    server.call_faults.extend([fault, fault])
    placed = await client.append(mission, [Draft(event_type="note", content="a"), Draft(event_type="note")])
    assert [numbers.sequence for numbers in placed] == [1, 2]
    assert server.keys[:3] == ["mine"] * 3
    assert len(set(server.keys[3:])) == 1


async def test_a_message_is_repeated_with_its_own_id(client: Client, mission: str, server: FakeServer) -> None:
    server.call_faults.append(Drop(is_done=True))
    sent = await client.send(mission, "hello")
    assert [body["content"] for body in server.answers[sent.id]] == ["hello", "hello"]


async def test_a_repeated_delete_that_finds_nothing_is_done(client: Client, mission: str, server: FakeServer) -> None:
    server.call_faults.append(Drop(is_done=True))
    await client.delete(mission)
    assert server.missions == {}


async def test_repeating_is_bounded(client: Client, server: FakeServer) -> None:
    server.call_faults.extend([Drop()] * 9)
    with pytest.raises(ConnectionLostError):
        await client.create_mission()
    assert len(server.call_faults) == 9 - TIMING.attempts


async def test_a_long_retry_after_is_the_callers_to_wait(client: Client, server: FakeServer) -> None:
    server.call_faults.append(Refuse(503, "starting", retry_after="60"))
    with pytest.raises(UnavailableError, match="starting") as caught:
        await client.missions()
    assert (caught.value.status, caught.value.retry_after) == (503, 60)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ApiError),
        (401, AuthenticationError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (410, CursorLostError),
        (429, RateLimitedError),
        (302, ApiError),
        (500, ApiError),
    ],
)
async def test_a_refusal_is_raised_at_once(
    client: Client, server: FakeServer, status: int, kind: type[ApiError]
) -> None:
    server.call_faults.append(Refuse(status, "the server's words", retry_after="0"))
    with pytest.raises(ApiError) as caught:
        await client.missions()
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.text) == (status, "the server's words")
    assert len(server.requests) == 1


async def test_a_server_that_never_answers_is_given_up(server: FakeServer) -> None:
    server.call_faults.extend([Slow(), Slow()])
    async with Client(server.url, TOKEN, timing=replace(TIMING, request_seconds=0.05, attempts=2)) as client:
        with pytest.raises(ConnectionLostError, match="GET"):
            await client.missions()


async def test_an_answer_of_another_shape_is_a_protocol_error(client: Client, server: FakeServer) -> None:
    server.call_faults.append(Refuse(200, "<html>"))
    with pytest.raises(ProtocolError):
        await client.missions()


async def test_a_page_instead_of_a_stream_is_a_protocol_error(client: Client, server: FakeServer) -> None:
    server.stream_faults.append(Refuse(200, "<html>"))
    with pytest.raises(ProtocolError, match="instead of an event stream"):
        await anext(client.follow("workspace"))


async def test_a_given_session_stays_open(server: FakeServer) -> None:
    async with aiohttp.ClientSession() as session:
        async with Client(server.url, TOKEN, session=session, timing=TIMING) as client:
            follow = client.follow("workspace")
            reading = asyncio.ensure_future(anext(follow))
            await server.happen("a", 0)
            reading.cancel()
            await asyncio.wait([reading])
        assert not session.closed
        with pytest.raises(StopAsyncIteration):
            await anext(follow)


async def test_a_client_outside_its_context_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Client("http://127.0.0.1:1").missions()


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://"])
async def test_a_strange_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        async with Client(url):
            pass


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("access denied", NotFoundError),
        ("access revoked", ForbiddenError),
        ("invalid or expired ws-token", AuthenticationError),
        ("internal error", ConnectionLostError),
    ],
)
def test_error_frames_are_told_apart_by_their_words(words: str, kind: type[ApiError]) -> None:
    frame = f'{{"type":"error","channel":"timeline:m","payload":{{"message":"{words}"}}}}'
    with pytest.raises(kind):
        item_of(frame, "timeline:m", "m")


@pytest.mark.parametrize("frame", ['{"type":"pong","payload":null}', '{"type":"ping","channel":"other","through":3}'])
def test_frames_of_others_are_passed_over(frame: str) -> None:
    assert item_of(frame, "timeline:m", "m") is None
