"""Every route of missions for every caller in every status: status code and text; and who is refused changes nothing."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from server.auth.roles import ROLES
from server.dialects.crew import ids
from server.dialects.crew.routes import MISSIONS, SHARED
from server.routing import Route
from tests.dialects.control.driving import Answer, ask
from tests.dialects.crew.people import Person, Team
from tests.dialects.crew.world import UNKNOWN, WAYS, Crew, refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")
FORBIDDEN, NO_MEMBER = (403, "Forbidden"), (403, "Not a member of this workspace")
WRITERS = frozenset({"OWNER", "ADMIN", "MANAGER"})

Refusal = tuple[int, str]
Expected = int | Refusal


class Case(NamedTuple):
    """A route: what it takes, and what it answers by the mission's status; `other` where the status is not named."""

    body: Any
    other: Expected
    by_status: Mapping[str, Expected] = {}


def _each(text: str, code: int, but: Mapping[str, Expected]) -> Mapping[str, Expected]:
    return {status: (code, text.format(status)) for status in WAYS} | but


MISSION = "/api/v1/crews/{crewId}/missions/{missionId}"
CHECKPOINT = "/api/v1/checkpoints/{checkpointId}"
TAKES_TASKS = (400, "Tasks can only be added to PLANNING or IN_PROGRESS missions")
NOT_DELETABLE = (400, "Only PLANNING or CANCELLED missions can be deleted")
TABLE: dict[str, Case] = {
    "GET /api/v1/missions": Case(None, 200),
    "GET /api/v1/crews/{crewId}/missions": Case(None, 200),
    "POST /api/v1/crews/{crewId}/missions": Case({"title": "t", "lead_agent_id": "<lead>"}, 201),
    f"GET {MISSION}": Case(None, 200),
    f"PATCH {MISSION}": Case(
        {"status": "IN_PROGRESS"},
        200,
        _each("Invalid status transition from {} to IN_PROGRESS", 400, {"PLANNING": 200, "REVIEW": 200}),
    ),
    f"DELETE {MISSION}": Case(None, NOT_DELETABLE, {"PLANNING": 204, "CANCELLED": 204}),
    f"POST {MISSION}/start": Case(
        None, 200, _each("cannot start mission in {} state, must be PLANNING", 400, {"PLANNING": 200})
    ),
    f"POST {MISSION}/restart": Case(
        None,
        200,
        _each("cannot restart mission in {} state", 409, dict.fromkeys(("COMPLETED", "FAILED", "CANCELLED"), 200)),
    ),
    f"POST {MISSION}/resume": Case(
        None, 200, _each("can only resume FAILED missions, current status: {}", 409, {"FAILED": 200})
    ),
    f"POST {MISSION}/clone": Case({}, 201),
    f"POST {MISSION}/tasks": Case({"title": "t"}, TAKES_TASKS, {"PLANNING": 201, "IN_PROGRESS": 201}),
    f"PATCH {MISSION}/tasks/{{taskId}}": Case({"title": "t"}, 200),
    f"POST {MISSION}/tasks/{{taskId}}/approve": Case(
        {"approved": True},
        0,
        _each(
            "approvals are decided while the mission is IN_PROGRESS, current status: {}",
            409,
            {"IN_PROGRESS": (409, "task is not AWAITING_APPROVAL, current status: BLOCKED")},
        ),
    ),
    "GET /api/v1/missions/{missionId}/checkpoints": Case(None, 200),
    "POST /api/v1/missions/{missionId}/checkpoints": Case({"label": "here"}, 201),
    f"GET {CHECKPOINT}": Case(None, 200),
    f"POST {CHECKPOINT}/restore": Case(None, 200),
    f"POST {CHECKPOINT}/fork": Case({}, 201),
    f"DELETE {CHECKPOINT}": Case(None, 204),
    "GET /api/v1/mission-metrics": Case(None, 200),
    "GET /api/v1/journal": Case(None, 200),
    "GET /api/v1/journal/count": Case(None, 200),
    "GET /api/v1/journal/{entryId}": Case(None, 200),
}
STREAMS = {"GET /api/v1/journal/stream"}
ROUTES = [route for route in (*SHARED, *MISSIONS) if f"{route.method} {route.path}" not in STREAMS]


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


