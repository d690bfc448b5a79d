"""Crews: what they look like, what is refused, what is told of them, and what happens when many change them at once."""

import asyncio
import json
import re
from typing import Any
from uuid import UUID, uuid4

import pytest

from server.crews.escalation import INVALID, Thresholds, thresholds
from server.dialects.crew.ids import read, spell
from storage import agents, crews
from tests.conftest import Serving
from tests.dialects.crew.people import AGENTS, CREWS, Person, Team, a_slug
from tests.dialects.crew.world import a_crew

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def told(person: Person, since: str) -> list[dict[str, Any]]:
    """What the workspace's stream tells after a cursor."""
    found = (await person.get(f"/api/control/events?since={since}"))["events"]
    return [{"type": row["event_type"], "mission": row["mission_id"], **row["metadata"]} for row in found]


async def here(person: Person) -> str:
    return (await person.get("/api/control/events"))["cursor"]  # type: ignore[no-any-return]


async def test_a_crew_is_made_with_its_defaults(boss: Person) -> None:
    slug = a_slug("harbour")
    crew = await boss.post(CREWS, {"name": " Harbour watch ", "slug": slug})
    assert re.fullmatch(r"c[a-z0-9]{19,}", crew["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", crew["created_at"])
    assert crew == {
        "id": crew["id"],
        "workspace_id": spell(boss.workspace_id),
        "name": "Harbour watch",
        "slug": slug,
        "description": None,
        "color": None,
        "icon": None,
        "avatar_style": None,
        "escalation_config": None,
        "max_parallel_tasks": 3,
        "mission_timeout_seconds": 7200,
        "auto_accept_review": False,
        "permission_policy": None,
        "space_id": str(UUID(int=0)),
        "created_at": crew["created_at"],
        "updated_at": crew["created_at"],
        "_count": {"agents": 0, "members": 0},
    }
    assert await boss.get(f"{CREWS}/{crew['id']}") == crew
    assert await boss.get(f"{CREWS}/{read(crew['id'])}") == crew


async def test_what_clients_send_is_kept(boss: Person) -> None:
    sent = {
        "description": "They watch.",
        "color": "blue",
        "icon": "anchor",
        "avatar_style": "bottts",
        "max_parallel_tasks": 5,
        "mission_timeout_seconds": 60,
        "auto_accept_review": True,
        "permission_policy": "allow_reads",
        "container_memory_mb": 4096,
    }
    crew = await boss.crew(**sent)
    sent.pop("container_memory_mb")
    assert {name: crew[name] for name in sent} == sent


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": "x"}, "name must be between 2 and 100 characters"),
        ({"name": "  "}, "name must be between 2 and 100 characters"),
        ({"name": None}, "name must be between 2 and 100 characters"),
        ({"name": "x" * 101}, "name must be between 2 and 100 characters"),
        *(({"slug": slug}, "slug must be 2 to 50") for slug in ("", "x", "X-ray", "-x", "a b", "x" * 51, "é-", "ab\n")),
        ({"slug": None}, "slug must be 2 to 50"),
        ({"max_parallel_tasks": 0}, "max_parallel_tasks must be between 1 and 64"),
        ({"max_parallel_tasks": 65}, "max_parallel_tasks must be between 1 and 64"),
        ({"mission_timeout_seconds": -1}, "mission_timeout_seconds must be between 1 and 2592000"),
        ({"permission_policy": "everything"}, "permission_policy must be one of ask, allow_reads, allow_all"),
        ({"space_id": "nowhere"}, "space_id is not a space of this workspace"),
        ({"space_id": str(uuid4())}, "space_id is not a space of this workspace"),
        ({"escalation_config": "[]x"}, INVALID),
        ({"escalation_config": [1]}, INVALID),
        ({"escalation_config": {"notify_threshold": 1.1}}, INVALID),
        ({"escalation_config": '{"auto_approve_threshold": -0.1}'}, INVALID),
        ({"escalation_config": {"require_approval_below": "0.5"}}, INVALID),
        ({"escalation_config": {"require_approval_below": True}}, INVALID),
        ({"name": 7}, "Invalid JSON body"),
        ({"auto_accept_review": "yes"}, "Invalid JSON body"),
        ({"description": "x" * 10_001}, "Invalid JSON body"),
    ],
)
async def test_what_no_crew_can_be_is_400_and_makes_nothing(boss: Person, fields: dict[str, Any], text: str) -> None:
    body = {"name": "A crew", "slug": a_slug("bad"), **fields}
    before = len(await boss.get(CREWS + "?limit=500"))
    answer = await boss.ask("POST", CREWS, body)
    assert answer.status == 400
    assert answer.json["error"].startswith(text)
    assert answer.json["detail"] == answer.json["error"] == answer.json["message"]
    assert len(await boss.get(CREWS + "?limit=500")) == before
    crew = await boss.crew()
    if None not in fields.values():
        changed = await boss.ask("PATCH", f"{CREWS}/{crew['id']}", fields)
        assert (changed.status, changed.json["error"]) == (400, answer.json["error"])
        assert await boss.get(f"{CREWS}/{crew['id']}") == crew


