"""A follow loses nothing and repeats nothing, on every transport, whatever the server and the network do."""

import asyncio
from dataclasses import replace

import pytest

from missionstream_client import (
    AuthenticationError,
    Client,
    CursorLostError,
    Event,
    ForbiddenError,
    NotFoundError,
    Signal,
)
from missionstream_client.follow import Transport
from tests.client.conftest import TIMING, take, until
from tests.client.fake_server import (
    TOKEN,
    Close,
    Cut,
    Drop,
    End,
    FakeServer,
    Fault,
    Lose,
    Refuse,
    Repeat,
    Silence,
    Slow,
)

STREAMS = pytest.mark.parametrize("transport", ["sse", "ws"])


def sequences(events: list[Event]) -> list[int]:
    return [event.sequence for event in events]


async def test_reads_a_mission_from_its_beginning_then_live(
    server: FakeServer, client: Client, mission: str, transport: Transport
) -> None:
    await server.happen("another", 2)
    await server.happen(mission, 3)
    async with client.follow(mission, since=0, transport=transport) as follow:
        assert sequences(await take(follow, 3)) == [1, 2, 3]
        await server.happen("another", 1)
        await server.happen(mission, 2)
        last = await take(follow, 2)
        assert sequences(last) == [4, 5]
        assert last[-1].content == "grüße 5\r\n\u2028"
        assert follow.cursor == f"e1:{last[-1].position}"
        assert (follow.gap_count, follow.duplicate_count, follow.reconnects) == (0, 0, 0)


async def test_goes_on_after_a_sequence(server: FakeServer, client: Client, mission: str, transport: Transport) -> None:
    await server.happen(mission, 5)
    async with client.follow(mission, since=3, transport=transport) as follow:
        assert sequences(await take(follow, 2)) == [4, 5]


async def test_goes_on_after_the_last_sequence(
    server: FakeServer, client: Client, mission: str, transport: Transport
) -> None:
    await server.happen(mission, 2)
    await server.happen("another", 2)
    async with client.follow(mission, since=2, transport=transport) as follow:
        reading = asyncio.create_task(take(follow, 1))
        await server.happen(mission, 1)
        assert sequences(await reading) == [3]


async def test_begins_a_mission_that_has_no_event_yet(
    server: FakeServer, client: Client, mission: str, transport: Transport
) -> None:
    await server.happen("another", 2)
    async with client.follow(mission, since=0, transport=transport) as follow:
        reading = asyncio.create_task(take(follow, 1))
        await server.happen(mission, 1)
        assert sequences(await reading) == [1]


async def test_a_sequence_that_has_not_happened_is_a_lost_cursor(
    server: FakeServer, client: Client, mission: str
) -> None:
    await server.happen(mission, 2)
    with pytest.raises(CursorLostError):
        await take(client.follow(mission, since=7), 1)


async def test_removed_first_events_are_a_lost_cursor(server: FakeServer, client: Client, mission: str) -> None:
    await server.happen(mission, 4)
    del server.log[:2]
    server.floor = 2
    with pytest.raises(CursorLostError, match="from 1 to 2"):
        await take(client.follow(mission, since=0), 1)


async def test_without_since_it_begins_now(
    server: FakeServer, client: Client, mission: str, transport: Transport
) -> None:
    await server.happen(mission, 3)
    async with client.follow("workspace", transport=transport) as follow:
        reading = asyncio.create_task(take(follow, 1))
        await until(lambda: follow.outcome)
        assert (follow.outcome, follow.cursor) == ("fresh", "e1:3")
        await server.happen(mission, 1)
        assert sequences(await reading) == [4]


async def test_a_workspace_is_followed_over_all_its_missions(
    server: FakeServer, client: Client, transport: Transport
) -> None:
    await server.happen("a", 2)
    await server.happen("b", 2)
    async with client.follow("workspace", since="e1:1", transport=transport) as follow:
        events = await take(follow, 3)
        assert [(event.mission_id, event.sequence) for event in events] == [("a", 2), ("b", 1), ("b", 2)]
        assert follow.outcome == "resumed"


