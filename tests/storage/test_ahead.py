"""A batch decided while the one before it is being stored: it counts on that one, and on nothing when that fails."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
import pytest

from server.missions.control import KIND, Create, Delete, Rename
from server.missions.known import kinds
from storage import statements, workspaces
from storage.batch import Batch
from storage.groupcommit import AHEAD, WORTH_BEGINNING, WORTH_GOING_ON, Writer
from storage.ids import new_id
from storage.missions import Missions
from storage.pool import Database
from streams.errors import NotFound, OutcomeUnknown, Unavailable
from streams.event import Draft
from tests.storage.published import Published


class Bench(Published):
    """A workspace, its writers, what they published, and in which order batches were decided and stored."""

    def __init__(self, database: Database, workspace_id: UUID, order: list[str]) -> None:
        super().__init__(database, workspace_id)
        self.order = order

    async def create(self) -> UUID:
        mission_id = new_id()
        await self.execute(mission_id, Create(id=mission_id, backend="demo", space_id=UUID(int=0)))
        return mission_id

    async def execute(self, mission_id: UUID, command: Any) -> Any:
        return await self.writers.execute(self.workspace_id, mission_id, KIND, command)

    async def tick(self, mission_id: UUID, draft: Draft | None = None) -> int:
        [row] = await self.writers.record(self.workspace_id, mission_id, [draft or Draft(type="x_tick")])
        return row.sequence

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Nothing is stored meanwhile, however far it has come."""
        async with self.database.writing() as connection, connection.transaction():
            await statements.settled(connection, self.workspace_id)
            yield

    async def reached(self, *order: str) -> None:
        """Return when batches have been decided and stored in this order, and nothing else."""
        async with asyncio.timeout(10):
            while self.order != list(order):
                await asyncio.sleep(0.01)


@pytest.fixture
async def bench(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    order: list[str] = []
    foresee, append = Batch.foresee, statements.append

    def foreseen(self: Batch, heads: Any) -> bool:
        is_foreseen = foresee(self, heads)
        if is_foreseen:
            order.append("decided")
        return is_foreseen

    async def appended(*arguments: Any) -> int:
        order.append("sent")
        base = await append(*arguments)
        order.append("stored")
        return base

    monkeypatch.setattr(Batch, "foresee", foreseen)
    monkeypatch.setattr(statements, "append", appended)
    bench = Bench(database, await workspaces.create(database, "default"), order)
    yield bench
    await bench.writers.close()
    positions = [event.position for event in bench.published]
    assert positions == list(range(1, len(positions) + 1)), "published in order, without a hole"


async def begun(*calls: Any) -> list[asyncio.Task[Any]]:
    """The calls as tasks, all of which have handed in what they want written."""
    tasks = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0.05)
    return tasks


async def test_many_parts_are_decided_while_others_are_stored(bench: Bench) -> None:
    mission_id = await bench.create()
    bench.order.clear()
    async with bench.held():
        first = await begun(bench.tick(mission_id))
        more = await begun(*(bench.tick(mission_id) for _ in range(AHEAD)))
        await bench.reached("decided", "sent", "decided")
    assert await asyncio.gather(*first, *more) == list(range(2, AHEAD + 3))
    assert bench.order == ["decided", "sent", "decided", "stored", "sent", "stored"]


async def test_few_parts_wait_for_more(bench: Bench) -> None:
    mission_id = await bench.create()
    bench.order.clear()
    async with bench.held():
        first = await begun(bench.tick(mission_id))
        more = await begun(*(bench.tick(mission_id) for _ in range(AHEAD - 1)))
        await bench.reached("decided", "sent")
    await asyncio.gather(*first, *more)
    assert bench.order == ["decided", "sent", "stored", "decided", "sent", "stored"]