async def test_a_taken_slug_is_409_until_its_crew_is_deleted(boss: Person) -> None:
    one, other = await boss.crew(), await boss.crew()
    for answer in (
        await boss.ask("POST", CREWS, {"name": "Another", "slug": one["slug"]}),
        await boss.ask("PATCH", f"{CREWS}/{other['id']}", {"slug": one["slug"]}),
    ):
        assert (answer.status, answer.json["error"]) == (409, "Crew slug already taken in this workspace")
    assert (await boss.ask("DELETE", f"{CREWS}/{one['id']}")).status == 204
    assert (await boss.crew(slug=one["slug"]))["id"] != one["id"]


async def test_another_workspace_may_have_the_slug(boss: Person, team: Team) -> None:
    crew = await boss.crew()
    outsider = team["outsider"]._replace(workspace_id=team.elsewhere)
    assert (await outsider.crew(slug=crew["slug"]))["slug"] == crew["slug"]


async def test_a_change_touches_what_it_names(boss: Person) -> None:
    crew = await boss.crew(color="blue", permission_policy="ask", escalation_config={"notify_threshold": 0.3})
    for fields in ({}, {"name": None}, {"name": crew["name"], "color": "blue"}):
        assert (await boss.ask("PATCH", f"{CREWS}/{crew['id']}", fields)).json == crew
    changed = (await boss.ask("PATCH", f"{CREWS}/{crew['id']}", {"color": "", "permission_policy": ""})).json
    assert (changed["color"], changed["permission_policy"]) == ("", None)
    assert {**changed, "color": "blue", "permission_policy": "ask", "updated_at": ""} == {**crew, "updated_at": ""}
    cleared = (await boss.ask("PATCH", f"{CREWS}/{crew['id']}", {"escalation_config": "", "space_id": ""})).json
    assert (cleared["escalation_config"], cleared["space_id"]) == (None, str(UUID(int=0)))


async def test_a_crew_works_in_a_space_of_its_workspace(shared: Serving, team: Team) -> None:
    row = await shared.core.spaces.create(team.workspace_id, a_slug("space"), None)
    crew = await team["OWNER"].crew(space_id=str(row.id))
    assert crew["space_id"] == str(row.id)
    outsider = team["outsider"]._replace(workspace_id=team.elsewhere)
    foreign = await outsider.ask("POST", CREWS, {"name": "A crew", "slug": "thief", "space_id": str(row.id)})
    assert (foreign.status, foreign.json["error"]) == (400, "space_id is not a space of this workspace")


