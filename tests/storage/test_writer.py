"""The one writer: gapless numbers, group commit, idempotency, and one caller's fault never another's."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import uuid_utils.compat as uuids

from server.missions import crew
from server.missions.control import KIND, Create, Delete, EndRun, Mission, Rename, Send
from server.missions.known import kinds
from storage import statements, workspaces
from storage.groupcommit import MAX_QUEUE_BYTES, Writer
from storage.log import Log, Slice
from storage.missions import Missions
from storage.pool import Database
from storage.rules import Key
from storage.verify import Finding, verify
from storage.writer import Writers
from streams.channels import Channel
from streams.errors import Conflict, KeyReused, NotFound, Unavailable, Unprocessable
from streams.event import Draft
from tests.storage.published import Published


class Bench(Published):
    """A workspace, its writers, and everything that was published."""

    async def create(self, **fields: Any) -> UUID:
        mission_id = uuids.uuid7()
        command = Create(id=mission_id, backend="demo", space_id=UUID(int=0), **fields)
        await self.writers.execute(self.workspace_id, mission_id, KIND, command)
        return mission_id

    async def tick(self, mission_id: UUID, *drafts: Draft) -> list[Any]:
        return await self.writers.record(self.workspace_id, mission_id, drafts or [Draft(type="x_tick")])


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    bench = Bench(database, await workspaces.create(database, "default"))
    yield bench
    await bench.writers.close()
    positions = [event.position for event in bench.published]
    assert positions == list(range(1, len(positions) + 1)), "published in order, without a hole"


async def test_many_writers_leave_no_hole_at_either_level(bench: Bench) -> None:
    missions = [await bench.create() for _ in range(5)]

    async def write(number: int) -> list[int]:
        numbers = []
        for _ in range(20):
            [row] = await bench.tick(missions[number % 5])
            numbers.append(row.sequence)
        return numbers

    each = await asyncio.gather(*(write(number) for number in range(40)))
    assert all(numbers == sorted(numbers) for numbers in each)
    for place in range(5):
        numbers = sorted(n for number, ns in enumerate(each) if number % 5 == place for n in ns)
        assert numbers == list(range(2, 162))
    assert len(bench.published) == 5 + 800


async def test_two_writers_of_one_workspace_never_collide(bench: Bench) -> None:
    other = Bench(bench.database, bench.workspace_id)
    mission_id = await bench.create()
    await asyncio.gather(
        *((bench if number % 2 else other).tick(mission_id) for number in range(200)),
        *(
            (bench if number % 2 else other).writers.execute(
                bench.workspace_id, mission_id, KIND, Rename(title=f"title {number}")
            )
            for number in range(20)
        ),
    )
    await other.writers.close()
    seen = sorted(event.position for event in bench.published + other.published)
    assert seen == list(range(1, 222))
    bench.published.sort(key=lambda event: event.position)
    bench.published[:] = sorted(bench.published + other.published, key=lambda event: event.position)


async def test_a_batch_is_all_or_nothing_and_known_ids_keep_their_numbers(bench: Bench) -> None:
    mission_id = await bench.create()
    one, two = (Draft(type="x_a", content=name, event_id=name, dedupe_key=name) for name in ("one", "two"))
    first = await bench.tick(mission_id, one)
    both = await bench.tick(mission_id, one, two, one)
    assert [(row.sequence, row.fresh) for row in both] == [(2, False), (3, True), (2, False)]
    assert both[0].position == first[0].position
    changed = Draft(type="x_a", content="another", event_id="two", dedupe_key="two")
    with pytest.raises(KeyReused, match="two"):
        await bench.tick(mission_id, Draft(type="x_a", content="three"), changed)
    twice = [Draft(type="x_a", content=text, dedupe_key="four") for text in ("a", "b")]
    with pytest.raises(KeyReused):
        await bench.tick(mission_id, *twice)
    events = await Log(bench.database).page(bench.workspace_id, mission_id, Slice())
    assert [event.content for event in events] == ["", "one", "two"]


async def test_concurrent_repeats_of_one_event_are_stored_once(bench: Bench) -> None:
    mission_id = await bench.create()
    draft = Draft(type="x_a", content="once", event_id="e", dedupe_key="e")
    rows = await asyncio.gather(*(bench.tick(mission_id, draft) for _ in range(50)))
    assert {(row[0].sequence, row[0].position) for row in rows} == {(2, 2)}
    assert sum(row[0].fresh for row in rows) == 1


async def test_a_repeated_key_among_new_events_disturbs_nobody(bench: Bench) -> None:
    missions = [await bench.create() for _ in range(4)]
    known = Draft(type="x_a", content="once", event_id="e", dedupe_key="e")
    [first] = await bench.tick(missions[0], known)
    rows = await asyncio.gather(
        *(bench.tick(mission_id) for mission_id in missions),
        bench.tick(missions[0], known, Draft(type="x_b")),
        bench.tick(missions[1], known),
    )
    assert all(row.fresh for [row] in rows[:4])
    assert [(row.sequence, row.fresh) for row in rows[4]] == [(first.sequence, False), (first.sequence + 2, True)]
    assert rows[5][0].fresh, "a key counts in its own mission"
    assert len(bench.published) == 4 + 1 + 4 + 1 + 1


async def test_activity_on_a_known_stream_locks_and_reads_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[list[UUID]] = []
    lock = statements.lock

    async def watched(connection: Any, workspace_id: UUID, streams: Any) -> Any:
        locked.append(list(streams))
        return await lock(connection, workspace_id, streams)

    monkeypatch.setattr(statements, "lock", watched)
    mission_id = await bench.create()
    locked.clear()
    for number in range(3):
        [row] = await bench.tick(mission_id)
        assert row.sequence == number + 2
    assert locked == []
    other = Bench(bench.database, bench.workspace_id)
    [row] = await other.tick(mission_id)
    assert locked == [[mission_id]], "a writer that knows nothing reads"
    [row] = await bench.tick(mission_id)
    assert locked == [[mission_id]] * 2, "and so does one whose knowledge is old"
    assert row.sequence == 6
    await other.writers.close()
    bench.published.insert(4, other.published[0])


async def test_a_command_is_never_refused_by_a_state_that_another_process_has_changed(bench: Bench) -> None:
    other = Bench(bench.database, bench.workspace_id)
    mission_id, run_id = await bench.create(), uuids.uuid7()

    async def order(desk: Bench, command: Any) -> Any:
        return await desk.writers.execute(bench.workspace_id, mission_id, KIND, command)

    await order(bench, Rename(title="one"))
    await order(other, Rename(title="two"))
    outcome = await order(bench, Rename(title="one"))
    assert outcome.state.title == "one", "by what it remembers nothing would have to be done"
    assert len(outcome.events) == 1
    await order(other, Send(message_id="m", content="go", run_id=run_id, has_slot=True))
    with pytest.raises(Conflict):
        await order(bench, Delete())
    await order(other, EndRun(run_id=run_id, reason="end_turn", text="done"))
    await order(bench, Delete())
    with pytest.raises(NotFound):
        await order(other, Rename(title="three"))
    await other.writers.close()
    bench.published[:] = sorted(bench.published + other.published, key=lambda event: event.position)


async def test_a_batch_of_which_one_state_is_unknown_trusts_no_remembered_state(bench: Bench) -> None:
    other = Bench(bench.database, bench.workspace_id)
    known, unknown, run_id = await bench.create(), await other.create(), uuids.uuid7()
    await bench.tick(unknown)  # its head is known from now on, but not its state

    async def order(desk: Bench, mission_id: UUID, command: Any) -> Any:
        return await desk.writers.execute(bench.workspace_id, mission_id, KIND, command)

    await order(other, known, Send(message_id="m", content="go", run_id=run_id, has_slot=True))
    await asyncio.gather(order(bench, known, Rename(title="A")), order(bench, unknown, Rename(title="B")))
    row = await Missions(bench.database, kinds()).get(bench.workspace_id, known)
    assert (row.status, row.run_id, row.title) == ("active", run_id, "A")
    await other.writers.close()
    bench.published[:] = sorted(bench.published + other.published, key=lambda event: event.position)


async def test_commands_and_activity_without_a_key_lock_and_read_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    missions = [await bench.create() for _ in range(5)]

    async def never(*arguments: Any) -> Any:
        raise AssertionError("it read")

    for name in ("lock", "states", "answers", "known_events"):
        monkeypatch.setattr(statements, name, never)
    await asyncio.gather(
        *(bench.tick(mission_id) for mission_id in missions),
        *(
            bench.writers.execute(bench.workspace_id, mission_id, KIND, Rename(title=str(number)))
            for number, mission_id in enumerate(missions)
        ),
    )
    monkeypatch.undo()
    rows = [await Missions(bench.database, kinds()).get(bench.workspace_id, mission_id) for mission_id in missions]
    assert [(row.title, row.head) for row in rows] == [(str(number), 3) for number in range(5)]


async def test_a_writer_has_one_timer_however_often_it_wakes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    watch = Writer._watch

    def counted(self: Writer) -> None:
        nonlocal looks
        looks += 1
        watch(self)

    monkeypatch.setattr(Writer, "_watch", counted)
    mission_id = await bench.create()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(150):
        await bench.tick(mission_id)
    assert looks <= (loop.time() - began) / 0.1 + 1


async def test_a_repeated_key_gets_the_first_answer(bench: Bench) -> None:
    key = Key("create", "k1", "print")

    def answer(state: Mission) -> dict[str, str]:
        return {"id": str(state.id)}

    async def create(fingerprint: str = "print") -> Any:
        mission_id = uuids.uuid7()
        command = Create(id=mission_id, backend="demo", space_id=UUID(int=0))
        return await bench.writers.execute(
            bench.workspace_id, mission_id, KIND, command, key=key._replace(fingerprint=fingerprint), answer=answer
        )

    outcomes = await asyncio.gather(*(create() for _ in range(20)))
    assert len({outcome.answer for outcome in outcomes}) == 1
    assert sum(outcome.replayed for outcome in outcomes) == 19
    assert (await create()).replayed
    with pytest.raises(KeyReused):
        await create("another")
    assert len(bench.published) == 1


async def test_one_caller_s_fault_is_that_caller_s_alone(bench: Bench) -> None:
    mission_id = await bench.create()
    results = await asyncio.gather(
        bench.tick(mission_id),
        bench.tick(uuids.uuid7()),
        bench.writers.execute(bench.workspace_id, mission_id, KIND, EndRun(run_id=uuids.uuid7(), reason="no such")),
        bench.writers.execute(bench.workspace_id, mission_id, KIND, Rename(title="fine")),
        bench.tick(mission_id),
        return_exceptions=True,
    )
    assert isinstance(results[1], NotFound)
    assert [type(result).__name__ for result in results if isinstance(result, BaseException)] == ["NotFound"]
    mission = await Missions(bench.database, kinds()).get(bench.workspace_id, mission_id)
    assert mission.title == "fine"
    assert mission.head == 4


async def test_a_statement_that_fails_is_run_alone(bench: Bench) -> None:
    mission_id = await bench.create()
    noise = random.Random(1)  # an index row cannot be compressed below its limit
    too_long = Draft(type="x_a", dedupe_key="".join(chr(noise.randrange(33, 0x2FFF)) for _ in range(9_000)))
    results = await asyncio.gather(
        bench.tick(mission_id), bench.tick(mission_id, too_long), bench.tick(mission_id), return_exceptions=True
    )
    assert [isinstance(result, Exception) for result in results] == [False, True, False]
    assert len(bench.published) == 3


async def test_state_events_cannot_be_recorded(bench: Bench) -> None:
    mission_id = await bench.create()
    with pytest.raises(Unprocessable):
        await bench.tick(mission_id, Draft(type="mission_status_changed", metadata={"status": "completed"}))


async def test_unstorable_text_is_replaced(bench: Bench) -> None:
    mission_id = await bench.create(title="t\x00\ud800")
    await bench.tick(
        mission_id, Draft(type="x_a", content="a\x00b\udfff", metadata={"k\x00": ["\ud800", {"d": "\x00"}]})
    )
    events = await Log(bench.database).page(bench.workspace_id, mission_id, Slice(since=1))
    assert events[0].content == "a�b�"
    assert events[0].data() == {"k�": ["�", {"d": "�"}]}
    assert (await Missions(bench.database, kinds()).get(bench.workspace_id, mission_id)).title == "t��"


async def test_a_full_queue_refuses_and_keeps_what_it_took(bench: Bench) -> None:
    mission_id = await bench.create()
    big = [Draft(type="x_a", content="x" * 1_000_000)]
    results = await asyncio.gather(
        *(bench.tick(mission_id, *big) for _ in range(MAX_QUEUE_BYTES // 1_000_000 + 8)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, BaseException)]
    assert refused
    assert all(isinstance(error, Unavailable) and error.retry_after >= 1 for error in refused)
    taken = [result[0].sequence for result in results if isinstance(result, list)]
    assert taken == list(range(2, len(taken) + 2))


async def test_what_the_writers_remember_is_weighed_by_its_kind(bench: Bench) -> None:
    rules, ids = kinds(), [uuids.uuid7() for _ in range(4)]
    tasks = tuple(crew.commands.NewTask(id=uuids.uuid7(), title="t", description="d" * 1_000) for _ in range(100))
    made = crew.commands.Create(id=ids[0], crew_id=ids[1], lead_agent_id=ids[2], title="a mission", tasks=tasks)
    outcome = await bench.writers.execute(bench.workspace_id, ids[0], crew.KIND, made)
    weight = rules[crew.KIND].weight(outcome.state)
    assert weight > 200_000
    await bench.create()
    assert bench.writers._cache.bytes == weight + rules[KIND].weight(None)


async def test_what_is_larger_than_the_queue_is_taken_when_nothing_waits(bench: Bench) -> None:
    """Whoever is told to repeat it in a second must not be told so for ever."""
    mission_id = await bench.create()
    rows = await bench.tick(mission_id, *[Draft(type="x_a", content="x" * 1_000_000)] * 18)
    assert MAX_QUEUE_BYTES < 18_000_000
    assert [row.sequence for row in rows] == list(range(2, 20))


async def test_a_command_weighs_what_its_text_takes_in_utf_8(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bytes a sign; escaped they are six, and two such commands would be more than the queue takes."""
    monkeypatch.setattr("storage.groupcommit.MAX_QUEUE_BYTES", 100_000)
    missions = [await bench.create() for _ in range(4)]
    title = "е" * 10_000
    asked = (bench.writers.execute(bench.workspace_id, one, KIND, Rename(title=title)) for one in missions)
    assert [outcome.events[0].content for outcome in await asyncio.gather(*asked)] == [title] * 4