@STREAMS
@pytest.mark.parametrize(
    "fault",
    [
        Refuse(503, retry_after="0"),
        Refuse(500),
        Refuse(429),
        Drop(),
        Slow(),
        End(),
        End(has_status=True),
        Cut(0),
        Cut(2),
        Close(1),
        Silence(2),
    ],
    ids=repr,
)
async def test_streams_survive_a_fault(
    server: FakeServer, client: Client, mission: str, transport: Transport, fault: Fault
) -> None:
    await server.happen(mission, 6)
    server.stream_faults.extend([fault, fault])
    async with client.follow(mission, since=0, transport=transport) as follow:
        assert sequences(await take(follow, 6)) == [1, 2, 3, 4, 5, 6]
        assert (follow.gap_count, follow.duplicate_count) == (0, 0)
        assert not server.stream_faults


@pytest.mark.parametrize(
    "fault",
    [Refuse(503, retry_after="0"), Refuse(500), Refuse(429), Drop(), Slow(), Cut()],
    ids=repr,
)
async def test_polling_survives_a_fault(server: FakeServer, client: Client, mission: str, fault: Fault) -> None:
    await server.happen(mission, 3)
    async with client.follow(mission, since="e1:0", transport="poll") as follow:
        server.call_faults.extend([fault, fault])
        assert sequences(await take(follow, 3)) == [1, 2, 3]
        server.call_faults.append(fault)
        await server.happen(mission, 2)
        assert sequences(await take(follow, 2)) == [4, 5]
        assert (follow.gap_count, follow.duplicate_count) == (0, 0)


@STREAMS
async def test_a_ticket_or_a_beginning_that_fails_is_asked_for_again(
    server: FakeServer, client: Client, mission: str, transport: Transport
) -> None:
    await server.happen(mission, 2)
    server.call_faults.extend([Refuse(503), Drop(), Refuse(503)])
    async with client.follow(mission, since=0, transport=transport) as follow:
        assert sequences(await take(follow, 2)) == [1, 2]


async def test_repeated_events_are_dropped_and_counted(
    server: FakeServer, client: Client, mission: str, transport: Transport
) -> None:
    await server.happen(mission, 4)
    (server.call_faults if transport == "poll" else server.stream_faults).append(Repeat())
    async with client.follow(mission, since="e1:2", transport=transport) as follow:
        assert sequences(await take(follow, 2)) == [3, 4]
        await server.happen(mission, 1)
        assert sequences(await take(follow, 1)) == [5]
        assert follow.duplicate_count >= 2
        assert follow.gap_count == 0


@STREAMS
async def test_lost_frames_are_read_from_the_log(
    server: FakeServer, client: Client, mission: str, transport: Transport
) -> None:
    for _ in range(4):
        await server.happen("another", 1)
        await server.happen(mission, 2)
    # Position 4 is not of this mission: 3 to 6 are one gap.
    server.stream_faults.append(Lose(frozenset({3, 5, 6, 11})))
    async with client.follow(mission, since=0, transport=transport) as follow:
        assert sequences(await take(follow, 8)) == [1, 2, 3, 4, 5, 6, 7, 8]
        assert (follow.gap_count, follow.duplicate_count, follow.reconnects) == (2, 0, 0)


@STREAMS
async def test_a_repair_that_fails_opens_again(
    server: FakeServer, client: Client, mission: str, transport: Transport
) -> None:
    await server.happen(mission, 5)
    async with client.follow(mission, since="e1:0", transport=transport) as follow:
        server.stream_faults.append(Lose(frozenset({2, 3})))
        await take(follow, 1)
        server.call_faults.extend([Refuse(503, retry_after="0")])
        assert sequences(await take(follow, 4)) == [2, 3, 4, 5]
        assert (follow.gap_count, follow.reconnects) == (1, 1)


async def test_a_restarted_server_is_found_again(
    server: FakeServer, client: Client, mission: str, transport: Transport
) -> None:
    await server.happen(mission, 2)
    async with client.follow(mission, since=0, transport=transport) as follow:
        await take(follow, 2)
        reading = asyncio.create_task(take(follow, 3))
        await server.stop()
        await server.happen(mission, 2)
        await server.start()
        await server.happen(mission, 1)
        assert sequences(await reading) == [3, 4, 5]
        assert (follow.gap_count, follow.duplicate_count) == (0, 0)
        assert follow.reconnects == 1
        assert follow.outcome == "resumed"


