"""Every mounted route: who may use it, and that another workspace's ids answer like unknown ones."""

import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from server.app import application
from server.auth.roles import PERMISSIONS, ROLES
from server.dialects.control.errors import ControlFace
from server.dialects.control.routes import ROUTES as CONTROL
from server.dialects.crew.routes import ACCOUNT, SHARED, WORKSPACE
from server.dialects.crew.routes import MISSIONS as CREW_MISSIONS
from server.operations.health import ROUTES as OPERATIONS
from server.routing import PUBLIC, SIGNED_IN, Route, mount
from server.socket import ROUTES as SOCKET
from tests.conftest import Serving
from tests.dialects.conftest import new_member, new_workspace
from tests.dialects.control.driving import (
    MISSIONS,
    UNKNOWN,
    Answer,
    append,
    ask,
    create,
    get,
    post,
    send,
    until,
    until_status,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROUTES = (*OPERATIONS, *CONTROL, *SOCKET)
NAMES = [f"{route.method} {route.path}" for route in ROUTES]
BODIES: dict[str, dict[str, Any]] = {
    "/message": {"content": "say hi"},
    "/status": {"status": "pending"},
    "/title": {"title": "renamed"},
    "/settings": {"permission_policy": "allow_reads"},
    "/parallel": {"content": "say hi"},
    "/events": {"events": [{"event_id": "probe", "event_type": "x_probe"}]},
    "/tool_result": {"tool_call_id": "nobody", "name": "question"},
    "/login": {"password": "wrong"},
    "/workspaces": {"name": "probe"},
    "/progress": {"total_subtasks": 3, "completed_subtasks": 1},
    "/tasks": {"title": "probe"},
    "/tasks/{task_id}": {"status": "running"},
}
STREAMS = {"/api/control/stream"}
"""Routes whose answer does not end by itself."""


class World(NamedTuple):
    """The owner's busy mission and a message that waits there; a session for each kind of caller.

    The roles are of a workspace of their own, where they may do as they like. The agent works on the owner's mission.
    """

    sessions: dict[str, ClientSession]
    mission: str
    message: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(shared: Serving, owner: ClientSession) -> AsyncIterator[World]:
    mission = (await create(owner, title="theirs", backend="demo"))["id"]
    await append(owner, mission, {"event_type": "x_secret", "content": "a secret"})
    await send(owner, mission, "sleep 60")
    waiting = (await send(owner, mission, "say a secret"))["id"]
    _, outsider = await new_workspace(shared, "other")
    team, _ = await new_workspace(shared, "team")
    headers = {
        "nobody": {},
        "wrong": {"Authorization": "Bearer wrong-token"},
        **{role: await new_member(shared, role, team) for role in ROLES},
        "outsider": outsider,
        "agent": await agent_of(shared, mission),
    }
    sessions = {name: ClientSession(shared.url, headers=head) for name, head in headers.items()}
    yield World(sessions, mission, waiting)
    for session in sessions.values():
        await session.close()
    await post(owner, f"{MISSIONS}/{mission}/cancel")
    await until_status(owner, mission, "interrupted")


async def agent_of(shared: Serving, mission: str) -> dict[str, str]:
    """The headers of the agent that works on the owner's mission."""
    row = await shared.core.missions.get(shared.workspace_id, UUID(mission))
    assert row.run_id is not None
    await until(lambda: shared.core.authenticator._runs.going_on(row.workspace_id, row.id, row.run_id), bool)
    return {"Authorization": f"Bearer {shared.core.authenticator.run_token(row.workspace_id, row.id, row.run_id)}"}


def path_of(route: Route, identity: str) -> str:
    return re.sub(r"\{[^}]*\}", identity, route.path)


def body_of(route: Route) -> dict[str, Any] | None:
    return next((body for tail, body in BODIES.items() if route.path.endswith(tail)), None)


async def call(session: ClientSession, route: Route, identity: str = UNKNOWN, **query: str) -> Answer:
    """One request of a route, as a well-behaved client makes it; of a stream only the head is read."""
    body = body_of(route) if route.method != "GET" else None
    path = path_of(route, identity)
    if route.path in STREAMS:
        async with session.get(path, params=query) as answer:
            text = await answer.text() if answer.status != 200 else ""
            return Answer(answer.status, text, answer.headers)
    return await ask(session, route.method, path, params=query, **({"json": body} if body else {}))


async def test_the_tables_are_what_is_mounted(shared: Serving) -> None:
    app = application(shared.core)
    mounted = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None}
    tables = (*ROUTES, *ACCOUNT, *WORKSPACE, *CREW_MISSIONS, *SHARED)
    assert mounted == {(route.method, re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path)) for route in tables}