class Scene(NamedTuple):
    """A mission in a status, with a failed task, one that waits for it, a checkpoint and an entry."""

    mission: dict[str, Any]
    ids: Mapping[str, str]


async def scene(crew: Crew, status: str) -> Scene:
    mission = await crew.mission()
    broken = await crew.task(mission, "FAILED")
    waiting = await crew.task(mission, depends_on=[broken["id"]])
    await crew.moved(mission, *WAYS[status])
    checkpoint = await crew.boss.post(f"/api/v1/missions/{mission['id']}/checkpoints", None)
    ids = {
        "{crewId}": crew.id,
        "{missionId}": mission["id"],
        "{taskId}": waiting["id"],
        "{checkpointId}": checkpoint["id"],
        "{entryId}": checkpoint["journal_cursor"],
    }
    return Scene(mission, ids)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def still(crew: Crew) -> Mapping[str, Scene]:
    """A scene of each status, for those who change nothing."""
    return {status: await scene(crew, status) for status in WAYS}


async def call(crew: Crew, who: Person, route: Route, at: Scene, **headers: str) -> Answer:
    path = route.path
    for part, identity in at.ids.items():
        path = path.replace(part, identity)
    body = TABLE[name(route)].body
    if isinstance(body, dict) and "lead_agent_id" in body:
        body = {**body, "lead_agent_id": crew.lead}
    return await who.ask(route.method, path, body, **headers)


def may(route: Route, caller: str) -> bool:
    """Whether the caller may use the route, as the roles and scopes of the original say."""
    if route.method == "GET":
        return caller in ROLES or caller in ("reader", "writer", "admin")
    needed = "admin" if "checkpoint" in route.path else "writer"
    return caller in WRITERS or caller == needed


def expected(route: Route, status: str) -> Expected:
    case = TABLE[name(route)]
    return case.by_status.get(status, case.other)


async def test_every_route_is_in_the_table() -> None:
    assert {name(route) for route in ROUTES} == TABLE.keys()
    assert {name(route) for route in MISSIONS} & STREAMS == STREAMS


@pytest.mark.parametrize("route", ROUTES, ids=name)
async def test_a_route_answers_by_the_status_of_the_mission(
    team: Team, crew: Crew, still: Mapping[str, Scene], route: Route
) -> None:
    is_of_a_mission = "{missionId}" in route.path or "{checkpointId}" in route.path
    for status in WAYS if is_of_a_mission else ["PLANNING"]:
        for caller in sorted(WRITERS) if route.method != "GET" else ["VIEWER", "OWNER"]:
            at = still[status] if route.method == "GET" else await scene(crew, status)
            answer = await call(crew, team[caller], route, at)
            wanted = expected(route, status)
            if isinstance(wanted, int):
                assert answer.status == wanted, (caller, status, answer)
                assert (answer.text == "") == (wanted == 204)
            else:
                assert refusal(answer) == wanted, (caller, status)


@pytest.mark.parametrize("route", ROUTES, ids=name)
async def test_who_may_not_is_refused_in_every_status_and_changes_nothing(team: Team, crew: Crew, route: Route) -> None:
    callers = [*ROLES, "reader", "writer", "admin", "outsider", "nobody"]
    for status in WAYS:
        at = await scene(crew, status)
        before = await crew.get(at.mission)
        for caller in callers:
            if may(route, caller):
                continue
            answer = await call(crew, team[caller], route, at)
            if caller == "nobody":
                assert (answer.status, answer.json["error"]) == (401, "no_credentials")
            else:
                assert refusal(answer) == (NO_MEMBER if caller == "outsider" else FORBIDDEN), caller
        assert await crew.get(at.mission) == before


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method != "GET"], ids=name)
async def test_a_scoped_token_may_do_what_its_scopes_name(team: Team, crew: Crew, route: Route) -> None:
    at = await scene(crew, "FAILED")
    for caller in ("writer", "admin"):
        answer = await call(crew, team[caller], route, at)
        assert (answer.status == 403) == (not may(route, caller)), (caller, answer)
        at = await scene(crew, "FAILED")