async def test_a_long_queue_goes_in_two_halves(bench: Bench) -> None:
    missions = [await bench.create() for _ in range(4)]
    sizes: list[int] = []
    bench.writers._on_batch = lambda events, seconds: sizes.append(events)
    for writer in bench.writers._writers.values():
        writer.on_batch = bench.writers._on_batch
    for _ in range(3):
        await asyncio.gather(*(bench.tick(mission_id) for mission_id in missions for _ in range(AHEAD // 2)))
        await asyncio.gather(*(bench.tick(missions[0]) for _ in range(2 * AHEAD - 1)))
    assert sizes == [AHEAD, AHEAD, 2 * AHEAD - 1] * 3


async def test_parts_that_have_to_be_read_for_go_together(bench: Bench) -> None:
    bench.order.clear()
    async with bench.held():
        first = await begun(bench.create())
        more = await begun(*(bench.create() for _ in range(3 * AHEAD)))
        await bench.reached("sent")
    await asyncio.gather(*first, *more)
    assert bench.order == ["sent", "stored"] * 2


async def test_what_counted_on_a_batch_that_failed_is_decided_anew(bench: Bench) -> None:
    missions = [await bench.create() for _ in range(3)]
    known = Draft(type="x_known", event_id="k", dedupe_key="k")
    await bench.tick(missions[0], known)
    bench.order.clear()
    async with bench.held():
        first = await begun(bench.tick(missions[0], known), bench.tick(missions[1]))
        more = await begun(*(bench.tick(missions[n % 3], Draft(type=f"x_{n % 2}")) for n in range(3 * AHEAD)))
        await bench.reached("decided", "sent", "decided")
    assert await asyncio.gather(*first) == [2, 2], "the known key has its first number"
    numbers = await asyncio.gather(*more)
    assert [sorted(numbers[n::3]) for n in range(3)] == [
        list(range(3, AHEAD + 3)), list(range(3, AHEAD + 3)), list(range(2, AHEAD + 2)),
    ]  # fmt: skip
    rows = [await Missions(bench.database, kinds()).get(bench.workspace_id, mission_id) for mission_id in missions]
    assert [row.head for row in rows] == [AHEAD + 2, AHEAD + 2, AHEAD + 1]
    kept = Counter((event.stream_id, event.type) for event in bench.published)
    assert kept[missions[0], "x_known"] == 1


@pytest.mark.parametrize("is_shared", [True, False])
async def test_a_head_that_only_looks_as_expected_is_not_believed(bench: Bench, is_shared: bool) -> None:
    """The batch before failed, and another process has moved a stream on by as much: the numbers agree, no more."""
    other = Bench(bench.database, bench.workspace_id, [])
    failing = await bench.create()
    moved = failing if is_shared else await bench.create()
    known = Draft(type="x_known", event_id="k", dedupe_key="k")
    await bench.tick(failing, known)
    assert await other.tick(moved) == (3 if is_shared else 2)
    head = await bench.tick(moved)
    bench.order.clear()
    async with bench.held():
        first = await begun(bench.tick(failing, known))
        more = await begun(*(bench.tick(moved) for _ in range(AHEAD)))
        await bench.reached("decided", "sent", "decided")
        ticks = 1 if is_shared else AHEAD
        between = await begun(*(other.tick(moved, Draft(type="x_between")) for _ in range(ticks)))
    known_one, *numbers = await asyncio.gather(*first, *between, *more)
    assert known_one == 2
    assert sorted(numbers) == list(range(head + 1, head + 1 + ticks + AHEAD))
    await other.writers.close()
    bench.published[:] = sorted(bench.published + other.published, key=lambda event: event.position)
    async with bench.database.reading() as connection:
        counts = await connection.fetchval("SELECT counts FROM streams WHERE id = $1", moved)
    assert msgspec.json.decode(counts) == Counter(event.type for event in bench.published if event.stream_id == moved)


async def test_commands_see_what_the_batch_before_them_led_to(bench: Bench) -> None:
    mission_id = await bench.create()
    await bench.execute(mission_id, Rename(title="known"))
    async with bench.held():
        first = await begun(bench.execute(mission_id, Rename(title="0")))
        more = await begun(*(bench.execute(mission_id, Rename(title=str(n))) for n in range(1, 3 * AHEAD)))
    outcomes = await asyncio.gather(*first, *more)
    assert [outcome.state.title for outcome in outcomes] == [str(n) for n in range(3 * AHEAD)]
    assert [event.sequence for outcome in outcomes for event in outcome.events] == list(range(3, 3 * AHEAD + 3))


async def test_a_mission_that_is_being_deleted_takes_nothing_more(bench: Bench) -> None:
    gone, other = await bench.create(), await bench.create()
    await bench.execute(gone, Rename(title="known"))
    async with bench.held():
        first = await begun(bench.execute(gone, Delete()))
        more = await begun(*(bench.tick(mission_id) for mission_id in (gone, other) for _ in range(AHEAD)))
    await asyncio.gather(*first)
    answers = await asyncio.gather(*more, return_exceptions=True)
    assert [type(answer) for answer in answers[:AHEAD]] == [NotFound] * AHEAD
    assert answers[AHEAD:] == list(range(2, AHEAD + 2))


async def test_two_processes_leave_no_hole_and_lose_nothing(bench: Bench) -> None:
    other = Bench(bench.database, bench.workspace_id, [])
    missions = [await bench.create() for _ in range(5)]

    async def write(number: int) -> None:
        desk = (bench, other)[number % 2]
        for turn in range(10):
            await desk.tick(missions[(number // 2) % 5])
            if number < 10:
                await desk.execute(missions[number % 5], Rename(title=f"{number} {turn}"))

    await asyncio.gather(*(write(number) for number in range(160)))
    assert bench.order.count("decided") > 2, "some was foreseen"
    await other.writers.close()
    bench.published[:] = sorted(bench.published + other.published, key=lambda event: event.position)
    sequences = Counter(event.stream_id for event in bench.published)
    assert sequences.total() == 5 + 160 * 10 + 10 * 10


async def test_connections_that_break_lose_nothing_and_store_nothing_twice(bench: Bench) -> None:
    missions = [await bench.create() for _ in range(8)]
    is_over = False

    async def write(number: int) -> list[str]:
        keys: list[str] = []
        while not is_over:
            key = f"{number}-{len(keys)}"
            while True:  # as a client does that gets a 503
                try:
                    await bench.tick(missions[number % 8], Draft(type="x_tick", event_id=key, dedupe_key=key))
                    break
                except (Unavailable, OutcomeUnknown):
                    await asyncio.sleep(0.02)
            keys.append(key)
        return keys

    async def cut() -> None:
        nonlocal is_over
        cuts = 0
        async with asyncio.timeout(30):
            while cuts < 6:
                await asyncio.sleep(0.03)
                async with bench.database.reading() as connection:
                    cuts += len(await connection.fetch(_CUT))
        is_over = True

    _, *each = await asyncio.gather(cut(), *(write(number) for number in range(120)))
    acknowledged = [key for keys in each for key in keys]
    stored = [event.event_id for event in bench.published if event.type == "x_tick"]
    assert len(stored) == len(set(stored))
    assert set(stored) == set(acknowledged)


_CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE application_name = 'missionstream writer' AND state = 'active' AND datname = current_database()
"""


async def test_who_is_decided_and_waits_too_long_is_told_so(bench: Bench) -> None:
    mission_id = await bench.create()
    bench.writers._patience_seconds = 0.3
    bench.order.clear()
    async with bench.held():
        first = await begun(bench.tick(mission_id))
        more = await begun(*(bench.tick(mission_id) for _ in range(AHEAD)))
        await bench.reached("decided", "sent", "decided")
        answers = await asyncio.gather(*first, *more, return_exceptions=True)
    assert [type(answer) for answer in answers] == [OutcomeUnknown] * (AHEAD + 1)
    bench.writers._patience_seconds = 5.0
    assert await bench.tick(mission_id) == AHEAD + 3, "they were stored all the same"


async def test_who_is_decided_when_the_writer_is_cut_short_is_told_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    mission_id = await bench.create()
    monkeypatch.setattr("storage.writer.CLOSE_SECONDS", 0.1)
    bench.order.clear()
    async with bench.held():
        tasks = await begun(bench.tick(mission_id))
        tasks += await begun(*(bench.tick(mission_id) for _ in range(AHEAD)))
        await bench.reached("decided", "sent", "decided")
        await bench.writers.close()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [OutcomeUnknown] * (AHEAD + 1)


async def test_a_defect_of_foresight_is_no_defect_of_the_append(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    mission_id = await bench.create()
    appending = statements.appending

    def faulty(*arguments: Any, is_compared: bool) -> Any:
        if is_compared:
            raise ValueError("a defect")
        return appending(*arguments, is_compared=is_compared)

    monkeypatch.setattr(statements, "appending", faulty)
    assert await asyncio.gather(*(bench.tick(mission_id) for _ in range(3 * AHEAD))) == list(range(2, 3 * AHEAD + 2))


async def test_an_answer_that_no_future_takes_leaves_nobody_waiting(bench: Bench) -> None:
    mission_id = await bench.create()

    def nothing(state: Any) -> Any:
        return next(iter(()))

    async with asyncio.timeout(10):
        bad, *ticks = await asyncio.gather(
            bench.writers.execute(bench.workspace_id, mission_id, KIND, Rename(title="a"), answer=nothing),
            *(bench.tick(mission_id) for _ in range(5)),
            return_exceptions=True,
        )
    assert isinstance(bad, RuntimeError)
    assert ticks == list(range(2, 7))


async def test_where_commits_take_long_nothing_is_decided_ahead_until_they_are_quick(bench: Bench) -> None:
    mission_id = await bench.create()
    writer: Writer = bench.writers._writers[bench.workspace_id]
    for _ in range(7):
        writer._weigh(WORTH_GOING_ON + 1)
    writer._weigh(WORTH_GOING_ON)
    for _ in range(7):
        writer._weigh(WORTH_GOING_ON + 1)
    assert writer._is_worth_ahead, "a few slow ones are no rule"
    writer._weigh(WORTH_GOING_ON + 1)
    bench.order.clear()
    async with bench.held():
        first = await begun(bench.tick(mission_id))
        more = await begun(*(bench.tick(mission_id) for _ in range(3 * AHEAD)))
        await bench.reached("decided", "sent")
    await asyncio.gather(*first, *more)
    assert bench.order == ["decided", "sent", "stored"] * 2, "one large batch, not two halves"
    for _ in range(8):
        writer._weigh(WORTH_BEGINNING)
    assert writer._is_worth_ahead