async def test_mounting_a_taken_path_is_refused(shared: Serving) -> None:
    with pytest.raises(ValueError, match="mounted twice"):
        mount(application(shared.core), CONTROL[:1], ControlFace())


async def test_every_permission_of_a_route_exists() -> None:
    assert {route.permission for route in ROUTES} <= {PUBLIC, SIGNED_IN, *PERMISSIONS}


async def test_only_these_routes_are_public() -> None:
    public = {(route.method, route.path) for route in ROUTES if route.permission == PUBLIC}
    assert public == {
        ("GET", "/api/health"),
        ("POST", "/api/auth/login"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/ws"),  # its first frame authenticates
    }


async def test_a_literal_path_wins_over_an_id() -> None:
    paths = [(route.method, route.path) for route in CONTROL]
    for method, path in paths:
        if "{" in path:
            continue
        above = path.rpartition("/")[0] + "/{id}"
        assert (method, above) not in paths or paths.index((method, path)) < paths.index((method, above))


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
async def test_without_a_right_token_everything_that_is_not_public_is_401(world: World, route: Route) -> None:
    for caller in ("nobody", "wrong"):
        answer = await call(world.sessions[caller], route, world.mission)
        if route.permission == PUBLIC:
            assert answer.status != 401 or route.path.endswith("/login")
        else:
            assert answer.status == 401
            assert "secret" not in answer.text


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
async def test_a_role_may_use_exactly_the_routes_of_its_permissions(world: World, route: Route, role: str) -> None:
    answer = await call(world.sessions[role], route)
    may = route.permission in (PUBLIC, SIGNED_IN) or route.permission in ROLES[role]
    if may:
        assert answer.status not in (401, 403) or route.path.endswith("/login"), answer
        assert answer.status < 500 or answer.text == "Library not initialized", answer
    else:
        assert (answer.status, answer.text) == (403, "You may not do this.")


async def test_the_permissions_grow_with_the_role() -> None:
    ranks = ["VIEWER", "MEMBER", "MANAGER", "ADMIN", "OWNER"]
    counts = [sum(route.permission in ROLES[role] for route in ROUTES) for role in ranks]
    assert counts == sorted(counts)
    assert counts[0] < counts[1] < counts[2] < counts[4]


# agents

FOR_AGENTS = {
    ("GET", MISSIONS + "/{id}/events"),
    ("GET", MISSIONS + "/{id}/snapshot"),
    ("POST", MISSIONS + "/{id}/progress"),
    ("GET", MISSIONS + "/{id}/tasks"),
    ("POST", MISSIONS + "/{id}/tasks"),
    ("PATCH", MISSIONS + "/{id}/tasks/{task_id}"),
    ("POST", MISSIONS),
}


async def test_only_these_routes_are_for_agents() -> None:
    assert {(route.method, route.path) for route in ROUTES if route.is_for_agents} == FOR_AGENTS


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
async def test_an_agent_may_use_exactly_the_routes_of_agents(world: World, route: Route) -> None:
    answer = await call(world.sessions["agent"], route, world.mission)
    if route.path == MISSIONS and route.is_for_agents:
        assert (answer.status, answer.text[:37]) == (403, "An agent may only make children of it")
    elif route.is_for_agents:  # its mission has no task of the mission's id
        assert answer.status == 200 or (answer.status, answer.text[:5]) == (404, "Task "), answer
    elif route.permission == PUBLIC:
        assert answer.status != 403
    else:
        assert (answer.status, answer.text[:25]) == (403, "An agent may not do this:")


@pytest.mark.parametrize("route", [route for route in ROUTES if route.is_for_agents and "{id}" in route.path])
async def test_another_mission_is_to_an_agent_like_one_that_does_not_exist(
    world: World, owner: ClientSession, route: Route
) -> None:
    other = (await create(owner, title="another of the same workspace"))["id"]
    unknown = str(uuid4())
    agent = world.sessions["agent"]
    foreign = _without(await call(agent, route, other), other)
    assert foreign == _without(await call(agent, route, unknown), unknown)
    assert foreign[:2] == (404, "Mission <id> not found")
    assert [event["event_type"] for event in await get(owner, f"{MISSIONS}/{other}/events")] == ["mission_created"]


WITH_ID = [route for route in ROUTES if "{id}" in route.path and "backends" not in route.path]


def _without(answer: Answer, identity: str) -> tuple[int, str, dict[str, str]]:
    headers = {name: value for name, value in answer.headers.items() if name not in ("Date", "X-Request-ID")}
    return answer.status, answer.text.replace(identity, "<id>"), headers


@pytest.mark.parametrize("route", WITH_ID, ids=[f"{route.method} {route.path}" for route in WITH_ID])
async def test_an_id_of_another_workspace_answers_byte_for_byte_like_an_unknown_one(world: World, route: Route) -> None:
    theirs = world.message if "/queue/" in route.path else world.mission
    unknown = str(uuid4())
    outsider = world.sessions["outsider"]
    foreign = _without(await call(outsider, route, theirs), theirs)
    assert foreign == _without(await call(outsider, route, unknown), unknown)
    assert 400 <= foreign[0] < 500


FOREIGN: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/api/control/message", {"json": {"content": "x", "mission_id": "{id}"}}),
    ("POST", MISSIONS, {"json": {"parent_mission_id": "{id}"}}),
    ("POST", MISSIONS, {"json": {"workspace_id": "{id}"}}),
    ("GET", "/api/control/stream", {"params": {"mission": "{id}"}}),
    ("GET", "/api/control/events", {"params": {"mission": "{id}"}}),
    ("DELETE", "/api/control/queue", {"params": {"mission_id": "{id}"}}),
]


