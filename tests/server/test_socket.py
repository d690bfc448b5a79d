"""/ws as its clients see it: authentication, silent and answered subscriptions, errors that tell nothing, limits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from server import socket
from tests.conftest import TOKEN, Serving

Http = ClientSession


@asynccontextmanager
async def connected(http: Http, *, auth: dict[str, Any] | None = None) -> AsyncIterator[ClientWebSocketResponse]:
    async with http.ws_connect("/ws", headers={"Authorization": ""}) as ws:
        await ws.send_json({"type": "auth", "token": TOKEN} if auth is None else auth)
        yield ws


async def mission(http: Http) -> str:
    async with http.post("/api/control/missions", json={"title": "watched"}) as answer:
        return (await answer.json())["id"]


async def append(http: Http, mission_id: str, count: int) -> None:
    rows = [{"event_id": str(uuid4()), "event_type": "x_tick", "content": str(number)} for number in range(count)]
    async with http.post(f"/api/control/missions/{mission_id}/events", json={"events": rows}) as answer:
        assert answer.status == 200, await answer.text()


async def next_of(ws: ClientWebSocketResponse, *types: str) -> dict[str, Any]:
    while True:
        frame = await ws.receive_json(timeout=5)
        if frame["type"] in types:
            return frame


async def test_a_subscription_with_a_cursor_is_answered_and_replays(http: Http) -> None:
    mission_id = await mission(http)
    await append(http, mission_id, 3)
    channel = f"timeline:{mission_id}"
    async with connected(http) as ws:
        await ws.send_json({"type": "subscribe", "channel": channel, "payload": {"since_seq": 0}})
        answer = await next_of(ws, "subscribed")
        assert answer["channel"] == channel
        assert answer["payload"]["outcome"] == "resumed"
        frames = [await next_of(ws, "timeline.event") for _ in range(4)]
        await append(http, mission_id, 1)
        frames.append(await next_of(ws, "timeline.event"))
        assert [frame["payload"]["sequence"] for frame in frames] == [1, 2, 3, 4, 5]
        assert [frame["prev"] for frame in frames] == [0, *(frame["seq"] for frame in frames[:-1])]
        assert {frame["n"] for frame in frames} == {0}


async def test_a_plain_subscription_is_silent_and_begins_now(http: Http) -> None:
    mission_id = await mission(http)
    await append(http, mission_id, 2)
    async with connected(http) as ws:
        await ws.send_json({"type": "subscribe", "channel": f"timeline:{mission_id}"})
        await ws.send_json({"type": "subscribe", "channel": f"timeline:{mission_id}"})
        await ws.send_json({"type": "ping"})
        assert await ws.receive_json(timeout=5) == {"type": "pong", "payload": None}
        await append(http, mission_id, 1)
        frame = await next_of(ws, "timeline.event")
        assert frame["payload"]["sequence"] == 4
        await ws.send_json({"type": "unsubscribe", "channel": f"timeline:{mission_id}"})
        await ws.send_json({"type": "ping"})
        await next_of(ws, "pong")
        await append(http, mission_id, 1)
        await ws.send_json({"type": "ping"})
        assert (await ws.receive_json(timeout=5))["type"] == "pong"


async def test_the_workspace_s_timeline_carries_all_missions(http: Http, serving: Serving) -> None:
    async with connected(http) as ws:
        channel = f"timeline:{serving.workspace_id}"
        await ws.send_json({"type": "subscribe", "channel": channel, "payload": {"since": None}})
        opened = await next_of(ws, "subscribed")
        assert opened["payload"]["outcome"] == "fresh"
        one, two = await mission(http), await mission(http)
        frames = [await next_of(ws, "timeline.event") for _ in range(2)]
        assert [frame["payload"]["mission_id"] for frame in frames] == [one, two]
        assert frames[1]["prev"] == frames[0]["seq"]


async def test_heartbeats_prove_how_far_a_channel_is(http: Http) -> None:
    mission_id, other = await mission(http), await mission(http)
    async with connected(http) as ws:
        await ws.send_json({"type": "subscribe", "channel": f"timeline:{mission_id}"})
        await append(http, other, 5)
        while (frame := await next_of(ws, "ping"))["through"] < 7:
            pass
        assert frame == {
            "type": "ping", "channel": f"timeline:{mission_id}", "payload": None, "head": 7, "through": 7,
        }  # fmt: skip


async def test_a_connection_without_channels_is_pinged_too(http: Http, serving: Serving) -> None:
    async with connected(http) as ws:
        await ws.send_json({"type": "ping"})
        await next_of(ws, "pong")
        [session] = serving.core.hub.connections.values()
        assert session is not None
        session.ping()
        assert await ws.receive_json(timeout=5) == {"type": "ping", "payload": None}


@pytest.mark.parametrize(
    "channel",
    [f"timeline:{UUID(int=404)}", "timeline:nonsense", "timeline:", "mission", "nothing:x", "crew:" + "c" * 300, ":"],
)
async def test_what_may_not_be_seen_is_denied_like_what_is_not_there(http: Http, channel: str) -> None:
    async with connected(http) as ws:
        await ws.send_json({"type": "subscribe", "channel": channel, "payload": {"since_seq": 0}})
        frame = await ws.receive_json(timeout=5)
        assert frame["type"] == "error"
        assert frame["payload"] == {"message": "access denied", "error": "access denied"}
        assert frame["channel"] == channel[:128]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"since": "garbage"}, "bad_cursor"),
        ({"since": "0000000000000000:1"}, "other_epoch"),
        ({"since_seq": 10**6}, "cursor_ahead"),
    ],
)
async def test_a_lost_cursor_resets_the_channel(http: Http, payload: dict[str, Any], reason: str) -> None:
    mission_id = await mission(http)
    async with connected(http) as ws:
        await ws.send_json({"type": "subscribe", "channel": f"timeline:{mission_id}", "payload": payload})
        opened = (await next_of(ws, "subscribed"))["payload"]
        assert (opened["outcome"], opened["reason"]) == ("reset", reason)
        await append(http, mission_id, 1)
        assert (await next_of(ws, "timeline.event"))["payload"]["sequence"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "malformed message frame"),
        ("[]", "malformed message frame"),
        ('{"channel": "x"}', "malformed message frame"),
        ('{"type": 5}', "malformed message frame"),
        ('{"type": "dance"}', "unknown message type: dance"),
        ("[" * 5_000, "malformed message frame"),
    ],
)
async def test_a_bad_frame_is_told_and_the_connection_stays(http: Http, text: str, message: str) -> None:
    async with connected(http) as ws:
        await ws.send_str(text)
        assert (await ws.receive_json(timeout=5))["payload"]["message"] == message
        await ws.send_json({"type": "ping"})
        assert (await ws.receive_json(timeout=5))["type"] == "pong"


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ({"type": "auth", "token": "wrong-token"}, "invalid or expired ws-token"),
        ({"type": "auth"}, socket._BAD_AUTH),
        ({"type": "subscribe", "channel": "x"}, socket._BAD_AUTH),
    ],
)
async def test_a_bad_authentication_is_told_and_closed(http: Http, auth: dict[str, Any], message: str) -> None:
    async with connected(http, auth=auth) as ws:
        assert (await ws.receive_json(timeout=5))["payload"]["message"] == message
        closed = await ws.receive(timeout=5)
        assert closed.type is WSMsgType.CLOSE
        assert closed.data == 4401


async def test_who_does_not_authenticate_in_time_is_cut(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "AUTH_SECONDS", 0.1)
    async with http.ws_connect("/ws") as ws:
        assert "handshake timed out" in (await ws.receive_json(timeout=5))["payload"]["message"]
        assert (await ws.receive(timeout=5)).type is WSMsgType.CLOSE


async def test_a_frame_over_64_kib_closes_with_a_code(http: Http) -> None:
    async with connected(http) as ws:
        await ws.send_str("x" * (64 << 10) + "x")
        closed = await ws.receive(timeout=5)
        assert (closed.type, closed.data) == (WSMsgType.CLOSE, 1009)


async def test_a_ticket_opens_the_socket_and_nothing_else(http: Http, serving: Serving) -> None:
    async with http.get("/api/v1/ws-token") as answer:
        ticket = (await answer.json())["token"]
    async with connected(http, auth={"type": "auth", "token": ticket}) as ws:
        await ws.send_json({"type": "ping"})
        assert (await ws.receive_json(timeout=5))["type"] == "pong"
    async with http.get("/api/control/missions", headers={"Authorization": f"Bearer {ticket}"}) as answer:
        assert answer.status == 401


async def test_a_foreign_page_is_refused_before_the_upgrade(http: Http) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        await http.ws_connect("/ws", origin="https://evil.example")
    assert refused.value.status == 403
    async with http.get("/ws") as answer:
        assert answer.status == 400