async def test_commands_of_many_events_are_stored_by_batches_of_a_thousand_and_one_more_command(
    database: Database, bench: Bench
) -> None:
    """How many events a command leads to is known only when it is decided."""
    batches: list[int] = []
    writers = Writers(database, kinds(), bench._publish, on_batch=lambda events, seconds: batches.append(events))
    commands = [
        crew.commands.Create(
            id=uuids.uuid7(),
            crew_id=uuids.uuid7(),
            lead_agent_id=uuids.uuid7(),
            title=f"mission {number}",
            tasks=tuple(crew.commands.NewTask(id=uuids.uuid7(), title="t") for _ in range(399)),
        )
        for number in range(8)
    ]
    made = (writers.execute(bench.workspace_id, command.id, crew.KIND, command) for command in commands)
    outcomes = await asyncio.gather(*made)
    assert [outcome.events[0].content for outcome in outcomes] == [f"mission {number}" for number in range(8)]
    assert [outcome.events[0].position for outcome in outcomes] == [1 + 400 * number for number in range(8)]
    edits = (
        writers.execute(bench.workspace_id, command.id, crew.KIND, crew.commands.Edit(plan="p")) for command in commands
    )
    await asyncio.gather(*edits)
    await writers.close()
    assert batches == [1_200, 1_200, 800, 8]