async def test_escalation_is_taken_as_object_or_text_and_given_as_text(boss: Person) -> None:
    config = {"auto_approve_threshold": 0.9, "require_approval_below": 0.5, "notify_threshold": 0, "ours": ["x"]}
    for sent in (config, json.dumps(config)):
        crew = await boss.crew(escalation_config=sent)
        assert json.loads(crew["escalation_config"]) == config
    assert thresholds(crew["escalation_config"]) == Thresholds(0.9, 0.5, 0)
    assert thresholds(None) == Thresholds()


async def test_crews_are_listed_newest_first_in_pages(team: Team, boss: Person) -> None:
    made = [(await boss.crew())["id"] for _ in range(4)]
    listed = [row["id"] for row in await boss.get(CREWS)]
    assert listed[:4] == made[::-1]
    answer = await boss.ask("GET", f"{CREWS}?limit=2&offset=1")
    assert [row["id"] for row in answer.json] == listed[1:3]
    assert (answer.headers["X-Limit"], answer.headers["X-Offset"]) == ("2", "1")
    total = int(answer.headers["X-Total-Count"])
    assert total >= 4
    for query in ("limit=0", "limit=-1", "limit=x", "limit=9999999999999999999999", "offset=-1", "offset=%00", ""):
        assert [row["id"] for row in await boss.get(f"{CREWS}?{query}")] == listed
    assert (await boss.ask("GET", f"{CREWS}?limit=501")).headers["X-Limit"] == "500"
    assert await boss.get(f"{CREWS}?offset=999999999999") == []


async def test_every_change_is_told_once_in_the_workspaces_stream(boss: Person) -> None:
    since = await here(boss)
    crew = await boss.crew(name="Watch")
    lead = await boss.agent(crew_id=crew["id"], name="Lead", agent_role="LEAD")
    path, crew_id, lead_id = f"{CREWS}/{crew['id']}", str(read(crew["id"])), str(read(lead["id"]))
    await boss.ask("PATCH", path, {"name": "Watch two"})
    await boss.ask("PATCH", path, {"name": "Watch two"})
    await boss.ask("POST", CREWS, {"name": "Watch", "slug": crew["slug"]})
    assert (await boss.ask("DELETE", path)).status == 204
    known = {"mission": None}
    agent = {"id": lead_id, "name": "Lead", "slug": lead["slug"], "status": "IDLE", "crew_id": crew_id}
    assert await told(boss, since) == [
        {"type": "crew.created", **known, "id": crew_id, "name": "Watch", "slug": crew["slug"]},
        {"type": "agent.created", **known, **agent},
        {"type": "crew.updated", **known, "id": crew_id, "name": "Watch two", "slug": crew["slug"]},
        {"type": "agent.deleted", **known, "id": lead_id},
        {"type": "crew.deleted", **known, "id": crew_id},
    ]
    for gone in (path, f"{AGENTS}/{lead['id']}"):
        for method in ("GET", "PATCH", "DELETE"):
            answer = await boss.ask(method, gone, {} if method == "PATCH" else None)
            assert answer.status == 404
            assert answer.json["error"] == ("Crew not found" if gone == path else "Agent not found")


async def test_a_crew_with_an_active_mission_stays(shared: Serving, boss: Person) -> None:
    """The row of the mission is all that deleting looks at, so it is put there; and taken away before the log is folded."""
    crew = await boss.crew()
    arguments = (boss.workspace_id, uuid4(), read(crew["id"]))
    async with shared.core.database.reading() as connection:
        await connection.execute(
            """INSERT INTO missions (workspace_id, id, kind, status, phase, crew_id, state_version, state, created_at,
               updated_at) VALUES ($1, $2, 'crew', 'REVIEW', 'active', $3, 1, '{}', now(), now())""",
            *arguments,
        )
        answer = await boss.ask("DELETE", f"{CREWS}/{crew['id']}")
        await connection.execute("DELETE FROM missions WHERE id = $1", arguments[1])
    assert (answer.status, answer.json["error"]) == (409, "Crew has active missions; cancel or finish them first")
    assert (await boss.ask("DELETE", f"{CREWS}/{crew['id']}")).status == 204