async def test_the_transport_may_change_at_every_event(server: FakeServer, client: Client, mission: str) -> None:
    transports: list[Transport] = ["sse", "ws", "poll"]
    await server.happen("another", 3)
    await server.happen(mission, 9)
    cursor: str | int | None = 0
    seen = []
    for turn in range(9):
        async with client.follow(mission, since=cursor, transport=transports[turn % 3]) as follow:
            seen += sequences(await take(follow, 1))
            cursor = follow.cursor
    assert seen == [1, 2, 3, 4, 5, 6, 7, 8, 9]


async def test_all_transports_hand_out_equal_events(server: FakeServer, client: Client, mission: str) -> None:
    await server.happen(mission, 2)
    transports: list[Transport] = ["sse", "ws", "poll"]
    seen = [await take(client.follow(mission, since=0, transport=name), 2) for name in transports]
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize(("cursor", "reason"), [("old:1", "another epoch"), ("e1:1", "below"), ("e1:99", "ahead")])
async def test_a_lost_cursor_is_an_error_with_the_place_to_go_on(
    server: FakeServer, client: Client, transport: Transport, cursor: str, reason: str
) -> None:
    server.floor = 2
    await server.happen("a", 3)
    follow = client.follow("workspace", since=cursor, transport=transport)
    with pytest.raises(CursorLostError, match=reason) as caught:
        await take(follow, 1)
    assert (caught.value.lost, caught.value.cursor) == (cursor, "e1:5")
    with pytest.raises(StopAsyncIteration):
        await anext(follow)


async def test_a_lost_cursor_may_be_passed_over(server: FakeServer, client: Client, transport: Transport) -> None:
    await server.happen("a", 3)
    follow = client.follow("workspace", since="old:77", transport=transport, on_reset="continue")
    async with follow:
        reading = asyncio.create_task(take(follow, 1))
        await until(lambda: follow.outcome)
        await server.happen("a", 1)
        assert sequences(await reading) == [4]
        assert follow.outcome == "reset"


async def test_another_epoch_after_a_restart_is_a_lost_cursor(
    server: FakeServer, client: Client, transport: Transport
) -> None:
    await server.happen("a", 3)
    follow = client.follow("workspace", since="e1:0", transport=transport)
    await take(follow, 3)
    await server.stop()
    server.epoch = "e2"
    await server.start()
    with pytest.raises(CursorLostError, match="another epoch"):
        await take(follow, 1)


@pytest.mark.parametrize(("status", "error"), [(401, AuthenticationError), (403, ForbiddenError)])
async def test_a_refusal_ends_the_follow(
    server: FakeServer, client: Client, transport: Transport, status: int, error: type[Exception]
) -> None:
    faults = server.call_faults if transport == "poll" else server.stream_faults
    faults.append(Refuse(status, "no"))
    with pytest.raises(error):
        await take(client.follow("workspace", transport=transport), 1)
    assert server.open_streams == 0


async def test_a_bad_token_ends_the_follow(server: FakeServer, transport: Transport) -> None:
    async with Client(server.url, "wrong", timing=TIMING) as client:
        with pytest.raises(AuthenticationError, match="Invalid or expired token"):
            await take(client.follow("workspace", transport=transport), 1)


async def test_an_unknown_channel_ends_the_follow(client: Client) -> None:
    with pytest.raises(NotFoundError):
        await take(client.follow("no-such-mission", since="e1:0", transport="ws"), 1)


@STREAMS
async def test_a_repair_below_the_floor_is_a_lost_cursor(
    server: FakeServer, client: Client, mission: str, transport: Transport
) -> None:
    await server.happen(mission, 5)
    async with client.follow(mission, since="e1:0", transport=transport) as follow:
        server.stream_faults.append(Lose(frozenset({2, 3})))
        await take(follow, 1)
        del server.log[:3]
        server.floor = 3
        with pytest.raises(CursorLostError, match="below the floor") as caught:
            await take(follow, 1)
        assert caught.value.lost == "e1:1"


