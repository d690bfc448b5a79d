"""Checkpoints: made at the newest entry, listed, looked back at, forked, removed; and what they say."""

import asyncio
from typing import Any

import pytest
import uuid_utils.compat as uuids

from server.dialects.crew import ids
from server.missions.control import Create
from server.missions.crew import KIND
from server.missions.crew.commands import Create as CreateMission
from server.missions.crew.commands import NewTask
from server.missions.kinds import NO_SPACE
from storage import housekeeping
from storage.pool import Database
from streams.event import Draft
from tests.dialects.crew.people import Person, Team, a_team, dismissed
from tests.dialects.crew.world import UNKNOWN, Crew, a_crew, read, refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")


def of(mission: dict[str, Any]) -> str:
    return f"/api/v1/missions/{mission['id']}/checkpoints"


def at(checkpoint: Any, verb: str = "") -> str:
    return f"/api/v1/checkpoints/{checkpoint['id']}{verb}"


async def entries(person: Person, mission: dict[str, Any]) -> list[dict[str, Any]]:
    return (await person.get(f"/api/v1/journal?mission_id={mission['id']}&limit=500"))["entries"]  # type: ignore[no-any-return]


async def test_a_mission_that_nobody_moved_has_nothing_to_anchor_at(crew: Crew) -> None:
    mission = await crew.mission()
    task = await crew.task(mission)
    await crew.patch(mission, task, title="renamed", depends_on="[]")
    await crew.boss.ask("PATCH", crew.path(mission), {"title": "renamed", "plan": "p"})
    assert await entries(crew.boss, mission) == []
    answer = await crew.boss.ask("POST", of(mission))
    assert refusal(answer) == (409, "mission has no journal entries to anchor a checkpoint")
    assert await crew.boss.get(of(mission)) == {"mission_id": mission["id"], "count": 0, "checkpoints": []}
    await crew.moved(mission, "IN_PROGRESS")
    assert (await crew.boss.ask("POST", of(mission))).status == 201


async def test_a_checkpoint_says_what_was_open_at_its_entry(crew: Crew) -> None:
    mission = await crew.started()
    done = await crew.task(mission, "COMPLETED")
    failed, waiting, worked = await crew.task(mission, "FAILED"), await crew.task(mission), await crew.task(mission)
    run = await crew.worked(mission, worked)
    newest = (await entries(crew.boss, mission))[0]
    made = await crew.boss.post(of(mission), {"label": " green build "})
    assert made == {
        "id": made["id"],
        "workspace_id": ids.spell(crew.boss.workspace_id),
        "crew_id": crew.id,
        "mission_id": mission["id"],
        "label": " green build ",
        "journal_cursor": newest["id"],
        "state": {
            "agent_memory": {},
            "pending_tasks": sorted(task["id"] for task in (failed, waiting, worked)),
            "open_assignments": [ids.spell(run, ids.ASSIGNMENT)],
        },
        "created_by": made["created_by"],
        "created_at": made["created_at"],
    }
    assert done["id"] not in made["state"]["pending_tasks"]
    assert made["id"].startswith("chk_")
    assert made["created_by"].startswith("c")
    assert await crew.boss.get(at(made)) == made
    assert (await crew.boss.get(of(mission)))["checkpoints"] == [made]


@pytest.mark.parametrize("body", [b"", b"  ", b"{}", b"null", b'{"label": null}', b'{"label": ""}', b'{"never": 1}'])
async def test_a_label_is_optional_and_an_empty_one_is_left_out(crew: Crew, body: bytes) -> None:
    mission = await crew.mission("IN_PROGRESS")
    here = {"X-Workspace-ID": ids.spell(crew.boss.workspace_id)}
    async with crew.boss.http.post(of(mission), data=body, headers=here) as answer:
        assert answer.status == 201
        made = await answer.json()
    assert {"label", "fork_of"}.isdisjoint(made)


async def test_the_order_of_refusals(crew: Crew, team: Team) -> None:
    fresh = await crew.mission()
    for path, text in (
        (of({"id": UNKNOWN}), "mission not found"),
        (at({"id": UNKNOWN}, "/fork"), "checkpoint not found"),
    ):
        assert refusal(await team["MEMBER"].ask("POST", path, [])) == (403, "Forbidden")
        assert refusal(await crew.boss.ask("POST", path, [])) == (404, text)
    assert refusal(await crew.boss.ask("POST", of(fresh), [])) == (400, "invalid JSON body")
    assert refusal(await crew.boss.ask("POST", of(fresh), {"label": 1})) == (400, "invalid JSON body")
    assert (await crew.boss.ask("POST", of(fresh), {})).status == 409


