"""A connection cut in the middle of storing: whatever PostgreSQL did, the writer finds out and never guesses."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiohttp import ClientSession

from server.missions.control import Create, Delete, Rename, SetStatus
from server.missions.kinds import NO_SPACE
from server.missions.known import kinds
from storage import housekeeping, migrations, pool, workspaces
from storage.embedded import throwaway
from storage.pool import Database
from storage.rules import Key
from storage.writer import PATIENCE_SECONDS, Writers
from streams.errors import OutcomeUnknown
from streams.event import Draft, Event
from tests.conftest import findings, serving_on
from tests.system.pgproxy import Proxy, proxied
from tests.system.wiretap import Tap, until


class Desk:
    """A writer behind a proxy, one mission, and everything that was published."""

    def __init__(
        self, writers: Callable[[], Writers], workspace_id: UUID, proxy: Proxy, direct: asyncpg.Connection
    ) -> None:
        self.made = [writers()]
        self._writers = writers
        self.workspace_id = workspace_id
        self.mission_id = uuid4()
        self.proxy = proxy
        self.direct = direct
        self.published: list[Event] = []

    @property
    def writers(self) -> Writers:
        return self.made[-1]

    def remember_nothing(self) -> None:
        """Go on with a writer that knows no head yet: it stores by a transaction, and not by a statement alone."""
        self.made.append(self._writers())

    async def create(self) -> None:
        command = Create(id=self.mission_id, backend="demo", space_id=NO_SPACE, title="cut")
        await self.writers.execute(self.workspace_id, self.mission_id, "control", command)

    async def record(self, *contents: str, mission_id: UUID | None = None, is_keyed: bool = False) -> list[Any]:
        drafts = [Draft(type="x_tick", content=text, dedupe_key=text if is_keyed else None) for text in contents]
        return await self.writers.record(self.workspace_id, mission_id or self.mission_id, drafts)

    async def rename(self, title: str, key: str) -> Any:
        return await self.writers.execute(
            self.workspace_id,
            self.mission_id,
            "control",
            Rename(title=title),
            answer=lambda state: {"title": state.title},
            key=Key("test", key, title),
        )

    async def stored(self) -> list[tuple[int, int, str]]:
        """Position, sequence and content of everything in the log."""
        rows = await self.direct.fetch(
            "SELECT position, sequence, content FROM events WHERE workspace_id = $1 ORDER BY position",
            self.workspace_id,
        )
        return [tuple(row) for row in rows]

    def assert_published_is(self, stored: Sequence[tuple[int, int, str]]) -> None:
        assert [(event.position, event.sequence, event.content) for event in self.published] == stored


@asynccontextmanager
async def desk_on(connect: dict[str, Any], **options: Any) -> AsyncIterator[Desk]:
    async with proxied(connect) as proxy:
        direct = await asyncpg.connect(**connect)
        database = Database(proxy.connect)
        await database.open()

        def publish(workspace_id: UUID, events: Sequence[Event]) -> None:
            desk.published += events

        workspace_id = await workspaces.create(database, "cut")
        desk = Desk(lambda: Writers(database, kinds(), publish, **options), workspace_id, proxy, direct)
        try:
            await desk.create()
            yield desk
        finally:
            async with asyncio.timeout(20):
                for writers in desk.made:
                    await writers.close()
            await database.close()
            await direct.close()


@pytest.fixture
async def desk(connect: dict[str, Any]) -> AsyncIterator[Desk]:
    async with desk_on(connect, patience_seconds=0.5) as desk:
        yield desk


@pytest.fixture(params=["one statement", "transaction"])
def way(request: pytest.FixtureRequest, desk: Desk) -> None:
    """Both ways in which activity is stored."""
    if request.param == "transaction":
        desk.remember_nothing()


@pytest.mark.usefixtures("way")
async def test_a_commit_that_never_arrived_is_run_again_and_stored_once(desk: Desk) -> None:
    held = desk.proxy.hold()
    waiting = asyncio.create_task(desk.record("one", "two"))
    await held.came.wait()
    assert len(desk.published) == 1  # the mission's creation
    held.lose()
    answer = await waiting
    stored = await desk.stored()
    assert [content for _, _, content in stored] == ["cut", "one", "two"]
    desk.assert_published_is(stored)
    assert [(row.position, row.sequence) for row in answer] == [(2, 2), (3, 3)]


@pytest.mark.usefixtures("way")
async def test_a_commit_whose_answer_was_cut_off_is_found_and_published_once(desk: Desk) -> None:
    held = desk.proxy.hold()
    waiting = asyncio.create_task(desk.record("one", "two"))
    await held.came.wait()
    held.do_and_cut()
    answer = await waiting
    stored = await desk.stored()
    assert [content for _, _, content in stored] == ["cut", "one", "two"]
    desk.assert_published_is(stored)
    assert [(row.position, row.sequence) for row in answer] == [(2, 2), (3, 3)]


async def test_a_statement_that_arrives_after_its_repetition_stores_nothing(desk: Desk) -> None:
    held = desk.proxy.hold()
    waiting = asyncio.create_task(desk.record("one", "two"))
    await held.came.wait()
    held.delay()
    answer = await waiting
    await desk.record("three")
    held.late.set()
    await held.over.wait()
    stored = await desk.stored()
    assert [content for _, _, content in stored] == ["cut", "one", "two", "three"]
    desk.assert_published_is(stored)
    assert [(row.position, row.sequence) for row in answer] == [(2, 2), (3, 3)]


async def test_a_statement_that_overtakes_its_repetition_is_found(desk: Desk) -> None:
    held, repeated = desk.proxy.hold(), desk.proxy.hold()
    waiting = asyncio.create_task(desk.record("one", "two"))
    await held.came.wait()
    held.delay()
    await repeated.came.wait()
    held.late.set()
    await held.over.wait()
    repeated.go_on()
    answer = await waiting
    stored = await desk.stored()
    assert [content for _, _, content in stored] == ["cut", "one", "two"]
    desk.assert_published_is(stored)
    assert [(row.position, row.sequence) for row in answer] == [(2, 2), (3, 3)]


@pytest.mark.parametrize("by_another", [True, False], ids=["moved by another", "stored"])
async def test_a_repeated_statement_that_finds_another_head_looks_for_its_own_events(
    desk: Desk, by_another: bool
) -> None:
    other = Writers(desk.made[0]._database, kinds(), lambda workspace_id, events: desk.published.extend(events))
    held, repeated = desk.proxy.hold(), desk.proxy.hold()
    waiting = asyncio.create_task(desk.record("one"))
    await held.came.wait()
    (held.lose if by_another else held.do_and_cut)()
    await repeated.came.wait()
    await other.record(desk.workspace_id, desk.mission_id, [Draft(type="x_tick", content="another's")])
    repeated.go_on()
    await waiting
    await other.close()
    stored = await desk.stored()
    assert [content for _, _, content in stored] == [
        "cut",
        *(["another's", "one"] if by_another else ["one", "another's"]),
    ]
    assert sorted(event.position for event in desk.published) == [1, 2, 3]


async def test_a_repetition_that_meets_a_lock_is_repeated_until_the_heads_have_spoken(
    connect: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pool._WRITER_SETTINGS, "lock_timeout", "200ms")
    async with desk_on(connect) as desk:
        held = desk.proxy.hold()
        waiting = asyncio.create_task(desk.record("one"))
        await held.came.wait()
        async with desk.direct.transaction():
            await desk.direct.fetch("SELECT FROM streams WHERE id = $1 FOR UPDATE", desk.mission_id)
            held.delay()
            await asyncio.sleep(1)  # several repetitions run into the lock
        await waiting
        held.late.set()
        await held.over.wait()
        stored = await desk.stored()
        assert [content for _, _, content in stored] == ["cut", "one"]
        desk.assert_published_is(stored)


async def test_callers_of_one_lost_batch_are_never_tried_alone_while_it_may_still_be_stored(
    connect: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pool._WRITER_SETTINGS, "lock_timeout", "200ms")
    async with desk_on(connect) as desk:
        await desk.direct.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$"
        )
        await desk.direct.execute(
            "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW WHEN (NEW.content = 'one') EXECUTE FUNCTION slow()"
        )
        held = desk.proxy.hold()
        waiting = asyncio.gather(desk.record("one"), desk.record("two"))
        await held.came.wait()
        held.delay()
        held.late.set()
        await waiting
        stored = await desk.stored()
        assert [content for _, _, content in stored] == ["cut", "one", "two"]
        desk.assert_published_is(stored)


async def test_a_commit_that_times_out_on_an_open_connection_is_looked_up(
    connect: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "COMMAND_SECONDS", 1.0)

    @asynccontextmanager
    async def writing(database: Database) -> AsyncIterator[asyncpg.Connection]:
        assert database._writers is not None
        async with database._writers.acquire(timeout=0.5) as connection:  # which bounds its release too
            yield connection

    monkeypatch.setattr(Database, "writing", writing)
    async with desk_on(connect) as desk:
        desk.remember_nothing()
        held = desk.proxy.hold()
        waiting = asyncio.create_task(desk.record("one"))
        await held.came.wait()
        await asyncio.sleep(2)  # nothing comes back, and nothing breaks
        held.do_and_cut()
        await waiting
        stored = await desk.stored()
        assert [content for _, _, content in stored] == ["cut", "one"]
        desk.assert_published_is(stored)


async def test_what_was_erased_meanwhile_is_still_found(connect: dict[str, Any]) -> None:
    async with desk_on(connect) as desk:
        kept = uuid4()
        command = Create(id=kept, backend="demo", space_id=NO_SPACE, title="kept")
        await desk.writers.execute(desk.workspace_id, kept, "control", command)
        held = desk.proxy.hold()
        waiting = asyncio.gather(desk.record("in it", mission_id=kept), desk.record("secret"))
        await held.came.wait()
        desk.proxy.is_open = False
        held.do_and_cut()
        await until(lambda: _are_stored(desk, 4))
        database = Database(connect, writers=1, readers=1)
        await database.open()
        other = Writers(database, kinds(), lambda workspace_id, events: None)
        await other.execute(desk.workspace_id, desk.mission_id, "control", Delete())
        await housekeeping.erase_deleted(database)
        await other.close()
        await database.close()
        desk.proxy.is_open = True
        await waiting
        assert [content for _, _, content in await desk.stored()].count("in it") == 1


async def _are_stored(desk: Desk, count: int) -> bool:
    return len(await desk.stored()) == count


@pytest.mark.parametrize("is_done", [True, False], ids=["committed", "aborted"])
async def test_nothing_is_appended_while_an_outcome_is_unknown_and_a_repeat_gets_the_first_answer(
    desk: Desk, is_done: bool
) -> None:
    held = desk.proxy.hold()
    renamed = asyncio.create_task(desk.rename("new title", "key-1"))
    await held.came.wait()
    desk.proxy.is_open = False
    recorded = asyncio.create_task(desk.record("behind", is_keyed=True))
    (held.do_and_cut if is_done else held.lose)()
    for waiting in (renamed, recorded):
        with pytest.raises(OutcomeUnknown):
            await waiting
    assert len(await desk.stored()) == 1 + is_done
    assert len(desk.published) == 1

    desk.proxy.is_open = True
    again = await desk.rename("new title", "key-1")
    assert again.answer == '{"title":"new title"}'
    [behind] = await desk.record("behind", is_keyed=True)
    stored = await desk.stored()
    assert [content for _, _, content in stored] == ["cut", "new title", "behind"]
    assert (behind.position, behind.sequence, behind.fresh) == (3, 3, False)
    desk.assert_published_is(stored)


def test_callers_wait_five_seconds_for_an_unknown_outcome() -> None:
    assert PATIENCE_SECONDS == 5.0


async def test_other_workspaces_go_on_while_one_has_an_unknown_outcome(desk: Desk) -> None:
    held = desk.proxy.hold()
    waiting = asyncio.create_task(desk.record("one"))
    await held.came.wait()
    other = uuid4()
    workspace_id = await _new_workspace(desk)
    command = Create(id=other, backend="demo", space_id=NO_SPACE, title="elsewhere")
    await desk.writers.execute(workspace_id, other, "control", command)
    assert not waiting.done()
    held.go_on()
    await waiting


async def _new_workspace(desk: Desk) -> UUID:
    database = Database(desk.proxy.connect, writers=1, readers=1)
    await database.open()
    try:
        return await workspaces.create(database, "elsewhere")
    finally:
        await database.close()


async def test_a_commit_that_a_crash_swallowed_is_not_taken_for_a_later_transaction_with_its_id() -> None:
    """After a crash PostgreSQL hands out again the ids of transactions that never reached the disk."""
    async with throwaway() as database:
        await migrations.migrate(database.connect_kwargs)
        async with desk_on(database.connect_kwargs) as desk:
            await desk.record("before")
            desk.remember_nothing()
            held = desk.proxy.hold()
            waiting = asyncio.create_task(desk.record("swallowed"))
            await held.came.wait()
            lost = await desk.direct.fetchval("SELECT max(backend_xid::text::bigint) FROM pg_stat_activity")
            desk.proxy.is_open = False
            _crash(database.pid)
            await until(lambda: _is_gone(database))
            held.lose()
            await database.stop()
            await database.start()
            desk.direct = await asyncpg.connect(**database.connect_kwargs)
            await _give_out_ids(desk.direct, through=lost)
            desk.proxy.is_open = True
            [answer] = await waiting
            stored = await desk.stored()
            assert [content for _, _, content in stored] == ["cut", "before", "swallowed"]
            assert (answer.position, answer.sequence) == (3, 3)
            desk.assert_published_is(stored)
        assert await findings(database.connect_kwargs) == []


def _crash(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def _is_gone(database: Any) -> bool:
    return database.pid is None


async def _give_out_ids(connection: asyncpg.Connection, *, through: int) -> None:
    first = int(await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text"))
    assert first <= through  # the crash really forgot it
    for _ in range(first, through + 2):
        await connection.fetchval("SELECT pg_current_xact_id()")


async def test_a_caller_who_leaves_in_mid_commit_does_not_stop_the_publishing(desk: Desk) -> None:
    held = desk.proxy.hold()
    waiting = asyncio.create_task(desk.record("left behind"))
    await held.came.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    held.go_on()
    await desk.record("next")
    stored = await desk.stored()
    assert [content for _, _, content in stored] == ["cut", "left behind", "next"]
    desk.assert_published_is(stored)


async def test_a_client_who_hangs_up_in_mid_commit_is_published_all_the_same(
    connect: dict[str, Any], data_dir: Path
) -> None:
    async with (
        proxied(connect) as proxy,
        serving_on(proxy.connect, data_dir) as serving,
        ClientSession(serving.url, headers=serving.headers) as http,
    ):
        async with http.post("/api/control/missions", json={"title": "hang up"}) as answer:
            mission_id = (await answer.json())["id"]
        tap = await Tap.open(int(serving.url.rpartition(":")[2]))
        await tap.event("status")
        held = proxy.hold()
        _, writer = await _post(serving.url, mission_id, serving.headers["Authorization"])
        await held.came.wait()
        writer.transport.abort()
        await asyncio.sleep(0.05)  # the server notices, and cancels its handler
        held.go_on()
        told = await tap.until(lambda block: block.event == "x_tick")
        assert (told.data["content"], told.data["sequence"]) == ("hung up", 2)
        await tap.close()


async def _post(url: str, mission_id: str, authorization: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    body = b'{"events":[{"event_id":"e1","event_type":"x_tick","content":"hung up"}]}'
    head = (
        f"POST /api/control/missions/{mission_id}/events HTTP/1.1\r\nHost: here\r\nAuthorization: {authorization}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    return reader, writer


async def test_commands_and_activity_of_two_processes_beside_each_other_never_deadlock(
    connect: dict[str, Any],
) -> None:
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    databases = [Database(connect, writers=4, readers=1) for _ in range(2)]
    for database in databases:
        await database.open()
    desks = [Writers(database, kinds(), lambda workspace_id, events: None) for database in databases]
    workspace_id = await workspaces.create(databases[0], "busy")
    missions = [uuid4() for _ in range(6)]
    for mission_id in missions:
        command = Create(id=mission_id, backend="demo", space_id=NO_SPACE, title="busy")
        await desks[0].execute(workspace_id, mission_id, "control", command)

    stop = asyncio.get_running_loop().time() + 3
    done = {"commands": 0, "activity": 0}

    async def command(writers: Writers, number: int) -> None:
        while asyncio.get_running_loop().time() < stop:
            mission_id = missions[(number + done["commands"]) % len(missions)]
            status = ("active", "failed", "interrupted")[done["commands"] % 3]
            await writers.execute(workspace_id, mission_id, "control", SetStatus(status=status))
            await writers.execute(workspace_id, mission_id, "control", Rename(title=str(uuid4())))
            done["commands"] += 2

    async def activity(writers: Writers, number: int) -> None:
        while asyncio.get_running_loop().time() < stop:
            drafts = [Draft(type="x_tick", content="x" * 100) for _ in range(20)]
            await writers.record(workspace_id, missions[(number + done["activity"]) % len(missions)], drafts)
            done["activity"] += 20

    async with asyncio.TaskGroup() as group:
        for number, writers in enumerate(desks * 8):
            group.create_task(command(writers, number))
            group.create_task(activity(writers, number))
    for writers, database in zip(desks, databases, strict=True):
        await writers.close()
        await database.close()  # a session reports its deadlocks at its end, at the latest
    direct = await asyncpg.connect(**connect)
    assert await direct.fetchval(deadlocks) == 0
    assert await direct.fetchval("SELECT head FROM workspace_heads WHERE workspace_id = $1", workspace_id) == (
        await direct.fetchval("SELECT count(*) FROM events WHERE workspace_id = $1", workspace_id)
    )
    ticks = await direct.fetchval("SELECT count(*) FROM events WHERE type = 'x_tick'")
    await direct.close()
    assert ticks == done["activity"] > 200
    assert done["commands"] > 50
