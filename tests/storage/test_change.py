"""Rows and what is said of them change together: `Writers.change`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids

from server.missions.crew.commands import Create, Edit, Resume, Start
from storage import spaces, workspaces
from storage.pool import Database
from storage.queries import queries
from storage.rules import Key, Outcome, Statement
from streams.errors import Conflict, KeyReused, NotFound, Unprocessable
from streams.event import Draft
from tests.storage.published import Published


class Bench(Published):
    """A workspace with writers; what they publish is kept."""

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


async def test_an_answer_that_is_no_json_changes_nothing_and_fails_its_caller_alone(bench: Bench) -> None:
    results = await asyncio.gather(
        bench.change(bench.space("one")),
        bench.change(bench.space("two"), said="x_never", answer=object()),
        bench.change(bench.space("three")),
        return_exceptions=True,
    )
    assert [isinstance(result, Exception) for result in results] == [False, True, False]
    assert await bench.names() == ["one", "three"]
    assert [(event.type, event.position) for event in bench.published] == [("x_space", 1), ("x_space", 2)]


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


# rows that change with a command


def created(mission_id: UUID) -> Create:
    return Create(id=mission_id, crew_id=uuids.uuid7(), lead_agent_id=uuids.uuid7(), title="a boat")


async def test_a_command_its_rows_and_its_activity_are_there_together(bench: Bench) -> None:
    mission_id = uuids.uuid7()
    wish = created(mission_id)
    outcome = await bench.writers.execute(
        bench.workspace_id, mission_id, "crew", wish, statements=[bench.space("one")], drafts=[Draft(type="x_said")]
    )
    assert [event.type for event in bench.published] == ["mission_created", "x_said"]
    assert [event.sequence for event in outcome.events] == [1, 2]
    assert {event.crew_id for event in outcome.events} == {wish.crew_id}
    assert await bench.names() == ["one"]
    # the activity is none of the state: the next command finds the version that the state has
    moved = await bench.writers.execute(bench.workspace_id, mission_id, "crew", Start())
    assert moved.state.status == "IN_PROGRESS"


async def test_a_refused_command_changes_no_rows(bench: Bench) -> None:
    mission_id = uuids.uuid7()
    await bench.writers.execute(bench.workspace_id, mission_id, "crew", created(mission_id))
    with pytest.raises(Conflict):
        await bench.writers.execute(bench.workspace_id, mission_id, "crew", Resume(), statements=[bench.space("one")])
    assert await bench.names() == []


async def test_a_row_that_is_not_there_refuses_the_command_alone(bench: Bench) -> None:
    ids = [uuids.uuid7() for _ in range(5)]
    nothing = Statement(queries.spaces.one, (bench.workspace_id, uuids.uuid7()), missing=NotFound("no such space"))
    results = await asyncio.gather(
        *(
            bench.writers.execute(
                bench.workspace_id, made, "crew", created(made), statements=[nothing] if number == 2 else []
            )
            for number, made in enumerate(ids)
        ),
        return_exceptions=True,
    )
    assert [isinstance(result, Exception) for result in results] == [number == 2 for number in range(5)]
    assert {event.stream_id for event in bench.published} == {*ids} - {ids[2]}


async def test_a_command_on_a_known_mission_asks_its_rows_too(bench: Bench) -> None:
    mission_id = uuids.uuid7()
    await bench.writers.execute(bench.workspace_id, mission_id, "crew", created(mission_id))
    nothing = Statement(queries.spaces.one, (bench.workspace_id, uuids.uuid7()), missing=NotFound("no such space"))
    for _ in range(2):  # the second time every head and state is remembered
        with pytest.raises(NotFound, match="no such space"):
            await bench.writers.execute(bench.workspace_id, mission_id, "crew", Start(), statements=[nothing])
    assert [event.type for event in bench.published] == ["mission_created"]


async def test_a_repeated_key_asks_no_row_again(bench: Bench) -> None:
    mission_id, key = uuids.uuid7(), Key("x", "k", "fingerprint")
    await bench.writers.execute(bench.workspace_id, mission_id, "crew", created(mission_id), key=key)
    nothing = Statement(queries.spaces.one, (bench.workspace_id, uuids.uuid7()), missing=NotFound("no such space"))
    again = await bench.writers.execute(
        bench.workspace_id, mission_id, "crew", created(mission_id), key=key, statements=[nothing]
    )
    assert again.replayed


async def test_a_command_that_leads_to_nothing_may_still_ask_and_change(bench: Bench) -> None:
    mission_id = uuids.uuid7()
    await bench.writers.execute(bench.workspace_id, mission_id, "crew", created(mission_id))
    outcome = await bench.writers.execute(
        bench.workspace_id, mission_id, "crew", Edit(), statements=[bench.space("one")]
    )
    assert (outcome.events, await bench.names()) == ((), ["one"])


async def test_activity_with_a_command_may_be_no_decision(bench: Bench) -> None:
    mission_id = uuids.uuid7()
    with pytest.raises(Unprocessable):
        await bench.writers.execute(
            bench.workspace_id, mission_id, "crew", created(mission_id), drafts=[Draft(type="mission_edited")]
        )
    assert bench.published == []