async def test_the_list_is_newest_first_and_a_wrong_limit_is_the_usual_one(crew: Crew) -> None:
    mission = await crew.mission("IN_PROGRESS")
    made = [(await crew.boss.post(of(mission), {"label": str(number)}))["id"] for number in range(55)][::-1]

    async def listed(query: str) -> list[str]:
        answer = await crew.boss.get(f"{of(mission)}{query}")
        assert (answer["mission_id"], answer["count"]) == (mission["id"], len(answer["checkpoints"]))
        return [checkpoint["id"] for checkpoint in answer["checkpoints"]]

    assert await listed("") == made[:50]
    assert await listed("?limit=200") == made
    assert await listed("?limit=3") == made[:3]
    for wrong in ("0", "201", "-1", "x", "1.5", "", "99999999999999999999"):
        assert await listed(f"?limit={wrong}") == made[:50], wrong


async def test_a_checkpoint_is_an_entry_itself_with_what_the_timeline_needs(crew: Crew) -> None:
    mission = await crew.mission("IN_PROGRESS")
    first = await crew.boss.post(of(mission), {"label": "one"})
    entry = (await entries(crew.boss, mission))[0]
    assert (entry["entry_type"], entry["severity"], entry["actor_type"]) == ("checkpoint.created", "notice", "user")
    refs = {"checkpoint_id": first["id"], "journal_cursor": first["journal_cursor"], "mission_id": mission["id"]}
    assert entry["refs"] == refs
    assert entry["payload"] == {**refs, "label": "one"}
    second = await crew.boss.post(of(mission), {})
    assert second["journal_cursor"] == entry["id"]


async def test_a_restore_tells_what_is_newer_and_changes_nothing(crew: Crew) -> None:
    mission = await crew.mission("IN_PROGRESS")
    checkpoint = await crew.boss.post(of(mission), {"label": "here"})
    await crew.mission("IN_PROGRESS")  # another mission's entries are none of it
    task = await crew.task(mission, "COMPLETED")
    before = await crew.get(mission)
    newer = [entry["id"] for entry in await entries(crew.boss, mission)][::-1]
    answer = await crew.boss.post(at(checkpoint, "/restore"), None, 200)
    anchor = newer.index(checkpoint["journal_cursor"])
    assert answer == {
        "checkpoint": checkpoint,
        "journal_cursor": checkpoint["journal_cursor"],
        "warn_divergence": newer[anchor + 1 :],
    }
    assert len(answer["warn_divergence"]) == 3  # the checkpoint's own entry, and the task's two
    again = await crew.boss.post(at(checkpoint, "/restore"), None, 200)
    assert again["warn_divergence"][:-1] == answer["warn_divergence"]
    restored = (await entries(crew.boss, mission))[0]
    assert (restored["entry_type"], restored["refs"]["divergence_count"]) == ("checkpoint.restored", 4)
    assert restored["payload"]["label"] == "here"
    assert await crew.get(mission) == before
    assert task["status"] == "COMPLETED"


async def test_who_restores_is_the_actor(crew: Crew, team: Team) -> None:
    mission = await crew.mission("IN_PROGRESS")
    checkpoint = await crew.boss.post(of(mission), None)
    assert (await team["MANAGER"].ask("POST", at(checkpoint, "/restore"))).status == 200
    restored, made = (await entries(crew.boss, mission))[:2]
    assert restored["actor_id"] != made["actor_id"] == checkpoint["created_by"]