@pytest.mark.parametrize(("method", "path", "options"), FOREIGN, ids=[f"{row[0]} {row[1]} {row[2]}" for row in FOREIGN])
async def test_a_foreign_id_in_a_body_or_query_answers_like_an_unknown_one(
    world: World, method: str, path: str, options: dict[str, Any]
) -> None:
    answers = []
    for identity in (world.mission, str(uuid4())):
        given = {
            place: {name: value.replace("{id}", identity) for name, value in values.items()}
            for place, values in options.items()
        }
        answers.append(_without(await ask(world.sessions["outsider"], method, path, **given), identity))
    assert answers[0] == answers[1]


async def test_another_workspace_sees_nothing_and_changes_nothing(world: World, owner: ClientSession) -> None:
    outsider = world.sessions["outsider"]
    before = await get(owner, f"{MISSIONS}/{world.mission}")
    for path in (MISSIONS, "/api/control/queue", "/api/control/running"):
        assert await get(outsider, path) == []
    assert await get(outsider, f"{MISSIONS}/current") is None
    assert (await ask(outsider, "DELETE", "/api/control/queue")).json == {"ok": True, "cleared": 0}
    assert await post(outsider, f"{MISSIONS}/cleanup") == {"ok": True, "deleted_count": 0}
    assert await post(outsider, "/api/control/cancel") == {"ok": True}
    assert (await get(outsider, "/api/control/parallel/config"))["running_count"] == 0
    events = await get(outsider, "/api/control/events")
    assert "secret" not in str(events)
    assert await get(owner, f"{MISSIONS}/{world.mission}") == before
    assert [row["id"] for row in await get(owner, "/api/control/queue")] == [world.message]


async def test_a_cursor_of_another_workspace_is_of_another_epoch(world: World, owner: ClientSession) -> None:
    cursor = (await get(owner, "/api/control/events"))["cursor"]
    assert (await ask(world.sessions["outsider"], "GET", "/api/control/events", params={"since": cursor})).status == 409
    async with world.sessions["outsider"].get("/api/control/stream", params={"since": cursor}) as answer:
        first = (await answer.content.readuntil(b"\n\n")).decode()
    assert '"reason":"other_epoch"' in first


async def test_current_is_each_users_own(world: World) -> None:
    mine = [(await create(world.sessions[role], title=role))["id"] for role in ("MEMBER", "MANAGER")]
    listed = [mission["id"] for mission in await get(world.sessions["VIEWER"], MISSIONS)]
    assert set(mine) <= set(listed)
    assert [(await get(world.sessions[role], f"{MISSIONS}/current"))["id"] for role in ("MEMBER", "MANAGER")] == mine