@pytest.mark.parametrize(("stable_seconds", "delays"), [(0.0, [1, 1, 1, 1]), (9.0, [1, 2, 4, 5])])
async def test_delays_grow_unless_the_connection_was_a_good_one(
    server: FakeServer, mission: str, caplog: pytest.LogCaptureFixture, stable_seconds: float, delays: list[int]
) -> None:
    caplog.set_level("INFO", "missionstream_client")
    await server.happen(mission, 1)
    server.stream_faults.extend([End(has_status=True)] * 4)
    timing = replace(TIMING, base_seconds=0.01, cap_seconds=0.05, stable_seconds=stable_seconds, random=lambda: 1.0)
    async with Client(server.url, TOKEN, timing=timing) as client:
        await take(client.follow("workspace", since="e1:0"), 1)
    assert [record.getMessage().split()[3] for record in caplog.records] == [f"0.0{n}" for n in delays]


@STREAMS
async def test_signals_are_handed_out_when_wanted(
    server: FakeServer, client: Client, mission: str, transport: Transport
) -> None:
    server.signals = [
        {"event_type": "text_delta", "content": "so far", "after": 2, "run_id": "r", "mission_id": mission}
    ]
    await server.happen(mission, 1)
    async with client.follow(mission, since=0, transport=transport, signals=True) as follow:
        found = await take(follow, 3 if transport == "sse" else 2)
        signals = [item for item in found if isinstance(item, Signal)]
        assert isinstance(found[-1], Event)
        assert signals[-1].content == "so far"
        assert (signals[-1].after, signals[-1].run_id, signals[-1].mission_id) == (2, "r", mission)
    async with client.follow(mission, since=0, transport=transport) as follow:
        assert sequences(await take(follow, 1)) == [1]


@STREAMS
async def test_heartbeats_move_the_cursor(
    server: FakeServer, client: Client, mission: str, transport: Transport
) -> None:
    async with client.follow(mission, since="e1:0", transport=transport) as follow:
        reading = asyncio.create_task(take(follow, 1))
        await server.happen("another", 3)
        await until(lambda: follow.cursor == "e1:3")
        await server.happen(mission, 1)
        await reading


async def test_a_cancelled_read_loses_nothing(
    server: FakeServer, client: Client, mission: str, transport: Transport
) -> None:
    server.stream_faults.append(Cut(3))
    seen: list[int] = []
    async with client.follow(mission, since="e1:0", transport=transport) as follow, asyncio.timeout(10):
        for turn in range(70):
            if turn % 10 == 0:
                await server.happen(mission, 1)
            try:
                async with asyncio.timeout(0.002 * (turn % 7)):
                    seen.append((await anext(follow)).sequence)
            except TimeoutError:
                pass
        seen += sequences(await take(follow, 7 - len(seen)))
    assert seen == list(range(1, 8))


async def test_closing_leaves_no_task_and_no_socket(server: FakeServer, mission: str, transport: Transport) -> None:
    await server.happen(mission, 1)
    before = asyncio.all_tasks()
    async with Client(server.url, TOKEN, timing=TIMING) as client:
        follows = [client.follow(mission, since=0, transport=transport) for _ in range(3)]
        readers = [asyncio.create_task(take(follow, 2)) for follow in follows]
        await until(lambda: all(follow.cursor for follow in follows))
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        assert all(reader.cancelled() for reader in readers)
    await until(lambda: not server.open_streams)
    # The server's own tasks of those connections end with them.
    await until(lambda: not asyncio.all_tasks() - before)


async def test_closing_from_elsewhere_ends_the_iteration(
    server: FakeServer, client: Client, transport: Transport
) -> None:
    follow = client.follow("workspace", transport=transport)

    async def read() -> list[Event]:
        return [event async for event in follow]

    reading = asyncio.create_task(read())
    await until(lambda: follow.outcome)
    await follow.aclose()
    async with asyncio.timeout(5):
        assert await reading == []


async def test_a_sequence_is_no_place_in_a_workspace(client: Client) -> None:
    with pytest.raises(ValueError, match="workspace"):
        client.follow("workspace", since=0)


async def test_a_malformed_cursor_is_refused_at_once(client: Client) -> None:
    with pytest.raises(ValueError, match="epoch:position"):
        client.follow("workspace", since="42")