@pytest.mark.parametrize("route", [route for route in ROUTES if "Id}" in route.path], ids=name)
async def test_foreign_unknown_and_misspelt_ids_are_one_answer(team: Team, crew: Crew, route: Route) -> None:
    """Each id of the path in its turn is not the right one; a list of an unknown crew is empty."""
    at = await scene(crew, "PLANNING")
    outsider = team["outsider"]._replace(workspace_id=team.elsewhere)
    for part in [part for part in at.ids if part in route.path]:
        answers = []
        for wrong in (UNKNOWN, UNKNOWN[:-1], "nothing", "%00", "ü"):
            answer = await call(crew, crew.boss, route, at._replace(ids={**at.ids, part: wrong}))
            answers.append((answer.status, _without_path(answer)))
        foreign = await call(crew, outsider, route, at)
        if route.method == "POST" and route.path.endswith("/missions"):
            assert refusal(foreign) == (400, "lead agent not found in crew")
        assert (foreign.status, _without_path(foreign)) == answers[0]
        assert len({repr(answer) for answer in answers}) == 1, answers
        assert answers[0][0] in (404, 200, 400), answers
        assert (answers[0][0] == 200) == (route.path.endswith("{crewId}/missions") and route.method == "GET")
    assert (await crew.get(at.mission))["status"] == "PLANNING"


def _without_path(answer: Answer) -> Any:
    return {**answer.json, "instance": ""} if isinstance(answer.json, dict) else answer.json


@pytest.mark.parametrize("route", [route for route in ROUTES if "Id}" in route.path], ids=name)
async def test_both_spellings_of_an_id_are_one_id(crew: Crew, route: Route) -> None:
    at = await scene(crew, "PLANNING")
    prefixes = {"{checkpointId}": ids.CHECKPOINT}
    plain = {
        part: identity if part == "{entryId}" else str(ids.read(identity, prefixes.get(part, ids.ENTITY)))
        for part, identity in at.ids.items()
    }
    answer = await call(crew, crew.boss, route, at._replace(ids=plain))
    wanted = expected(route, "PLANNING")
    assert answer.status == (wanted if isinstance(wanted, int) else wanted[0]), answer


async def test_a_page_of_another_origin_may_change_nothing(team: Team, crew: Crew) -> None:
    at = await scene(crew, "PLANNING")
    for route in ROUTES:
        answer = await call(crew, team["VIEWER"], route, at, Origin="https://elsewhere.example")
        if route.method == "GET":
            assert answer.status == 200
        else:
            assert (answer.status, answer.json["error"]) == (403, "request origin not allowed"), route


async def test_only_the_list_of_missions_needs_no_workspace(team: Team, crew: Crew) -> None:
    for route in ROUTES:
        answer = await ask(team["VIEWER"].http, route.method, route.path.replace("{", "x").replace("}", "x"))
        if route in SHARED:
            assert answer.status == 200
        else:
            assert refusal(answer) == (400, "workspace_id is required"), route
    mine = (await ask(team["OWNER"].http, "GET", "/api/v1/missions")).json
    assert mine == await crew.boss.get("/api/v1/missions")
    assert mine
    assert (await ask(team["outsider"].http, "GET", "/api/v1/missions")).json == []
    wrong = await ask(team["OWNER"].http, "GET", "/api/v1/missions", params={"workspace_id": "nowhere"})
    assert refusal(wrong) == NO_MEMBER