async def test_a_fork_goes_on_from_the_tasks_as_they_are_now(crew: Crew) -> None:
    mission = await crew.started(description="of oak")
    await crew.boss.ask("PATCH", crew.path(mission), {"plan": "1. saw"})
    checkpoint = await crew.boss.post(of(mission), None)
    done = await crew.task(mission, "COMPLETED", title="saw", max_iterations=3)
    await crew.patch(mission, done, result_summary="sawn")
    await crew.task(mission, title="paint", depends_on=[done["id"]], assigned_agent_id=crew.worker)
    await crew.task(mission, "FAILED", title="broke")
    await crew.task(mission, "IN_PROGRESS", title="begun")
    await crew.awaiting(mission, title="asked")
    fork = await crew.boss.post(at(checkpoint, "/fork"), None)
    assert fork.keys() == {"new_mission_id", "new_checkpoint_id"}
    made = await crew.get({"id": fork["new_mission_id"]})
    assert (made["status"], made["title"], made["plan"]) == ("PLANNING", "Fork: a boat", "1. saw")
    assert (made["description"], made["lead_agent_id"], made["crew_id"]) == ("of oak", crew.lead, crew.id)
    tasks = {task["title"]: task for task in made["tasks"]}
    assert {title: task["status"] for title, task in tasks.items()} == {
        "saw": "COMPLETED",
        "paint": "PENDING",
        "broke": "FAILED",
        "begun": "PENDING",
        "asked": "PENDING",
    }
    assert tasks["paint"]["depends_on"] == f'["{tasks["saw"]["id"]}"]'
    assert (tasks["paint"]["agent_name"], tasks["saw"]["max_iterations"], tasks["saw"]["result_summary"]) == (
        "Bob",
        None,
        None,
    )
    bookmark = await crew.boss.get(f"/api/v1/checkpoints/{fork['new_checkpoint_id']}")
    assert (bookmark["mission_id"], bookmark["fork_of"]) == (made["id"], checkpoint["id"])
    assert bookmark["journal_cursor"] == checkpoint["journal_cursor"]
    assert bookmark["label"] == f"fork of {checkpoint['id']}"
    assert bookmark["state"]["pending_tasks"] == sorted(task["id"] for title, task in tasks.items() if title != "saw")
    [entry] = await entries(crew.boss, made)
    assert (entry["entry_type"], entry["severity"], entry["mission_id"]) == ("fork.created", "notice", made["id"])
    assert entry["refs"] == {
        "checkpoint_id": bookmark["id"],
        "journal_cursor": checkpoint["journal_cursor"],
        "parent_mission": mission["id"],
        "new_mission": made["id"],
        "fork_of": checkpoint["id"],
        "new_checkpoint_id": bookmark["id"],
    }
    # so that a fork can be bookmarked at once
    assert (await crew.boss.post(of(made), {"label": "x"}))["journal_cursor"] == entry["id"]


async def test_a_fork_may_have_a_label(crew: Crew) -> None:
    mission = await crew.mission("IN_PROGRESS")
    checkpoint = await crew.boss.post(of(mission), None)
    fork = await crew.boss.post(at(checkpoint, "/fork"), {"label": "other way"})
    assert (await crew.boss.get(f"/api/v1/checkpoints/{fork['new_checkpoint_id']}"))["label"] == "other way"


async def test_a_fork_looks_back_over_its_own_entries(crew: Crew) -> None:
    mission = await crew.mission("IN_PROGRESS")
    checkpoint = await crew.boss.post(of(mission), None)
    fork = await crew.boss.post(at(checkpoint, "/fork"), None)
    await crew.moved(mission, "REVIEW")
    answer = await crew.boss.post(f"/api/v1/checkpoints/{fork['new_checkpoint_id']}/restore", None, 200)
    own = await entries(crew.boss, {"id": fork["new_mission_id"]})
    assert answer["warn_divergence"] == [own[-1]["id"]]


async def test_a_deleted_checkpoint_is_gone_and_its_forks_stay(crew: Crew) -> None:
    mission = await crew.mission("IN_PROGRESS")
    checkpoint = await crew.boss.post(of(mission), None)
    fork = await crew.boss.post(at(checkpoint, "/fork"), None)
    before = await entries(crew.boss, mission)
    assert (await crew.boss.ask("DELETE", at(checkpoint))).status == 204
    assert await entries(crew.boss, mission) == before
    for method, verb in (("GET", ""), ("DELETE", ""), ("POST", "/restore"), ("POST", "/fork")):
        assert refusal(await crew.boss.ask(method, at(checkpoint, verb))) == (404, "checkpoint not found")
    assert (await crew.boss.get(of(mission)))["count"] == 0
    bookmark = await crew.boss.get(f"/api/v1/checkpoints/{fork['new_checkpoint_id']}")
    assert "fork_of" not in bookmark
    assert (await crew.get({"id": fork["new_mission_id"]}))["status"] == "PLANNING"


