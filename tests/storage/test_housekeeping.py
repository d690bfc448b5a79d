"""Erasing and retention: content goes, numbers stay, and a reader below the floor is told so."""

import pytest

from server.missions.control import KIND, Delete, Rename, SetStatus
from storage import housekeeping
from storage.log import Log, Slice
from storage.pool import Database
from storage.rules import Key
from streams.channels import Channel
from streams.cursor import Cursor
from streams.errors import CursorGone
from streams.event import Draft
from tests.storage.test_writer import Bench, bench

__all__ = ["bench"]


async def test_a_deleted_mission_s_content_is_erased_and_its_numbers_stay(bench: Bench, database: Database) -> None:
    mission_id = await bench.create(title="secret plan")
    await bench.tick(mission_id, *(Draft(type="x_a", content="secret", dedupe_key=str(n)) for n in range(30)))
    await bench.writers.execute(bench.workspace_id, mission_id, KIND, Delete())
    assert await housekeeping.erase_deleted(database) == 1
    assert await housekeeping.erase_deleted(database) == 0
    events = await Log(database).page(bench.workspace_id, mission_id, Slice())
    assert [event.sequence for event in events] == list(range(1, 32))
    assert {(event.type, event.content, event.metadata) for event in events} == {("erased", "", "{}")}


async def test_retention_removes_a_prefix_but_never_of_a_mission_that_has_not_ended(
    bench: Bench, database: Database
) -> None:
    ended, alive = await bench.create(), await bench.create()
    await bench.tick(ended)
    await bench.writers.execute(bench.workspace_id, ended, KIND, SetStatus(status="completed"))
    await bench.tick(alive)
    assert await housekeeping.retain(database, 30) == 0
    assert await housekeeping.retain(database, 0) == 1
    log = Log(database)
    head = await log.head(bench.workspace_id)
    assert (head.floor, head.head) == (1, 5)
    page = await log.after(Channel(bench.workspace_id, "workspace", bench.workspace_id), 1)
    assert [event.position for event in page.events] == [2, 3, 4, 5]
    with pytest.raises(CursorGone):
        Cursor(head.epoch, 0).check(epoch=head.epoch, floor=head.floor, head=head.head)
    assert await housekeeping.retain(database, 0) == 0


async def test_only_old_answers_are_forgotten(bench: Bench, database: Database) -> None:
    mission_id = await bench.create()

    async def rename() -> bool:
        outcome = await bench.writers.execute(
            bench.workspace_id, mission_id, KIND, Rename(title="named"), key=Key("rename", "k", "f")
        )
        return outcome.replayed

    assert [await rename(), await rename()] == [False, True]
    await housekeeping.forget_answers(database)
    assert await rename()
    await housekeeping.forget_answers(database, days=0)
    assert not await rename()
