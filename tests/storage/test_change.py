"""Rows and what is said of them change together: `Writers.change`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids

from server.missions.known import kinds
from storage import spaces, workspaces
from storage.pool import Database
from storage.queries import queries
from storage.rules import Key, Outcome, Statement
from storage.writer import Writers
from streams.errors import Conflict, KeyReused, NotFound, Unprocessable
from streams.event import Draft, Event


class Bench:
    """A workspace with writers; what they publish is kept."""

    def __init__(self, database: Database, workspace_id: UUID) -> None:
        self.database = database
        self.workspace_id = workspace_id
        self.published: list[Event] = []
        self.writers = Writers(database, kinds(), self._publish)

    def _publish(self, workspace_id: UUID, events: Sequence[Event]) -> None:
        self.published.extend(events)

    def space(self, name: str, *, broken: dict[str, Any] | None = None) -> Statement:
        arguments = (self.workspace_id, uuids.uuid7(), name, None)
        return Statement(queries.spaces.create, arguments, broken=broken or {})

    async def change(self, *statements: Statement, said: str = "x_space", **more: Any) -> Outcome:
        return await self.writers.change(self.workspace_id, statements, [Draft(type=said)], **more)

    async def names(self) -> list[str]:
        return sorted(space.name for space in await spaces.listed(self.database, self.workspace_id))


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    bench = Bench(database, await workspaces.create(database, "default"))
    yield bench
    await bench.writers.close()


TAKEN = {"spaces_workspace_id_name_key": Conflict("that name is taken")}


async def test_the_row_and_its_event_are_there_together(bench: Bench) -> None:
    outcome = await bench.change(bench.space("one"), bench.space("two"), answer={"made": 2})
    assert outcome.answer == '{"made":2}'
    assert [event.type for event in outcome.events] == ["x_space"]
    assert bench.published == list(outcome.events)
    assert outcome.events[0].stream_id == bench.workspace_id
    assert await bench.names() == ["one", "two"]


async def test_a_broken_constraint_changes_nothing_and_is_told_to_its_caller_alone(bench: Bench) -> None:
    await bench.change(bench.space("one"))
    results = await asyncio.gather(
        bench.change(bench.space("two")),
        bench.change(bench.space("three"), bench.space("one", broken=TAKEN)),
        bench.change(bench.space("four")),
        return_exceptions=True,
    )
    assert [isinstance(result, Exception) for result in results] == [False, True, False]
    assert isinstance(results[1], Conflict)
    assert results[1].message == "that name is taken"
    assert await bench.names() == ["four", "one", "two"]
    assert [event.position for event in bench.published] == [1, 2, 3]


async def test_a_statement_that_finds_no_row_says_what_that_means(bench: Bench) -> None:
    nothing = Statement(queries.spaces.one, (bench.workspace_id, uuids.uuid7()), missing=NotFound("no such space"))
    with pytest.raises(NotFound, match="no such space"):
        await bench.change(bench.space("one"), nothing)
    assert await bench.names() == []
    assert bench.published == []


async def test_a_repeated_key_gives_the_first_answer_and_changes_nothing(bench: Bench) -> None:
    key = Key("x", "k", "fingerprint")
    first = await bench.change(bench.space("one"), answer={"id": 1}, key=key)
    again = await bench.change(bench.space("other"), answer={"id": 2}, key=key)
    assert (again.answer, again.replayed, again.events) == (first.answer, True, ())
    with pytest.raises(KeyReused):
        await bench.change(bench.space("other"), key=key._replace(fingerprint="another"))
    assert await bench.names() == ["one"]
    assert len(bench.published) == 1


async def test_one_key_at_once_changes_once(bench: Bench) -> None:
    key = Key("x", "k", "fingerprint")
    outcomes = await asyncio.gather(*(bench.change(bench.space(f"s{n}"), answer=n, key=key) for n in range(20)))
    assert len({outcome.answer for outcome in outcomes}) == 1
    assert len(await bench.names()) == 1


async def test_a_change_that_nothing_could_tell_of_later_is_refused(bench: Bench) -> None:
    with pytest.raises(ValueError, match="an event or a key"):
        await bench.writers.change(bench.workspace_id, [bench.space("one")], [])
    quiet = await bench.writers.change(bench.workspace_id, [bench.space("two")], [], key=Key("x", "k", "f"))
    assert quiet.events == ()
    assert await bench.names() == ["two"]


async def test_a_change_cannot_speak_for_a_mission(bench: Bench) -> None:
    with pytest.raises(Unprocessable):
        await bench.change(bench.space("one"), said="mission_created")
    with pytest.raises(NotFound):
        await bench.change(bench.space("one"), stream_id=uuids.uuid7())
    assert await bench.names() == []
