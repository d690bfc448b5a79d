"""Every route of crew's tables: who may use it, in which order that is asked, and that foreign ids look unknown."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from server.auth.roles import PERMISSIONS, ROLES, permissions
from server.dialects.crew.ids import spell
from server.dialects.crew.routes import ACCOUNT, MEMBERS, WORKSPACE
from server.routing import PUBLIC, SIGNED_IN, Route
from tests.dialects.control.driving import Answer, ask
from tests.dialects.crew.people import Person, Team, path_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
ALL = (*ACCOUNT, *WORKSPACE)
BAD_BODY = b'{"never": '
SCOPES = {"reader": ("missions:view",), "writer": ("crews:write",), "admin": ("workspace:admin",)}
FORBIDDEN = (403, "Forbidden")
UNKNOWN = spell(UUID(int=404))


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


async def call(person: Person, route: Route, identity: str = UNKNOWN, *, names: bool = True, **headers: str) -> Answer:
    """A request with a body that cannot be read: what is not refused before it comes to 400, 404 or a success."""
    workspace = spell(person.workspace_id)
    sent = {"data": BAD_BODY} if route.method in ("POST", "PATCH") else {}
    here = {"X-Workspace-ID": workspace} if names else {}
    path = path_of(route, identity, workspace if names else identity)
    return await ask(person.http, route.method, path, headers={**here, **headers}, **sent)


def permission_of(route: Route) -> str:
    """What the route takes, done to others: everybody may go by themself."""
    return "workspace:admin" if name(route) == f"DELETE {MEMBERS}/{{memberId}}" else route.permission


def refusal(answer: Answer) -> tuple[int, Any]:
    return answer.status, answer.json["error"]


async def test_every_permission_exists_and_only_bootstrap_is_public() -> None:
    assert {route.permission for route in ALL} <= {PUBLIC, SIGNED_IN, *PERMISSIONS}
    assert [name(route) for route in ALL if route.permission == PUBLIC] == ["POST /api/v1/bootstrap"]
    assert {route.permission for route in WORKSPACE} & {PUBLIC, SIGNED_IN} == set()


async def test_every_change_needs_more_than_reading_does() -> None:
    for route in WORKSPACE:
        assert (permission_of(route) == "missions:view") == (route.method == "GET" and "/members" not in route.path), (
            route
        )


@pytest.mark.parametrize("route", ALL, ids=name)
async def test_without_a_right_token_it_is_401(team: Team, route: Route) -> None:
    for caller, code in (("nobody", "no_credentials"), ("wrong", "session_invalid")):
        answer = await call(team[caller], route)
        if route.permission == PUBLIC:
            assert answer.status == 410
        else:
            assert refusal(answer) == (401, code)
            assert answer.headers["WWW-Authenticate"] == f'Bearer error="{code}"'


@pytest.mark.parametrize("route", WORKSPACE, ids=name)
async def test_without_a_workspace_it_is_400_before_anything_else(team: Team, route: Route) -> None:
    answer = await call(team["VIEWER"], route, names=False, Origin="https://elsewhere.example")
    if "{workspaceId}" in route.path:
        assert refusal(answer) == (403, "Not a member of this workspace")
    else:
        assert refusal(answer) == (400, "workspace_id is required")


@pytest.mark.parametrize("route", WORKSPACE, ids=name)
async def test_an_outsider_is_no_member_whatever_they_ask(team: Team, route: Route) -> None:
    assert refusal(await call(team["outsider"], route)) == (403, "Not a member of this workspace")


@pytest.mark.parametrize("route", [route for route in ALL if route.method != "GET"], ids=name)
async def test_a_foreign_page_changes_nothing_whoever_looks_at_it(team: Team, route: Route) -> None:
    for caller in ("OWNER", "VIEWER"):
        answer = await call(team[caller], route, Origin="https://elsewhere.example")
        assert refusal(answer) == (403, "request origin not allowed")
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="origin_rejected"'


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", WORKSPACE, ids=name)
async def test_a_role_may_use_exactly_the_routes_of_its_permissions(team: Team, route: Route, role: str) -> None:
    answer = await call(team[role], route)
    if permission_of(route) in ROLES[role]:
        assert answer.status in (200, 400, 404), answer
        assert answer.status != 400 or answer.json["error"] == "Invalid JSON body"
    else:
        assert refusal(answer) == FORBIDDEN
        assert answer.json["detail"] == "Forbidden"


@pytest.mark.parametrize("caller", SCOPES)
@pytest.mark.parametrize("route", WORKSPACE, ids=name)
async def test_a_scope_narrows_what_a_token_may_change(team: Team, route: Route, caller: str) -> None:
    answer = await call(team[caller], route)
    if permission_of(route) in permissions("OWNER", SCOPES[caller]):
        assert answer.status in (200, 400, 404), answer
    else:
        assert refusal(answer) == FORBIDDEN


@pytest.mark.parametrize("route", [route for route in ACCOUNT if route.permission != PUBLIC], ids=name)
async def test_routes_about_oneself_are_for_every_role_but_not_for_every_scope(team: Team, route: Route) -> None:
    for role in ROLES:
        assert (await call(team[role], route, names=False)).status in (200, 400, 404)
    answer = await call(team["reader"], route, names=False)
    if route.permission == "tokens:manage":
        assert refusal(answer) == FORBIDDEN
    else:
        assert answer.status in (200, 400)


WITH_ID = [route for route in ALL if "Id}" in route.path.replace("{workspaceId}", "")]


@pytest.mark.parametrize("route", WITH_ID, ids=name)
async def test_a_foreign_id_answers_byte_for_byte_like_an_unknown_or_malformed_one(
    team: Team, boss: Person, route: Route
) -> None:
    crew = await boss.crew()
    agent = await boss.agent(crew_id=crew["id"])
    [token] = (await boss.get("/api/v1/auth/cli-tokens"))["data"]
    member = (await boss.get(f"/api/v1/workspaces/{spell(team.workspace_id)}/members"))[0]
    theirs = {"{crewId}": crew["id"], "{agentId}": agent["id"], "{tokenId}": token["id"], "{memberId}": member["id"]}
    outsider = team["outsider"]._replace(workspace_id=team.elsewhere)
    foreign = next(identity for part, identity in theirs.items() if part in route.path)
    answers = []
    for identity in (foreign, spell(uuid4()), str(uuid4()), "nothing"):
        path = path_of(route, identity, spell(team.elsewhere))
        answer = await outsider.ask(route.method, path, {"role": "VIEWER"} if route.method == "PATCH" else None)
        answers.append((answer.status, answer.text.replace(identity, "<id>"), _kept(answer)))
    assert answers[0] == answers[1] == answers[2] == answers[3]
    assert answers[0][0] == 404
    assert (await boss.get(f"/api/v1/crews/{crew['id']}"))["id"] == crew["id"]
    assert (await boss.get(f"/api/v1/agents/{agent['id']}"))["id"] == agent["id"]


def _kept(answer: Answer) -> dict[str, str]:
    return {
        header: value
        for header, value in answer.headers.items()
        if header not in ("Date", "X-Request-ID", "Content-Length")
    }


async def test_another_workspace_sees_nothing(team: Team, boss: Person) -> None:
    crew = await boss.crew(name="A secret crew")
    await boss.agent(crew_id=crew["id"], name="A secret agent")
    outsider = team["outsider"]._replace(workspace_id=team.elsewhere)
    assert await outsider.get("/api/v1/crews") == []
    assert await outsider.get("/api/v1/agents") == []
    assert await outsider.get(f"/api/v1/agents?crew_id={crew['id']}") == []
    refused = await outsider.ask("POST", "/api/v1/agents", {"name": "xx", "slug": "xx", "crew_id": crew["id"]})
    unknown = await outsider.ask("POST", "/api/v1/agents", {"name": "xx", "slug": "xx", "crew_id": spell(uuid4())})
    assert (refused.status, refused.text) == (unknown.status, unknown.text)
    assert refusal(refused) == (400, "Crew not found")
