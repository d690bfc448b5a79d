"""One client over several transports, several missions in one stream, deletion: the numbers stay whole."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from aiohttp import ClientSession

from missionstream_client import Client, Draft
from storage.log import Log
from tests.conftest import TOKEN, Serving
from tests.system.flood import TIMING
from tests.system.wiretap import SocketTap, Tap, until


def _port(serving: Serving) -> int:
    return int(serving.url.rpartition(":")[2])


def _drafts(count: int) -> list[Draft]:
    return [Draft(event_type="x_tick", content=str(number)) for number in range(count)]


async def _epoch(http: ClientSession) -> str:
    async with http.get("/api/control/events") as answer:
        return answer.headers["X-Epoch"]


async def test_changing_the_transport_mid_way_loses_and_repeats_nothing(serving: Serving) -> None:
    async with Client(serving.url, TOKEN, timing=TIMING) as client:
        mission = await client.create_mission("wanderer")
        cursor = (await client.feed(limit=1)).cursor.partition(":")[0] + ":0"
        seen: list[int] = []
        is_over = asyncio.Event()

        async def work() -> None:
            while not is_over.is_set():
                await client.append(mission.id, _drafts(7))

        working = asyncio.create_task(work())
        for transport in ("sse", "ws", "poll", "sse", "poll", "ws", "sse"):
            stop_at = len(seen) + 40
            async with client.follow("workspace", cursor, transport=transport) as follow:  # type: ignore[call-overload]
                async for event in follow:
                    seen.append(event.position)
                    if len(seen) == stop_at:
                        break
            assert (follow.outcome, follow.gap_count, follow.duplicate_count) == ("resumed", 0, 0)
            cursor = follow.cursor
        is_over.set()
        await working
        assert seen == list(range(1, 7 * 40 + 1))


async def test_two_missions_share_a_workspace_stream_without_a_hole(serving: Serving, http: ClientSession) -> None:
    epoch = await _epoch(http)
    async with Client(serving.url, TOKEN, timing=TIMING) as client:
        missions = [(await client.create_mission(name)).id for name in ("one", "two")]
        whole = await Tap.open(_port(serving), f"?since={epoch}:0")
        narrow = await Tap.open(_port(serving), f"?since={epoch}:0&mission={missions[0]}")
        socket = await SocketTap.open(http, f"timeline:{missions[1]}", {"since_seq": 0})
        await asyncio.gather(*(client.append(missions[n % 2], _drafts(n % 5 + 1)) for n in range(40)))
        head = (await client.feed(limit=1)).head
        events = [event for start in range(0, head, 500) for event in await _page(client, epoch, start)]
    assert [event.position for event in events] == list(range(1, head + 1))
    last = {mission: [e.position for e in events if e.mission_id == mission] for mission in missions}
    await whole.until(lambda block: block.data and block.data.get("position") == head)
    await narrow.until(lambda block: block.data and block.data.get("position") == last[missions[0]][-1])
    await socket.until(lambda frame: frame.get("seq") == last[missions[1]][-1])
    assert whole.positions == list(range(1, head + 1))
    assert narrow.positions == last[missions[0]]
    assert socket.positions == last[missions[1]]
    for tap in (whole, narrow):
        numbers = [block.data for block in tap.blocks if block.data and "position" in block.data]
        assert [data["prev"] for data in numbers] == [0, *tap.positions[:-1]]
    frames = [frame for frame in socket.frames if frame["type"] == "timeline.event"]
    assert [frame["prev"] for frame in frames] == [0, *socket.positions[:-1]]
    assert [frame["payload"]["sequence"] for frame in frames] == list(range(1, len(frames) + 1))
    for tap in (whole, narrow, socket):
        await tap.close()


async def _page(client: Client, epoch: str, start: int) -> list[Any]:
    return (await client.feed(since=f"{epoch}:{start}", limit=500)).events


async def test_a_deleted_mission_is_nowhere_and_leaves_no_hole(serving: Serving, http: ClientSession) -> None:
    epoch = await _epoch(http)
    async with Client(serving.url, TOKEN, timing=TIMING) as client:
        gone, kept = [(await client.create_mission(name)).id for name in ("gone", "kept")]
        await client.append(gone, _drafts(3))
        tap = await Tap.open(_port(serving), f"?since={epoch}:0")
        await client.delete(gone)
        await client.append(kept, _drafts(2))
        deleted = await tap.event("mission_deleted")
        await tap.until(lambda block: block.data and block.data.get("position") == deleted.data["position"] + 2)
    async with http.get(f"/api/control/stream?since={epoch}:0&mission={gone}") as answer:
        assert answer.status == 404
    for path in ("", "/events", "/snapshot", "/tree"):
        async with http.get(f"/api/control/missions/{gone}{path}") as answer:
            assert answer.status == 404, path
    async with http.get(f"/api/control/events?mission={gone}") as answer:
        assert answer.status == 404
    draft = {"event_id": "late", "event_type": "x_tick"}
    async with http.post(f"/api/control/missions/{gone}/events", json={"events": [draft]}) as answer:
        assert answer.status == 404
    async with http.get("/api/control/missions") as answer:
        assert [row["id"] for row in await answer.json()] == [kept]
    socket = await SocketTap.open(http, f"timeline:{gone}", {"since_seq": 0})
    assert (await socket.frame("error"))["payload"]["message"] == "access denied"
    await socket.close()
    async with http.get(f"/api/control/events?since={epoch}:0") as answer:
        page = await answer.json()
    assert [event["position"] for event in page["events"]] == list(range(1, page["head"] + 1))
    assert tap.positions == list(range(1, page["head"] + 1))
    await tap.close()


async def test_subscribing_anew_while_the_log_is_read_sends_only_the_new_subscriptions_events(
    serving: Serving, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = await _epoch(http)
    async with Client(serving.url, TOKEN, timing=TIMING) as client:
        mission = await client.create_mission("twice")
        await client.append(mission.id, _drafts(20))
    reading, go_on = asyncio.Event(), asyncio.Event()
    after = Log.after

    async def slow(self: Log, *arguments: Any, **options: Any) -> Any:
        page = await after(self, *arguments, **options)
        reading.set()
        await go_on.wait()
        return page

    monkeypatch.setattr(Log, "after", slow)
    channel = f"timeline:{UUID(mission.id)}"
    socket = await SocketTap.open(http, channel, {"since": f"{epoch}:0"})
    await reading.wait()
    await socket.subscribe(channel, {"since": f"{epoch}:15"})
    await until(_answered_twice(socket))
    go_on.set()
    await socket.until(lambda frame: frame.get("seq") == 21)
    second = [index for index, frame in enumerate(socket.frames) if frame["type"] == "subscribed"][1]
    after_it = [frame["seq"] for frame in socket.frames[second:] if frame["type"] == "timeline.event"]
    assert after_it == list(range(16, 22))
    await socket.close()


def _answered_twice(socket: SocketTap) -> Any:
    async def ask() -> bool:
        return sum(frame["type"] == "subscribed" for frame in socket.frames) == 2

    return ask


async def test_a_page_of_a_long_mission_costs_no_more_than_one_of_a_short_one(
    serving: Serving, http: ClientSession
) -> None:
    """The database plans its statements while the mission is short, and keeps the plans when it has grown."""
    async with Client(serving.url, TOKEN, timing=TIMING) as client:
        mission = await client.create_mission("grows")
        cursor = f"{await _epoch(http)}:1"
        for _ in range(12):
            await client.feed(since=cursor, mission_id=mission.id)
        for _ in range(10):
            await client.append(mission.id, _drafts(500))
        async with asyncio.timeout(2):
            page = await client.feed(since=cursor, mission_id=mission.id, limit=10)
    assert [event.position for event in page.events] == list(range(2, 12))
