"""The promises, one by one, each by a test named for it; the kills and cuts of this folder test them harder."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import ClientSession

from missionstream_client import Client, CursorLostError, Draft
from streams.subscriber import BUDGET_BYTES, PIECE_BYTES
from tests.conftest import TOKEN, Serving, findings, serving_on
from tests.system.crowd import Member, crowd
from tests.system.flood import TIMING, epoch_of, whole_log
from tests.system.pgproxy import proxied
from tests.system.wiretap import SocketTap, Tap, until


def _port(serving: Serving) -> int:
    return int(serving.url.rpartition(":")[2])


def _client(serving: Serving) -> Client:
    return Client(serving.url, TOKEN, timing=TIMING)


def _drafts(count: int, event_type: str = "x_tick") -> list[Draft]:
    return [Draft(event_type=event_type, content=str(number)) for number in range(count)]


# 1 gapless


async def test_promise_1_refused_appends_among_good_ones_leave_no_hole(serving: Serving, http: ClientSession) -> None:
    async with _client(serving) as client:
        missions = [(await client.create_mission(name)).id for name in ("one", "two")]

    async def append(number: int) -> int:
        mission_id = missions[number % 2]
        # every third batch brings an id that is known with other content, every fourth belongs to no mission
        event_id = "taken" if number % 3 == 0 else f"e{number}"
        target = str(uuid4()) if number % 4 == 0 else mission_id
        drafts = [
            {"event_id": f"{number}-first", "event_type": "x_tick", "content": "1"},
            {"event_id": event_id, "event_type": "x_tick", "content": str(number)},
        ]
        async with http.post(f"/api/control/missions/{target}/events", json={"events": drafts}) as answer:
            return answer.status

    statuses = await asyncio.gather(*(append(number) for number in range(60)))
    assert set(statuses) == {200, 404, 409}
    log = await whole_log(http)
    assert [event["position"] for event in log] == list(range(1, len(log) + 1))
    assert len(log) == 2 + 2 * statuses.count(200)
    for mission_id in missions:
        sequences = [event["sequence"] for event in log if event["mission_id"] == mission_id]
        assert sequences == list(range(1, len(sequences) + 1))


# 2 durable first


async def test_promise_2_nobody_hears_of_an_event_before_it_is_committed(
    connect: dict[str, Any], data_dir: Path
) -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxied(connect))
        serving = await stack.enter_async_context(serving_on(proxy.connect, data_dir))
        http = await stack.enter_async_context(ClientSession(serving.url, headers=serving.headers))
        client = await stack.enter_async_context(_client(serving))
        mission = await client.create_mission("durable")
        epoch = await epoch_of(http)
        tap = await Tap.open(_port(serving), f"?since={epoch}:0")
        socket = await SocketTap.open(http, f"timeline:{mission.id}", {"since_seq": 0})
        await tap.until(lambda block: block.data and block.data.get("position") == 1)
        await socket.until(lambda frame: frame.get("seq") == 1)
        held = proxy.hold()
        appending = asyncio.create_task(client.append(mission.id, _drafts(1)))
        polling = asyncio.create_task(client.feed(since=f"{epoch}:1", wait_seconds=10))
        await held.came.wait()
        heard = len(tap.blocks)
        await until(_said_more(tap, heard))  # a heartbeat: the streams live, and still know nothing
        assert (tap.positions, socket.positions) == ([1], [1])
        assert not appending.done()
        assert not polling.done()
        held.go_on()
        [placed] = await appending
        assert placed.position == 2
        await tap.until(lambda block: block.data and block.data.get("position") == 2)
        await socket.until(lambda frame: frame.get("seq") == 2)
        assert [event.position for event in (await polling).events] == [2]
        await tap.close()
        await socket.close()


def _said_more(tap: Tap, than: int) -> Callable[[], Any]:
    async def ask() -> bool:
        return len(tap.blocks) > than

    return ask


# 3 the log is the truth


async def test_promise_3_rows_are_the_fold_of_the_log_and_verify_sees_any_other(
    serving: Serving, http: ClientSession, connect: dict[str, Any]
) -> None:
    async with _client(serving) as client:
        mission = await client.create_mission("truth")
        await client.send(mission.id, "run echo one")
        await until(_has_status(client, mission.id, "completed"))
        await client.set_status(mission.id, "failed")
        await client.append(mission.id, _drafts(3))
    assert await findings(connect) == []
    direct = await asyncpg.connect(**connect)
    for statement, undo in (
        ("UPDATE missions SET title = 'a lie'", "UPDATE missions SET title = 'truth'"),
        ("UPDATE missions SET status = 'active'", "UPDATE missions SET status = 'failed'"),
        ("UPDATE workspace_heads SET head = head + 1", "UPDATE workspace_heads SET head = head - 1"),
        ("UPDATE streams SET head = head + 1 WHERE head > 0", "UPDATE streams SET head = head - 1 WHERE head > 0"),
    ):
        await direct.execute(statement)
        assert await findings(connect) != [], statement
        await direct.execute(undo)
        assert await findings(connect) == []
    await direct.close()


def _has_status(client: Client, mission_id: str, status: str) -> Callable[[], Any]:
    async def ask() -> bool:
        return (await client.mission(mission_id)).status == status

    return ask


# 4 snapshot, then deltas


async def test_promise_4_a_snapshot_and_the_stream_from_it_are_the_log(serving: Serving, http: ClientSession) -> None:
    async with _client(serving) as client:
        mission, other = [await client.create_mission(name) for name in ("watched", "beside")]
        is_over = asyncio.Event()

        async def work(mission_id: str) -> None:
            while not is_over.is_set():
                await client.append(mission_id, _drafts(3, "tool_call"))

        working = [asyncio.create_task(work(each.id)) for each in (mission, mission, other)]
        pairs = []
        for transport in ("sse", "ws", "poll") * 4:
            snapshot = await client.snapshot(mission.id)
            deltas: list[Any] = []
            async with client.follow(mission.id, snapshot.cursor, transport=transport) as follow:  # type: ignore[call-overload]
                async for event in follow:
                    deltas.append(event)
                    if len(deltas) == 10:
                        break
            pairs.append((snapshot, deltas))
        is_over.set()
        await asyncio.gather(*working)
        log = [event for event in await whole_log(http) if event["mission_id"] == mission.id]
        for snapshot, deltas in pairs:
            at = snapshot.latest_sequence
            assert [event.sequence for event in deltas] == list(range(at + 1, at + 11))
            assert [event.position for event in deltas] == [event["position"] for event in log[at : at + 10]]
            assert all(event.position <= int(snapshot.cursor.partition(":")[2]) for event in snapshot.events)
            # every event but the mission's creation is of a type that the snapshot shows
            shown = [event.sequence for event in snapshot.events]
            assert shown == list(range(2, at + 1))[-len(shown) :]
            assert snapshot.total_events == at - 1


# 5 one cursor everywhere


async def test_promise_5_every_transport_takes_and_gives_the_same_numbers(
    serving: Serving, http: ClientSession
) -> None:
    async with _client(serving) as client:
        mission, other = [await client.create_mission(name) for name in ("one", "two")]
        await client.append(mission.id, _drafts(4))
        await client.append(other.id, _drafts(2))
        await client.append(mission.id, _drafts(3))
    epoch = await epoch_of(http)
    log = [event for event in await whole_log(http) if event["mission_id"] == mission.id]
    expected = [(event["sequence"], event["position"]) for event in log][3:]
    cursor = f"{epoch}:{log[2]['position']}"
    found: dict[str, list[tuple[int, int]]] = {}

    async with http.get(f"/api/control/missions/{mission.id}/events?since_seq=3") as answer:
        found["page"] = [(event["sequence"], event["position"]) for event in await answer.json()]
    async with http.get("/api/control/events", params={"since": cursor, "mission": mission.id}) as answer:
        found["poll"] = [(event["sequence"], event["position"]) for event in (await answer.json())["events"]]
    for name, query in (("control", ""), ("timeline", "&format=timeline")):
        tap = await Tap.open(_port(serving), f"?mission={mission.id}&since={cursor}{query}")
        await tap.until(lambda block: block.data and block.data.get("position") == expected[-1][1])
        found[name] = [(b.data["sequence"], b.data["position"]) for b in tap.blocks if b.data and "position" in b.data]
        assert [block.id for block in tap.blocks if block.data and "position" in block.data] == [
            f"{epoch}:{position}" for _, position in found[name]
        ]
        await tap.close()
    for name, payload in (("since", {"since": cursor}), ("since_seq", {"since_seq": 3})):
        socket = await SocketTap.open(http, f"timeline:{mission.id}", payload)
        await socket.until(lambda frame: frame.get("seq") == expected[-1][1])
        events = [frame["payload"] for frame in socket.frames if frame["type"] == "timeline.event"]
        found[f"socket {name}"] = [(event["sequence"], event["position"]) for event in events]
        await socket.close()
    async with http.get(f"/api/control/stream?mission={mission.id}", headers={"Last-Event-ID": cursor}) as answer:
        found["last event id"] = []
        async for line in answer.content:
            if line.startswith(b"id: ") and int(line.rpartition(b":")[2]) > log[2]["position"]:
                found["last event id"].append(expected[len(found["last event id"])])
                assert int(line.rpartition(b":")[2]) == found["last event id"][-1][1]
            if len(found["last event id"]) == len(expected):
                break
    assert found == dict.fromkeys(found, expected)


async def test_promise_5_the_event_stream_takes_a_missions_sequence(serving: Serving) -> None:
    async with _client(serving) as client:
        mission = await client.create_mission("by sequence")
        await client.append(mission.id, _drafts(4))
    tap = await Tap.open(_port(serving), f"?mission={mission.id}&since_seq=3")
    opening = (await tap.event("status")).data["stream"]
    await tap.close()
    assert opening["outcome"] == "resumed"
    assert opening["cursor"].endswith(":3")


# 6 never a silent loss


_LOST: dict[str, tuple[Callable[[str, int], str], str, int]] = {
    "below the floor": (lambda epoch, head: f"{epoch}:1", "cursor_gone", 410),
    "ahead of the head": (lambda epoch, head: f"{epoch}:{head + 1}", "cursor_ahead", 409),
    "of another epoch": (lambda epoch, head: f"0ther{epoch[5:]}:4", "other_epoch", 409),
    "far too large": (lambda epoch, head: f"{epoch}:999999999999999999", "cursor_ahead", 409),
}


async def _with_a_floor(serving: Serving, connect: dict[str, Any], http: ClientSession) -> tuple[str, int, str]:
    """Seven events, of which retention has removed two: epoch, head, and the mission that keeps all of its own."""
    async with _client(serving) as client:
        old = await client.create_mission("old")
        await client.append(old.id, _drafts(1))
        await client.delete(old.id)
        kept = await client.create_mission("kept")
        await client.append(kept.id, _drafts(3))
    await _remove_through(connect, 2)
    follower = await serving.core.hub.follower(serving.workspace_id)
    await until(_has_floor(follower))
    return await epoch_of(http), 7, kept.id


async def _remove_through(connect: dict[str, Any], position: int) -> None:
    direct = await asyncpg.connect(**connect)
    await direct.execute("DELETE FROM events WHERE position <= $1", position)
    await direct.execute("UPDATE workspaces SET floor = $1", position)
    await direct.close()


def _has_floor(follower: Any) -> Callable[[], Any]:
    async def ask() -> bool:
        return bool(follower.floor == 2)

    return ask


@pytest.mark.parametrize("case", _LOST)
async def test_promise_6_a_lost_cursor_is_told_on_every_transport(
    serving: Serving, connect: dict[str, Any], http: ClientSession, case: str
) -> None:
    epoch, head, mission_id = await _with_a_floor(serving, connect, http)
    make, reason, status = _LOST[case]
    cursor = make(epoch, head)
    reset = {"outcome": "reset", "reason": reason, "cursor": f"{epoch}:{head}", "head": head}

    for query in (f"?since={cursor}", f"?since={cursor}&mission={mission_id}"):
        tap = await Tap.open(_port(serving), query)
        assert (await tap.event("status")).data["stream"] == reset
        await tap.close()
    for channel in (serving.workspace_id, mission_id):
        socket = await SocketTap.open(http, f"timeline:{channel}", {"since": cursor})
        assert (await socket.frame("subscribed"))["payload"] == reset
        await socket.close()
    async with http.get("/api/control/events", params={"since": cursor}) as answer:
        assert answer.status == status
    async with _client(serving) as client:
        for transport in ("sse", "ws", "poll"):
            with pytest.raises(CursorLostError):
                await anext(client.follow("workspace", cursor, transport=transport))  # type: ignore[call-overload]


async def test_promise_6_after_a_reset_a_stream_goes_on_from_the_head(
    serving: Serving, connect: dict[str, Any], http: ClientSession
) -> None:
    epoch, head, mission_id = await _with_a_floor(serving, connect, http)
    tap = await Tap.open(_port(serving), f"?since={epoch}:1")
    socket = await SocketTap.open(http, f"timeline:{serving.workspace_id}", {"since": f"{epoch}:1"})
    await asyncio.gather(tap.event("status"), socket.frame("subscribed"))
    async with _client(serving) as client:
        await client.append(mission_id, _drafts(1))
    await tap.event("x_tick")
    await socket.frame("timeline.event")
    assert tap.positions == socket.positions == [head + 1]
    await tap.close()
    await socket.close()


async def test_promise_6_a_removed_prefix_is_no_finding(serving: Serving, connect: dict[str, Any]) -> None:
    async with _client(serving) as client:
        ended = await client.create_mission("ended")
        await client.append(ended.id, _drafts(1))
        await client.set_status(ended.id, "completed")
        await client.append((await client.create_mission("kept")).id, _drafts(2))
    for floor in (1, 3):  # a part of the mission's events, then all of them
        await _remove_through(connect, floor)
        assert await findings(connect) == []


@pytest.mark.parametrize(
    "garbage", ["nonsense", "%00:1", "a:b", ":", "1", "x:-1", "x:1e9", "%F0%9F%92%A5:1", "x" * 5_000]
)
async def test_promise_6_garbage_for_a_cursor_is_told_and_never_a_fault(
    serving: Serving, http: ClientSession, garbage: str
) -> None:
    tap = await Tap.open(_port(serving), f"?since={garbage}")
    opening = (await tap.event("status")).data["stream"]
    assert (opening["outcome"], opening["reason"]) == ("reset", "bad_cursor")
    await tap.close()
    socket = await SocketTap.open(http, f"timeline:{serving.workspace_id}", {"since": garbage})
    assert (await socket.frame("subscribed"))["payload"]["outcome"] == "reset"
    await socket.close()
    async with http.get(f"{serving.url}/api/control/events?since={garbage}") as answer:
        assert answer.status == 400
        assert "epoch:position" in await answer.text()


async def test_promise_6_fresh_resumed_and_reset_are_said(serving: Serving, http: ClientSession) -> None:
    async with _client(serving) as client:
        await client.append((await client.create_mission("said")).id, _drafts(2))
    epoch = await epoch_of(http)
    said = {}
    for name, query in (("fresh", ""), ("resumed", f"?since={epoch}:1"), ("at head", f"?since={epoch}:3")):
        tap = await Tap.open(_port(serving), query)
        said[name] = (await tap.event("status")).data["stream"]
        await tap.close()
    assert said == {
        "fresh": {"outcome": "fresh", "reason": None, "cursor": f"{epoch}:3", "head": 3},
        "resumed": {"outcome": "resumed", "reason": None, "cursor": f"{epoch}:1", "head": 3},
        "at head": {"outcome": "resumed", "reason": None, "cursor": f"{epoch}:3", "head": 3},
    }


async def test_a_stream_that_its_client_left_is_counted_as_served(serving: Serving, http: ClientSession) -> None:
    tap = await Tap.open(_port(serving))
    await tap.event("status")
    await tap.close()

    async def counted() -> list[str]:
        async with http.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return [line for line in lines if "http_requests_total" in line and "/api/control/stream" in line]

    [line] = await until(counted)
    assert 'status="200"' in line


# 7 a slow reader


async def test_promise_7_a_slow_reader_holds_its_budget_and_one_flush(serving: Serving, http: ClientSession) -> None:
    event_bytes, batch = 20_000, 10
    async with _client(serving) as client, crowd([Member(_port(serving), receive_bytes=4_096)]):
        mission = await client.create_mission("slow")
        [connection] = serving.core.hub.connections
        highest = 0
        for _ in range(60):
            drafts = [Draft(event_type="x_tick", content="x" * event_bytes) for _ in range(batch)]
            await client.append(mission.id, drafts)
            highest = max(highest, connection.transport.get_write_buffer_size())
        assert BUDGET_BYTES < highest < BUDGET_BYTES + max(PIECE_BYTES, batch * (event_bytes + 1_000))