# repeats, and many at once


async def test_a_repeated_key_gets_the_first_crew(boss: Person) -> None:
    body = {"name": "Once", "slug": a_slug("once")}
    first = await boss.post(CREWS, body, Idempotency_Key="one")
    assert await boss.post(CREWS, body, Idempotency_Key="one") == first
    other = await boss.ask("POST", CREWS, {**body, "name": "Twice"}, Idempotency_Key="one")
    assert other.status == 422
    assert (await boss.ask("POST", CREWS, body, Idempotency_Key="")).status == 400
    await boss.ask("DELETE", f"{CREWS}/{first['id']}")
    assert await boss.post(CREWS, body, Idempotency_Key="one") == first


async def test_of_many_with_one_slug_one_is_made(boss: Person) -> None:
    body = {"name": "Racing", "slug": a_slug("race")}
    answers = await asyncio.gather(*(boss.ask("POST", CREWS, body) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7


async def test_changes_at_once_lose_nothing(boss: Person) -> None:
    crew = await boss.crew()
    path = f"{CREWS}/{crew['id']}"
    fields = [{"name": "New name"}, {"color": "red"}, {"icon": "sail"}, {"max_parallel_tasks": 9}, {"description": "d"}]
    answers = await asyncio.gather(*(boss.ask("PATCH", path, part) for part in fields))
    assert [answer.status for answer in answers] == [200] * 5
    now = await boss.get(path)
    assert {name: now[name] for part in fields for name in part} == {k: v for part in fields for k, v in part.items()}


async def test_a_crew_is_deleted_with_the_agents_that_come_while_it_goes(shared: Serving, boss: Person) -> None:
    crew = await boss.crew()
    answers = await asyncio.gather(
        *(boss.ask("POST", AGENTS, {"name": "Late", "slug": a_slug("late"), "crew_id": crew["id"]}) for _ in range(6)),
        boss.ask("DELETE", f"{CREWS}/{crew['id']}"),
    )
    assert answers[-1].status == 204
    assert {answer.status for answer in answers[:-1]} <= {201, 400}
    crew_id = read(crew["id"])
    assert crew_id is not None
    assert await agents.of_crew(shared.core.database, boss.workspace_id, crew_id) == []
    assert await crews.counted(shared.core.database, boss.workspace_id) == len(await boss.get(CREWS + "?limit=500"))


async def test_nothing_begins_in_a_crew_that_was_deleted(shared: Serving, boss: Person) -> None:
    crew = await a_crew(shared, boss)
    begun = await crew.mission("IN_PROGRESS")
    await crew.task(begun, "FAILED")
    missions = {
        "PLANNING": await crew.mission(),
        "CANCELLED": await crew.mission("CANCELLED"),
        "FAILED": await crew.moved(begun, "FAILED"),
    }
    checkpoint = await boss.post(f"/api/v1/missions/{begun['id']}/checkpoints", {})
    assert (await boss.ask("DELETE", f"{CREWS}/{crew.id}")).status == 204
    before = {status: await crew.get(mission) for status, mission in missions.items()}
    for status, verb in (("PLANNING", "start"), ("FAILED", "resume"), ("FAILED", "restart"), ("CANCELLED", "restart")):
        answer = await crew.act(missions[status], verb)
        assert (answer.status, answer.json["error"]) == (400, "Crew not found")
    for answer in (
        await crew.act(begun, "clone"),
        await boss.ask("POST", f"/api/v1/checkpoints/{checkpoint['id']}/fork", {}),
        await boss.ask("POST", crew.missions, {"title": "new", "lead_agent_id": crew.lead}),
    ):
        assert (answer.status, answer.json["error"]) == (400, "lead agent not found in crew")
    assert {status: await crew.get(mission) for status, mission in missions.items()} == before
    assert len(await boss.get(crew.missions)) == len(missions)
