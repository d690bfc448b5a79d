"""What missions and tasks look like: which member is there when, pages, dependencies, agents, texts of refusals."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from server.dialects.crew import ids, missions
from tests.dialects.crew.people import Team
from tests.dialects.crew.world import UNKNOWN, Crew, a_crew, read, refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")
MISSION = {
    "id", "workspace_id", "crew_id", "lead_agent_id", "trace_id", "title", "description", "status", "plan",
    "workflow_template", "total_token_count", "total_estimated_cost", "created_at", "updated_at", "completed_at",
}  # fmt: skip
NAMES = {"lead_agent_name", "lead_agent_slug"}
TASK = {
    "id", "mission_id", "assigned_agent_id", "title", "description", "status", "task_order", "depends_on", "iteration",
    "max_iterations", "result_summary", "output_path", "error_message", "assignment_id", "token_count",
    "estimated_cost", "started_at", "completed_at", "duration_ms", "confidence", "needs_review", "handoff_context",
    "evaluation_status", "evaluation_notes", "approval_required", "approval_status", "approved_by", "approved_at",
    "created_at", "updated_at",
}  # fmt: skip
AGENT = {"agent_name", "agent_slug"}
STATS = ["total", "pending", "blocked", "in_progress", "completed", "failed", "skipped", "awaiting_approval"]
ALL = "/api/v1/missions"


@pytest.mark.parametrize("has_tasks", [False, True])
async def test_each_answer_has_its_members(crew: Crew, has_tasks: bool) -> None:
    made = await crew.mission()
    assert made.keys() == MISSION
    if has_tasks:
        await crew.task(made)
    assert (await crew.moved(made, "IN_PROGRESS")).keys() == MISSION | NAMES
    got = await crew.get(made)
    assert got.keys() == MISSION | NAMES | {"task_stats", "tasks"}
    assert len(got["tasks"]) == int(has_tasks)
    for path, more in (
        (ALL, set[str]()),
        (f"{ALL}?include_tasks=1", set[str]()),
        (f"{ALL}?include_tasks=true", {"tasks"}),
        (crew.missions, set[str]()),
        (f"{crew.missions}?include_tasks=true", set[str]()),
    ):
        newest = (await crew.boss.get(path))[0]
        assert newest["id"] == made["id"]
        assert newest.keys() == MISSION | NAMES | {"task_stats"} | more
        assert list(newest["task_stats"]) == STATS
        assert newest["task_stats"]["total"] == int(has_tasks)
    assert (await crew.boss.get(f"{ALL}?include_tasks=true"))[0]["tasks"] == got["tasks"]


async def test_a_mission_says_what_it_was_given(crew: Crew) -> None:
    made = await crew.mission(title=" ü ", description="", workflow_template="wf-1")
    assert (made["title"], made["description"], made["workflow_template"]) == (" ü ", "", "wf-1")
    assert (made["crew_id"], made["lead_agent_id"], made["status"]) == (crew.id, crew.lead, "PLANNING")
    assert made["workspace_id"] == ids.spell(crew.boss.workspace_id)
    assert made["trace_id"] == f"mission-{made['id']}"
    assert made["created_at"] == made["updated_at"]
    assert (len(made["created_at"]), made["created_at"][-1]) == (20, "Z")


async def test_edits_keep_empty_texts_and_ignore_null(crew: Crew) -> None:
    made = await crew.mission(description="old")
    path = crew.path(made)
    assert (await crew.boss.ask("PATCH", path, {"description": "", "plan": "", "title": ""})).status == 200
    got = await crew.get(made)
    assert (got["title"], got["description"], got["plan"]) == ("", "", "")
    for nothing in ({}, {"title": None, "status": None}, {"lead_agent_id": UNKNOWN, "never": 1}):
        answer = await crew.boss.ask("PATCH", path, nothing)
        assert (answer.status, answer.json["updated_at"]) == (200, got["updated_at"])
    assert await crew.get(made) == got


async def test_a_task_has_its_members_and_its_agents_names(crew: Crew) -> None:
    mission = await crew.mission()
    plain = await crew.task(mission)
    assert plain.keys() == TASK
    full = await crew.task(mission, assigned_agent_id=crew.worker, description="d", task_order=7, max_iterations=0)
    assert full.keys() == TASK | AGENT
    assert (full["agent_name"], full["assigned_agent_id"], full["mission_id"]) == ("Bob", crew.worker, mission["id"])
    assert (full["task_order"], full["max_iterations"], full["iteration"], full["description"]) == (7, 0, 1, "d")
    assert (full["needs_review"], full["approval_required"]) == (False, False)
    assert await crew.tasks(mission) == {plain["id"]: plain, full["id"]: full}
    assert await crew.patch(mission, plain, assigned_agent_id=str(read(crew.lead))) == {
        **(await crew.tasks(mission))[plain["id"]],
        "agent_name": "Lea",
    }


async def test_tasks_stand_in_their_order_then_as_they_were_made(crew: Crew) -> None:
    mission = await crew.mission()
    for title, order in (("d", 2), ("b", 1), ("e", 2), ("a", -1), ("c", 1)):
        await crew.task(mission, title=title, task_order=order)
    assert [task["title"] for task in (await crew.get(mission))["tasks"]] == ["a", "b", "c", "d", "e"]


async def test_totals_are_the_sums_of_the_tasks(crew: Crew) -> None:
    mission = await crew.mission()
    for tokens, cost in ((10, 0.1), (20, 0.2)):
        task = await crew.task(mission)
        await crew.patch(mission, task, token_count=tokens, estimated_cost=cost)
    [newest] = await crew.boss.get(f"{crew.missions}?limit=1")
    assert (newest["total_token_count"], newest["total_estimated_cost"]) == (30, 0.3)


# pages


async def test_pages_are_clamped_and_newest_first(team: Team, crew: Crew) -> None:
    own = await a_crew(crew.shared, team["MANAGER"])
    made = [(await own.mission(title=str(number)))["id"] for number in range(25)][::-1]
    await own.moved({"id": made[-1]}, "IN_PROGRESS")  # the oldest is the last changed

    async def page(query: str) -> list[str]:
        return [mission["id"] for mission in await own.boss.get(f"{own.missions}?{query}")]

    assert await page("") == made[:20]
    for garbage in ("0", "-1", "x", "2.5", "99999999999999999999", "%20", "１"):
        assert await page(f"limit={garbage}") == made[:20]
        assert await page(f"offset={garbage}") == made[:20]
    assert await page("limit=3") == made[:3]
    assert await page("limit=200") == made
    assert await page("limit=5&offset=23") == made[23:]
    assert await page("offset=1000") == []
    assert [mission["id"] for mission in await own.boss.get(f"{ALL}?limit=25")] == made


async def test_the_status_filter_is_exact(crew: Crew, team: Team) -> None:
    own = await a_crew(crew.shared, team["ADMIN"])
    for status in ("PLANNING", "CANCELLED", "CANCELLED", "FAILED"):
        await own.mission(status)
    for path in (own.missions, ALL):
        for status, count in (("CANCELLED", 2), ("FAILED", 1), ("cancelled", 0), ("RESUMING", 0), ("x' OR 1=1", 0)):
            found = await own.boss.get(f"{path}?status={status}")
            mine = [mission for mission in found if mission["crew_id"] == own.id]
            assert (len(mine), {mission["status"] for mission in found} - {status}) == (count, set())
    assert len(await own.boss.get(f"{own.missions}?status=")) == 4


async def test_a_list_is_of_its_crew_and_its_workspace(crew: Crew, team: Team) -> None:
    mission = await crew.mission()
    other = await a_crew(crew.shared, crew.boss)
    assert await crew.boss.get(other.missions) == []
    assert await crew.boss.get(f"/api/v1/crews/{UNKNOWN}/missions") == []
    outsider = team["outsider"]._replace(workspace_id=team.elsewhere)
    assert await outsider.get(ALL) == []
    assert await outsider.get(crew.missions) == []
    wrong_crew = await crew.boss.ask("GET", f"{other.missions}/{mission['id']}")
    unknown = await crew.boss.ask("GET", f"{other.missions}/{UNKNOWN}")
    assert wrong_crew.text.replace(mission["id"], "x") == unknown.text.replace(UNKNOWN, "x")
    assert refusal(wrong_crew) == (404, "Mission not found")


# create


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "title is required"),
        ({"title": "", "lead_agent_id": ""}, "title is required"),
        ({"title": None}, "title is required"),
        ({"title": "t"}, "lead_agent_id is required"),
        ({"title": "t", "lead_agent_id": ""}, "lead_agent_id is required"),
        ({"title": "t", "lead_agent_id": UNKNOWN}, "lead agent not found in crew"),
        ({"title": "t", "lead_agent_id": "nobody"}, "lead agent not found in crew"),
        ({"title": "t", "lead_agent_id": "<worker>"}, "agent must have LEAD role"),
        ({"title": 3}, "Invalid JSON body"),
        ([], "Invalid JSON body"),
    ],
)
async def test_a_mission_needs_a_title_and_a_lead(crew: Crew, body: Any, text: str) -> None:
    if isinstance(body, dict) and body.get("lead_agent_id") == "<worker>":
        body = {**body, "lead_agent_id": crew.worker}
    assert refusal(await crew.boss.ask("POST", crew.missions, body)) == (400, text)


async def test_a_lead_of_another_crew_or_workspace_or_a_deleted_one_is_none(crew: Crew, team: Team) -> None:
    text = (400, "lead agent not found in crew")
    other = await a_crew(crew.shared, crew.boss)
    outsider = team["outsider"]._replace(workspace_id=team.elsewhere)
    foreign = await a_crew(crew.shared, outsider)
    for lead in (other.lead, foreign.lead):
        body = {"title": "t", "lead_agent_id": lead}
        assert refusal(await crew.boss.ask("POST", crew.missions, body)) == text
    # a crew of another workspace is none of ours, even with its own lead
    body = {"title": "t", "lead_agent_id": foreign.lead}
    assert refusal(await crew.boss.ask("POST", foreign.missions, body)) == text
    assert (await other.boss.ask("DELETE", f"/api/v1/agents/{other.lead}")).status in (200, 204)
    body = {"title": "t", "lead_agent_id": other.lead}
    assert refusal(await crew.boss.ask("POST", other.missions, body)) == text


async def test_a_deleted_agents_name_stays_with_its_work(crew: Crew) -> None:
    other = await a_crew(crew.shared, crew.boss)
    mission = await other.mission()
    task = await other.task(mission, assigned_agent_id=other.worker)
    for agent in (other.lead, other.worker):
        assert (await other.boss.ask("DELETE", f"/api/v1/agents/{agent}")).status in (200, 204)
    got = await other.get(mission)
    assert (got["lead_agent_name"], got["tasks"][0]["agent_name"]) == ("Lea", "Bob")
    refused = await other.boss.ask("PATCH", other.path(mission, task), {"assigned_agent_id": other.worker})
    assert refusal(refused) == (400, "assigned agent not found")


# tasks


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"title": 1, "max_iterations": 99}, "Invalid JSON body"),
        ({"max_iterations": 99}, "title is required"),
        ({"title": ""}, "title is required"),
        ({"title": "t", "max_iterations": 51, "depends_on": [UNKNOWN]}, "max_iterations must be between 0 and 50"),
        ({"title": "t", "max_iterations": -1}, "max_iterations must be between 0 and 50"),
        ({"title": "t", "depends_on": [UNKNOWN]}, f"dependency task not found: {UNKNOWN}"),
        ({"title": "t", "depends_on": ["<own>", "x"]}, "dependency task not found: x"),
        ({"title": "t", "depends_on": "[]"}, "Invalid JSON body"),
        ({"title": "t", "depends_on": [1]}, "Invalid JSON body"),
        ({"title": "t", "task_order": "1"}, "Invalid JSON body"),
        ({"title": "t", "assigned_agent_id": UNKNOWN}, "assigned agent not found"),
        ({"title": "t", "assigned_agent_id": ""}, "assigned agent not found"),
        ({"title": "t", "assigned_agent_id": UNKNOWN, "depends_on": ["x"]}, "dependency task not found: x"),
    ],
)
async def test_a_task_is_refused_for_the_first_thing_that_is_wrong(crew: Crew, body: dict[str, Any], text: str) -> None:
    mission = await crew.mission()
    own = await crew.task(mission)
    if isinstance(body.get("depends_on"), list):
        body = {**body, "depends_on": [own["id"] if named == "<own>" else named for named in body["depends_on"]]}
    assert refusal(await crew.act(mission, "tasks", body)) == (400, text)
    assert len(await crew.tasks(mission)) == 1


async def test_a_dependency_is_of_the_same_mission(crew: Crew) -> None:
    mission, other = await crew.mission(), await crew.mission()
    foreign = await crew.task(other)
    answer = await crew.act(mission, "tasks", {"title": "t", "depends_on": [foreign["id"]]})
    assert refusal(answer) == (400, f"dependency task not found: {foreign['id']}")
    task = await crew.task(mission)
    answer = await crew.boss.ask("PATCH", crew.path(mission, task), {"depends_on": json.dumps([foreign["id"]])})
    assert refusal(answer) == (400, f"Dependency task {foreign['id']} not found in this mission")
    wrong = await crew.boss.ask("PATCH", crew.path(mission, foreign), {"title": "t"})
    assert refusal(wrong) == (404, "Task not found")


async def test_dependencies_come_as_an_array_or_in_a_string_and_go_in_a_string(crew: Crew) -> None:
    mission = await crew.mission()
    first = await crew.task(mission)
    plain = str(read(first["id"]))
    task = await crew.task(mission, depends_on=[first["id"], plain])
    assert task["depends_on"] == json.dumps([first["id"], first["id"]], separators=(",", ":"))
    for text in (f'["{plain}"]', f' [ "{first["id"]}" ] '):
        assert (await crew.patch(mission, task, depends_on=text))["depends_on"] == f'["{first["id"]}"]'
    assert (await crew.patch(mission, task, depends_on="null"))["depends_on"] == "[]"


FULL = {"status": "IN_PROGRESS", "depends_on": "[]"}
BOTH = "Cannot update status and depends_on in the same request"
NOT_NOW = "Can only edit title/description/depends_on for PENDING or BLOCKED tasks"
NO_ARRAY = "depends_on must be a JSON array of task IDs"


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        ("PENDING", FULL, BOTH),
        ("IN_PROGRESS", {"status": "PENDING", "title": "x"}, "Invalid status transition from IN_PROGRESS to PENDING"),
        ("IN_PROGRESS", {"status": "COMPLETED", "title": "x"}, NOT_NOW),
        ("COMPLETED", {"description": "x"}, NOT_NOW),
        ("FAILED", {"depends_on": "nonsense"}, NOT_NOW),
        ("PENDING", {"depends_on": "nonsense"}, NO_ARRAY),
        ("PENDING", {"depends_on": ""}, NO_ARRAY),
        ("PENDING", {"depends_on": "{}"}, NO_ARRAY),
        ("PENDING", {"depends_on": "[1]"}, NO_ARRAY),
        ("PENDING", {"depends_on": "[" * 5_000}, NO_ARRAY),
        ("PENDING", {"depends_on": ["x"]}, "Invalid JSON body"),
        ("PENDING", {"depends_on": '["<own>"]'}, "Task cannot depend on itself"),
        ("PENDING", {"depends_on": '["ghost"]'}, "Dependency task ghost not found in this mission"),
        ("PENDING", {"assigned_agent_id": UNKNOWN}, "assigned agent not found"),
        ("PENDING", {"assigned_agent_id": ""}, "assigned agent not found"),
        ("PENDING", {"token_count": "7"}, "Invalid JSON body"),
    ],
)
async def test_a_change_of_a_task_is_refused_for_the_first_thing_that_is_wrong(
    crew: Crew, status: str, body: Mapping[str, Any], text: str
) -> None:
    mission = await crew.mission()
    task = await crew.task(mission, status)
    sent = json.loads(json.dumps(body).replace("<own>", task["id"]))
    assert refusal(await crew.boss.ask("PATCH", crew.path(mission, task), sent)) == (400, text)
    assert (await crew.tasks(mission))[task["id"]] == task


async def test_what_people_report_is_taken_in_any_status(crew: Crew) -> None:
    mission = await crew.mission()
    fields = {"result_summary": "r", "error_message": "e", "output_path": "/p", "token_count": -3, "estimated_cost": 2}
    for status in ("PENDING", "IN_PROGRESS", "COMPLETED", "FAILED", "SKIPPED"):
        task = await crew.task(mission, status)
        after = await crew.patch(mission, task, **fields, assigned_agent_id=crew.worker, max_iterations=9, task_order=9)
        assert {name: after[name] for name in fields} == fields
        assert (after["agent_name"], after["max_iterations"], after["task_order"]) == ("Bob", None, 0)
        assert after["status"] == status


async def test_the_body_of_a_new_task_is_not_read_before_the_missions_status(crew: Crew) -> None:
    mission = await crew.mission("REVIEW")
    answer = await crew.act(mission, "tasks", [])
    assert refusal(answer) == (400, "Tasks can only be added to PLANNING or IN_PROGRESS missions")


async def test_an_unknown_task_is_not_found_after_the_body_was_read(crew: Crew) -> None:
    mission = await crew.mission()
    for path in (crew.path(mission, {"id": UNKNOWN}), crew.path({"id": UNKNOWN}, {"id": UNKNOWN})):
        assert refusal(await crew.boss.ask("PATCH", path, [])) == (400, "Invalid JSON body")
        assert refusal(await crew.boss.ask("PATCH", path, {})) == (404, "Task not found")
        assert refusal(await crew.boss.ask("POST", path + "/approve", {})) == (400, "Invalid JSON body")
        assert refusal(await crew.boss.ask("POST", path + "/approve", {"approved": True})) == (404, "Task not found")


async def test_a_list_with_more_tasks_than_fit_at_once_is_whole(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missions, "_PIECE_BYTES", 5_000)
    made = [await crew.mission() for _ in range(4)]
    for mission in made:
        for _ in range(2):
            await crew.task(mission)
    listed = await crew.boss.get(f"{ALL}?include_tasks=true&limit=4")
    assert [mission["id"] for mission in listed] == [mission["id"] for mission in reversed(made)]
    assert listed == [await crew.get(mission) for mission in reversed(made)]


async def test_a_mission_and_its_tasks_are_of_one_moment(crew: Crew) -> None:
    """While tasks come and turn, the counts of an answer are those of the very tasks in it."""
    mission = await crew.mission()
    is_over = asyncio.Event()

    async def work() -> None:
        for _ in range(12):
            await crew.task(mission, "COMPLETED")
        is_over.set()

    working = asyncio.gather(work(), work())
    seen = set()
    while not is_over.is_set():
        got = await crew.get(mission)
        counts = Counter(task["status"].lower() for task in got["tasks"])
        assert {name: count for name, count in got["task_stats"].items() if count and name != "total"} == counts
        assert got["task_stats"]["total"] == len(got["tasks"])
        seen.add(len(got["tasks"]))
    await working
    assert len(seen) > 3
