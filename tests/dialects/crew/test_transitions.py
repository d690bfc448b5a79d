"""Every edge and every non-edge of both lifecycles over HTTP, and what a change of status brings with it."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from server.missions.crew import LIFECYCLE, TASK_LIFECYCLE
from tests.dialects.crew.world import TASK_WAYS, WAYS, Crew, refusal, uuid

pytestmark = pytest.mark.asyncio(loop_scope="module")
SEED = {
    "PLANNING": {"IN_PROGRESS", "CANCELLED"},
    "IN_PROGRESS": {"REVIEW", "FAILED", "CANCELLED"},
    "REVIEW": {"COMPLETED", "IN_PROGRESS", "FAILED", "CANCELLED"},
}
TASK_SEED = {
    "PENDING": {"IN_PROGRESS", "SKIPPED"},
    "BLOCKED": {"PENDING", "SKIPPED"},
    "IN_PROGRESS": {"COMPLETED", "FAILED", "SKIPPED"},
}
"""The tables of the seed; whatever is not there has no exits."""
STATUSES = [*LIFECYCLE.transitions, "BACKLOG", ""]
TASK_STATUSES = [*TASK_LIFECYCLE.transitions, "DONE", ""]


@pytest.mark.parametrize("before", WAYS)
async def test_a_mission_takes_the_edges_of_the_table_and_no_other(crew: Crew, before: str) -> None:
    for after in STATUSES:
        mission = await crew.get(await crew.mission(before))
        answer = await crew.boss.ask("PATCH", crew.path(mission), {"status": after, "title": "renamed"})
        if after in SEED.get(before, ()):
            assert (answer.status, answer.json["status"], answer.json["title"]) == (200, after, "renamed")
        else:
            assert refusal(answer) == (400, f"Invalid status transition from {before} to {after}")
            assert await crew.get(mission) == mission


@pytest.mark.parametrize("before", TASK_LIFECYCLE.transitions)
async def test_a_task_takes_the_edges_of_the_table_and_no_other(crew: Crew, before: str) -> None:
    mission = await crew.started()
    for after in TASK_STATUSES:
        if before == "AWAITING_APPROVAL":
            task = await crew.awaiting(mission)
        else:
            task = await crew.task(mission, before)
        assert task["status"] == before
        answer = await crew.boss.ask("PATCH", crew.path(mission, task), {"status": after, "result_summary": "said"})
        if after in TASK_SEED.get(before, ()):
            assert (answer.status, answer.json["status"], answer.json["result_summary"]) == (200, after, "said")
        else:
            assert refusal(answer) == (400, f"Invalid status transition from {before} to {after}")
            assert (await crew.tasks(mission))[task["id"]] == task


async def test_an_end_has_a_time_and_what_is_no_end_has_none(crew: Crew) -> None:
    for status in WAYS:
        mission = await crew.mission(status)
        assert (mission["completed_at"] is not None) == (status in ("COMPLETED", "FAILED", "CANCELLED"))
    again = await crew.moved(await crew.mission("REVIEW"), "IN_PROGRESS")
    assert again["completed_at"] is None


@pytest.mark.parametrize("status", TASK_WAYS)
async def test_a_task_has_the_times_of_its_status(crew: Crew, status: str) -> None:
    mission = await crew.mission()
    task = await crew.task(mission, status)
    assert (task["started_at"] is not None) == (status in ("IN_PROGRESS", "COMPLETED", "FAILED"))
    assert (task["completed_at"] is not None) == (status in ("COMPLETED", "FAILED", "SKIPPED"))
    assert task["duration_ms"] is None


@pytest.mark.parametrize("mission_status", WAYS)
async def test_tasks_are_patched_in_any_status_of_the_mission(crew: Crew, mission_status: str) -> None:
    mission = await crew.mission()
    task = await crew.task(mission)
    await crew.moved(mission, *WAYS[mission_status])
    assert (await crew.patch(mission, task, status="IN_PROGRESS"))["status"] == "IN_PROGRESS"


async def test_patching_to_in_progress_engages_nobody_and_checks_no_order(crew: Crew) -> None:
    mission = await crew.mission()
    first = await crew.task(mission)
    second = await crew.task(mission, depends_on=[first["id"]])
    await crew.patch(mission, first, depends_on=f'["{second["id"]}"]')
    refused = await crew.act(mission, "start")
    status, text = refusal(refused)
    assert status == 400
    assert text.startswith("Invalid task DAG: circular dependency detected: 2 tasks involved in cycle")
    assert (await crew.moved(mission, "IN_PROGRESS"))["status"] == "IN_PROGRESS"


async def test_fifty_starts_at_once_start_once(crew: Crew) -> None:
    mission = await crew.mission()
    answers = await asyncio.gather(*(crew.act(mission, "start") for _ in range(50)))
    counts = Counter(answer.status for answer in answers)
    assert counts[200] == 1
    assert counts[400] + counts[409] == 49
    refused = {refusal(answer) for answer in answers if answer.status != 200}
    assert refused <= {
        (400, "cannot start mission in IN_PROGRESS state, must be PLANNING"),
        (409, "Mission was already started by another request"),
    }
    assert [answer.json for answer in answers if answer.status == 200] == [
        {"id": mission["id"], "status": "IN_PROGRESS"}
    ]
    entries = await crew.boss.get(f"/api/v1/journal?mission_id={mission['id']}&entry_type=mission.status_change")
    assert [entry["payload"]["action"] for entry in entries["entries"]] == ["start"]


async def test_who_saw_it_planning_and_was_too_late_is_told_of_the_race(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    mission = await crew.mission()
    missions = crew.shared.core.crew_missions
    seen = await missions.found(crew.boss.workspace_id, uuid(mission))

    async def found(*named: Any) -> Any:
        return seen

    assert (await crew.act(mission, "start")).status == 200
    monkeypatch.setattr(missions, "found", found)
    answer = await crew.act(mission, "start")
    assert refusal(answer) == (409, "Mission was already started by another request")


async def test_a_second_start_is_late_and_not_a_race(crew: Crew) -> None:
    mission = await crew.started()
    answer = await crew.act(mission, "start")
    assert refusal(answer) == (400, "cannot start mission in IN_PROGRESS state, must be PLANNING")


async def test_fifty_deletions_at_once_delete_once(crew: Crew) -> None:
    mission = await crew.mission()
    answers = await asyncio.gather(*(crew.boss.ask("DELETE", crew.path(mission)) for _ in range(50)))
    assert Counter(answer.status for answer in answers) == {204: 1, 404: 49}
    assert {refusal(answer) for answer in answers if answer.status == 404} == {(404, "Mission not found")}
    assert refusal(await crew.boss.ask("GET", crew.path(mission))) == (404, "Mission not found")


# what depends on what


async def test_a_completion_unblocks_what_waits_for_nothing_else(crew: Crew) -> None:
    mission = await crew.mission()
    one, two = await crew.task(mission), await crew.task(mission)
    both = await crew.task(mission, depends_on=[one["id"], two["id"]])
    after_one = await crew.task(mission, depends_on=[one["id"]])
    assert (both["status"], after_one["status"]) == ("BLOCKED", "BLOCKED")
    await crew.turned(mission, one, "IN_PROGRESS", "COMPLETED")
    tasks = await crew.tasks(mission)
    assert (tasks[both["id"]]["status"], tasks[after_one["id"]]["status"]) == ("BLOCKED", "PENDING")
    await crew.turned(mission, two, "IN_PROGRESS", "COMPLETED")
    assert (await crew.tasks(mission))[both["id"]]["status"] == "PENDING"
    ready = await crew.task(mission, depends_on=[one["id"]])
    assert ready["status"] == "PENDING"


@pytest.mark.parametrize("end", ["FAILED", "SKIPPED"])
async def test_only_completion_satisfies_a_dependency(crew: Crew, end: str) -> None:
    mission = await crew.mission()
    needed = await crew.task(mission)
    waiting = await crew.task(mission, depends_on=[needed["id"]])
    await crew.turned(mission, needed, *TASK_WAYS[end])
    assert (await crew.tasks(mission))[waiting["id"]]["status"] == "BLOCKED"


async def test_new_dependencies_decide_the_status_anew_both_ways(crew: Crew) -> None:
    mission = await crew.mission()
    done, open_ = await crew.task(mission, "COMPLETED"), await crew.task(mission)
    task = await crew.task(mission)
    blocked = await crew.patch(mission, task, depends_on=f'["{done["id"]}", "{open_["id"]}"]')
    assert (blocked["status"], blocked["depends_on"]) == ("BLOCKED", f'["{done["id"]}","{open_["id"]}"]')
    free = await crew.patch(mission, task, depends_on=f'["{done["id"]}"]')
    assert free["status"] == "PENDING"
    assert (await crew.patch(mission, task, depends_on="[]"))["depends_on"] == "[]"


# restart, resume, clone, approve


async def test_a_restart_sets_back_what_is_not_completed(crew: Crew) -> None:
    mission = await crew.mission()
    done = await crew.task(mission, "COMPLETED", max_iterations=3)
    failed = await crew.task(mission, "FAILED")
    waiting = await crew.task(mission, depends_on=[failed["id"], done["id"]])
    skipped = await crew.task(mission, "SKIPPED", depends_on=[done["id"]])
    await crew.patch(mission, failed, error_message="broke", result_summary="half", output_path="/x", token_count=7)
    await crew.moved(mission, *WAYS["FAILED"])
    answer = await crew.act(mission, "restart")
    assert answer.json == {"id": mission["id"], "status": "PLANNING"}
    after = await crew.get(mission)
    tasks = await crew.tasks(mission)
    assert (after["status"], after["completed_at"]) == ("PLANNING", None)
    assert tasks[done["id"]] == done
    again = tasks[failed["id"]]
    assert (again["status"], again["iteration"], again["error_message"], again["result_summary"]) == (
        "PENDING",
        2,
        None,
        None,
    )
    assert (again["started_at"], again["completed_at"], again["output_path"], again["token_count"]) == (
        None,
        None,
        "/x",
        7,
    )
    assert (tasks[waiting["id"]]["status"], tasks[waiting["id"]]["iteration"]) == ("BLOCKED", 2)
    assert (tasks[skipped["id"]]["status"], tasks[skipped["id"]]["iteration"]) == ("PENDING", 2)


async def test_a_resume_sets_back_what_failed_and_what_waits_for_it(crew: Crew) -> None:
    mission = await crew.mission()
    done = await crew.task(mission, "COMPLETED")
    failed = await crew.task(mission, "FAILED", depends_on=[done["id"]])
    waiting = await crew.task(mission, depends_on=[failed["id"]])
    beside = await crew.task(mission)
    await crew.moved(mission, *WAYS["FAILED"])
    answer = await crew.act(mission, "resume")
    assert answer.json == {"id": mission["id"], "status": "IN_PROGRESS", "reset_tasks": 2}
    tasks = await crew.tasks(mission)
    assert {task["id"]: (task["status"], task["iteration"]) for task in tasks.values()} == {
        done["id"]: ("COMPLETED", 1),
        failed["id"]: ("PENDING", 2),
        waiting["id"]: ("BLOCKED", 2),
        beside["id"]: ("PENDING", 1),
    }


async def test_nothing_failed_is_nothing_to_resume_from(crew: Crew) -> None:
    mission = await crew.mission("FAILED")
    assert refusal(await crew.act(mission, "resume")) == (400, "No failed tasks to resume from")
    assert (await crew.get(mission))["status"] == "FAILED"


async def test_a_cycle_keeps_a_failed_mission_failed(crew: Crew) -> None:
    mission = await crew.mission()
    first = await crew.task(mission)
    second = await crew.task(mission, depends_on=[first["id"]])
    await crew.task(mission, "FAILED")
    await crew.patch(mission, first, depends_on=f'["{second["id"]}"]')
    await crew.moved(mission, *WAYS["FAILED"])
    status, text = refusal(await crew.act(mission, "resume"))
    assert (status, text[:18]) == (400, "Invalid task DAG: ")
    assert (await crew.get(mission))["status"] == "FAILED"


@pytest.mark.parametrize("body", [None, {}, {"title": 3}, [], {"title": ""}])
async def test_a_clone_is_a_copy_to_be_worked_from_the_beginning(crew: Crew, body: object) -> None:
    mission = await crew.mission(description="of oak", workflow_template="wf")
    await crew.boss.ask("PATCH", crew.path(mission), {"plan": "1. saw"})
    done = await crew.task(mission, "COMPLETED", title="saw", max_iterations=2, task_order=5)
    await crew.task(mission, title="nail", depends_on=[done["id"]], assigned_agent_id=crew.worker, task_order=1)
    answer = await crew.act(mission, "clone", body)
    assert answer.status == 201
    assert answer.json == {"id": answer.json["id"], "status": "PLANNING"}
    copy = await crew.get(answer.json)
    assert (copy["title"], copy["description"], copy["plan"]) == ("a boat (copy)", "of oak", None)
    assert (copy["workflow_template"], copy["lead_agent_id"], copy["crew_id"]) == ("wf", crew.lead, crew.id)
    nail, saw = copy["tasks"]
    assert (saw["title"], saw["status"], saw["max_iterations"], saw["depends_on"]) == ("saw", "PENDING", 2, "[]")
    assert (nail["status"], nail["depends_on"], nail["agent_name"]) == ("BLOCKED", f'["{saw["id"]}"]', "Bob")
    assert {saw["id"], nail["id"]}.isdisjoint(await crew.tasks(mission))


async def test_a_clone_may_have_a_title_of_its_own(crew: Crew) -> None:
    answer = await crew.act(await crew.mission(), "clone", {"title": "a ship"})
    assert (await crew.get(answer.json))["title"] == "a ship"


async def test_an_approval_completes_and_unblocks(crew: Crew) -> None:
    mission = await crew.started()
    task = await crew.awaiting(mission)
    waiting = await crew.task(mission, depends_on=[task["id"]])
    assert (task["status"], task["agent_slug"][:5], task["assignment_id"][:2]) == ("AWAITING_APPROVAL", "agent", "m_")
    answer = await crew.act(mission, f"tasks/{task['id']}/approve", {"approved": True, "notes": "fine"})
    said = answer.json
    assert (answer.status, said["status"], said["approval_status"]) == (200, "COMPLETED", "APPROVED")
    assert (said["evaluation_notes"], said["agent_name"]) == ("fine", "Bob")
    assert said["approved_at"] is not None
    assert said["approved_by"].startswith("c")
    assert (await crew.tasks(mission))[task["id"]] == said
    assert (await crew.tasks(mission))[waiting["id"]]["status"] == "PENDING"
    late = await crew.act(mission, f"tasks/{task['id']}/approve", {"approved": False})
    assert refusal(late) == (409, "task is not AWAITING_APPROVAL, current status: COMPLETED")


async def test_a_rejection_fails_the_task_and_what_waits_for_it(crew: Crew) -> None:
    mission = await crew.started()
    task = await crew.awaiting(mission)
    waiting = await crew.task(mission, depends_on=[task["id"]])
    last = await crew.task(mission, depends_on=[waiting["id"]])
    answer = await crew.act(mission, f"tasks/{task['id']}/approve", {"approved": False, "notes": "no"})
    assert (answer.json["status"], answer.json["approval_status"], answer.json["error_message"]) == (
        "FAILED",
        "REJECTED",
        "no",
    )
    tasks = await crew.tasks(mission)
    for cascaded in (waiting, last):
        found = tasks[cascaded["id"]]
        assert (found["status"], found["error_message"]) == ("FAILED", "upstream task rejected")


async def test_one_of_many_approvals_counts(crew: Crew) -> None:
    mission = await crew.started()
    task = await crew.awaiting(mission)
    wishes = [{"approved": number % 2 == 0} for number in range(20)]
    answers = await asyncio.gather(*(crew.act(mission, f"tasks/{task['id']}/approve", wish) for wish in wishes))
    assert Counter(answer.status for answer in answers) == {200: 1, 409: 19}