async def test_a_cancelled_caller_s_event_is_published_all_the_same(bench: Bench) -> None:
    mission_id = await bench.create()
    task = asyncio.create_task(bench.tick(mission_id, Draft(type="x_left")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.writers.close()
    assert [event.type for event in bench.published] == ["mission_created", "x_left"]


async def test_deleting_hides_and_closes_the_stream_but_keeps_numbers(bench: Bench) -> None:
    mission_id = await bench.create()
    await bench.writers.execute(bench.workspace_id, mission_id, KIND, Delete())
    with pytest.raises(NotFound):
        await bench.tick(mission_id)
    with pytest.raises(NotFound):
        await bench.writers.execute(bench.workspace_id, mission_id, KIND, Rename(title="x"))
    with pytest.raises(NotFound):
        await Missions(bench.database, kinds()).get(bench.workspace_id, mission_id)
    assert [event.type for event in bench.published] == ["mission_created", "mission_deleted"]
    assert bench.published[1].stream_id == bench.workspace_id


async def test_a_running_mission_is_not_deleted(bench: Bench) -> None:
    mission_id = await bench.create()
    send = Send(message_id="m", content="go", run_id=uuids.uuid7(), has_slot=True)
    await bench.writers.execute(bench.workspace_id, mission_id, KIND, send)
    with pytest.raises(Conflict):
        await bench.writers.execute(bench.workspace_id, mission_id, KIND, Delete())


async def test_channels_are_read_by_position_with_prev(bench: Bench) -> None:
    log = Log(bench.database)
    one, two = await bench.create(), await bench.create()
    for number in range(20):
        await bench.tick((one, two)[number % 2], Draft(type="x_a", content="x" * 100))
    channel = Channel(bench.workspace_id, "mission", two)
    expected = [event.position for event in bench.published if event.stream_id == two]
    for after in range(23):
        page = await log.after(channel, after)
        assert [event.position for event in page.events] == [position for position in expected if position > after]
        assert page.prev == max((position for position in expected if position <= after), default=0)
    small = await log.after(channel, 0, max_bytes=250)
    assert [event.position for event in small.events] == expected[: len(small.events)]
    assert 1 <= len(small.events) < 5


async def test_verify_sees_a_row_that_differs_from_its_log(bench: Bench) -> None:
    mission_id = await bench.create(title="true")
    connection = await asyncpg.connect(**bench.database.connect)
    change = "UPDATE missions SET title = $1 WHERE id = $2"
    await connection.execute(change, "false", mission_id)
    found = [finding async for finding in verify(bench.database, kinds()) if isinstance(finding, Finding)]
    assert len(found) == 1
    assert "title" in found[0].what
    await connection.execute(change, "true", mission_id)
    await connection.close()