async def test_many_at_once_delete_it_once(crew: Crew) -> None:
    mission = await crew.mission("IN_PROGRESS")
    checkpoint = await crew.boss.post(of(mission), None)
    answers = await asyncio.gather(*(crew.boss.ask("DELETE", at(checkpoint)) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [204] + [404] * 9


async def test_a_mission_takes_its_checkpoints_with_it(crew: Crew) -> None:
    mission = await crew.mission("CANCELLED")
    checkpoint = await crew.boss.post(of(mission), None)
    fork = await crew.boss.post(at(checkpoint, "/fork"), None)
    bookmark = f"/api/v1/checkpoints/{fork['new_checkpoint_id']}"
    assert (await crew.boss.ask("DELETE", crew.path(mission))).status == 204
    assert refusal(await crew.boss.ask("GET", at(checkpoint))) == (404, "checkpoint not found")
    assert refusal(await crew.boss.ask("GET", of(mission))) == (404, "mission not found")
    assert refusal(await crew.boss.ask("POST", of(mission))) == (404, "mission not found")
    assert "fork_of" not in await crew.boss.get(bookmark)
    # its entries are emptied in place, and their positions still tell what is newer
    while await housekeeping.erase_deleted(crew.shared.core.database):
        pass
    answer = await crew.boss.post(f"{bookmark}/restore", None, 200)
    assert len(answer["warn_divergence"]) == 1


async def test_missions_do_not_see_each_others_checkpoints(crew: Crew, team: Team) -> None:
    one, two = await crew.mission("IN_PROGRESS"), await crew.mission("IN_PROGRESS")
    await crew.boss.post(of(one), None)
    assert (await crew.boss.get(of(two)))["count"] == 0
    outsider = team["outsider"]._replace(workspace_id=team.elsewhere)
    assert refusal(await outsider.ask("GET", of(one))) == (404, "mission not found")


async def test_missions_of_other_kinds_have_no_checkpoints(crew: Crew) -> None:
    mission_id, core = uuids.uuid7(), crew.shared.core
    wish = Create(id=mission_id, backend="demo", space_id=NO_SPACE, title="control's")
    await core.writers.execute(crew.boss.workspace_id, mission_id, "control", wish)
    await core.writers.record(crew.boss.workspace_id, mission_id, [Draft(type="thinking", content="hm")])
    path = of({"id": ids.spell(mission_id)})
    assert refusal(await crew.boss.ask("GET", path)) == (404, "mission not found")
    assert refusal(await crew.boss.ask("GET", f"{crew.missions}/{ids.spell(mission_id)}")) == (404, "Mission not found")
    assert ids.spell(mission_id) not in {mission["id"] for mission in await crew.boss.get("/api/v1/missions?limit=100")}


async def test_a_restore_fails_in_words_where_retention_was(crew: Crew) -> None:
    """In a workspace of its own, since its floor rises."""
    apart = await a_team(crew.shared)
    own = await a_crew(crew.shared, apart["OWNER"])
    mission = await own.mission("CANCELLED")
    checkpoint = await own.boss.post(of(mission), None)
    database: Database = crew.shared.core.database
    assert (await own.boss.ask("POST", at(checkpoint, "/restore"))).status == 200
    await housekeeping.retain(database, 0)
    answer = await own.boss.ask("POST", at(checkpoint, "/restore"))
    assert refusal(answer) == (500, "restore failed")
    assert await own.boss.get(at(checkpoint)) == checkpoint
    await dismissed(apart)


async def test_a_large_mission_is_copied_whole(crew: Crew) -> None:
    """A thousand tasks, each of which waits for the one before it."""
    mission_id, tasks = uuids.uuid7(), [uuids.uuid7() for _ in range(1_000)]
    chain = tuple(
        NewTask(id=task, title=str(number), order=number, depends_on=tuple(tasks[number - 1 : number]))
        for number, task in enumerate(tasks)
    )
    wish = CreateMission(id=mission_id, crew_id=read(crew.id), lead_agent_id=read(crew.lead), title="long", tasks=chain)
    await crew.shared.core.writers.execute(crew.boss.workspace_id, mission_id, KIND, wish)
    mission = await crew.moved({"id": ids.spell(mission_id)}, "IN_PROGRESS")
    checkpoint = await crew.boss.post(of(mission), None)
    assert len(checkpoint["state"]["pending_tasks"]) == 1_000
    fork = (await crew.boss.post(at(checkpoint, "/fork"), None))["new_mission_id"]
    clone = (await crew.act(mission, "clone")).json["id"]
    for copy in (fork, clone):
        got = await crew.get({"id": copy})
        assert (got["task_stats"]["total"], got["task_stats"]["blocked"], got["task_stats"]["pending"]) == (
            1_000,
            999,
            1,
        )
        assert [task["title"] for task in got["tasks"]] == [str(number) for number in range(1_000)]
        assert [task["depends_on"] for task in got["tasks"][1:]] == [f'["{task["id"]}"]' for task in got["tasks"][:-1]]
    assert (await crew.boss.ask("POST", f"{crew.missions}/{clone}/start")).status == 200


async def test_a_label_has_a_thousand_characters_at_most(crew: Crew) -> None:
    mission = await crew.mission("IN_PROGRESS")
    path = f"/api/v1/missions/{mission['id']}/checkpoints"
    made = await crew.boss.post(path, {"label": "ж" * 1_000})
    assert made["label"] == "ж" * 1_000
    for there in (path, f"/api/v1/checkpoints/{made['id']}/fork"):
        for count in (1_001, 100_000):
            answer = await crew.boss.ask("POST", there, {"label": "ж" * count})
            assert refusal(answer) == (400, f"label has {count} characters, at most 1000 are kept")
    assert (await crew.boss.get(path))["count"] == 1
