"""Crew's guard: which credential, which workspace, which page, which role, and in which order they are asked."""

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
import uuid_utils.compat as uuids
from aiohttp import ClientSession, web

from server.app import application
from server.auth import tokens
from server.auth.roles import ROLES
from server.core import principal
from server.dialects.crew import guard, ids
from server.dialects.crew.answers import reply
from server.dialects.crew.body import read
from server.dialects.crew.face import CrewFace
from server.routing import PUBLIC, Route, mount
from storage import identity
from streams.errors import MissionstreamError
from tests.conftest import Serving
from tests.dialects.conftest import new_member, new_workspace
from tests.dialects.control.driving import Answer, ask

pytestmark = pytest.mark.asyncio(loop_scope="module")

READ, WRITE, HERE, AGENTS = "/api/v1/x", "/api/v1/x", "/api/v1/workspaces/{workspaceId}/x", "/api/v1/m/{missionId}/x"


class Body(msgspec.Struct):
    title: str
    count: int = 1


async def _told(request: web.Request) -> web.Response:
    who = principal(request)
    return reply({"workspace": str(who.workspace_id), "role": who.role, "may": sorted(who.permissions)})


async def _written(request: web.Request) -> web.Response:
    return reply(msgspec.to_builtins(await read(request, Body)), status=201)


async def _open(request: web.Request) -> web.Response:
    return reply({"ok": True})


async def _failing(request: web.Request) -> web.Response:
    raise RuntimeError("a secret of the inside")


async def _failing_in_words(request: web.Request) -> web.Response:
    raise MissionstreamError("Failed to start mission engine")


PROBES = (
    Route("GET", READ, _told, "missions:view"),
    Route("POST", WRITE, _written, "crews:write"),
    Route("DELETE", "/api/v1/checkpoints/x", _open, "checkpoints:write"),
    Route("GET", HERE, _told, "missions:view"),
    Route("GET", AGENTS, _told, "missions:view", is_for_agents=True),
    Route("GET", "/api/v1/failing", _failing, "missions:view"),
    Route("GET", "/api/v1/failing-in-words", _failing_in_words, "missions:view"),
)
ACCOUNT_PROBES = (
    Route("POST", "/api/v1/open", _open, PUBLIC),
    Route("GET", "/api/v1/home", _told, "tokens:manage"),
)


class Probe(NamedTuple):
    """A server with routes that tell what the guard let in."""

    http: ClientSession
    owner: dict[str, str]
    workspace: UUID
    shared: Serving

    async def get(self, path: str = READ, headers: dict[str, str] | None = None, **query: str) -> Answer:
        return await ask(self.http, "GET", path, headers=headers or self.owner, params=query)

    async def post(self, headers: dict[str, str] | None = None, body: bytes = b"{}", **query: str) -> Answer:
        query = query or {"workspace_id": str(self.workspace)}
        return await ask(self.http, "POST", WRITE, headers=headers or self.owner, params=query, data=io.BytesIO(body))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def probe(shared: Serving) -> AsyncIterator[Probe]:
    app = application(shared.core)
    mount(app, PROBES, CrewFace(), guard.in_workspace)
    mount(app, ACCOUNT_PROBES, CrewFace(), guard.at_home)
    listening = socket.create_server(("127.0.0.1", 0))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with ClientSession(url) as http:
        yield Probe(http, shared.headers, shared.workspace_id, shared)
    await runner.cleanup()


def refusal(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json["error"]


# credentials


async def test_without_a_credential_the_code_is_no_credentials(probe: Probe) -> None:
    answer = await ask(probe.http, "GET", READ)
    assert refusal(answer) == (401, "no_credentials")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="no_credentials"'
    assert answer.json["detail"] == "Missing Authorization header"


async def test_a_wrong_token_is_an_invalid_session(probe: Probe) -> None:
    for wrong in ("crewship_cli_" + "0" * 64, "a.b.c", "nothing"):
        answer = await probe.get(headers={"Authorization": f"Bearer {wrong}"})
        assert refusal(answer) == (401, "session_invalid")
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="session_invalid"'


async def test_a_revoked_token_says_so(probe: Probe) -> None:
    headers = await new_member(probe.shared, "VIEWER")
    holder = await identity.find_by_hash(probe.shared.core.database, tokens.digest(headers["Authorization"][7:]))
    assert holder is not None
    await identity.revoke_token(probe.shared.core.database, holder.token_id)
    assert refusal(await probe.get(headers=headers)) == (401, "session_revoked")


async def test_an_ended_login_says_so(probe: Probe) -> None:
    sessions = probe.shared.core.authenticator._sessions
    clock, sessions._clock = sessions._clock, lambda: 1_000_000_000.0
    login, _ = sessions.login(uuids.uuid7(), "somebody")
    sessions._clock = clock
    assert refusal(await probe.get(headers={"Authorization": f"Bearer {login}"})) == (401, "session_expired")


@pytest.mark.parametrize("cookie", ["authjs.session-token", "__Secure-authjs.session-token"])
async def test_the_cookies_of_crews_pages_count(probe: Probe, cookie: str) -> None:
    secret = probe.owner["Authorization"].removeprefix("Bearer ")
    here = {"workspace_id": str(probe.workspace)}
    answer = await ask(probe.http, "GET", READ, headers={"Cookie": f'{cookie}="{secret}"'}, params=here)
    assert answer.status == 200
    # a wrong bearer is not rescued by a right cookie
    headers = {"Authorization": "Bearer wrong", "Cookie": f'{cookie}="{secret}"'}
    assert refusal(await ask(probe.http, "GET", READ, headers=headers, params=here)) == (401, "session_invalid")


async def test_the_plain_cookie_goes_before_the_secure_one(probe: Probe) -> None:
    secret = probe.owner["Authorization"].removeprefix("Bearer ")
    headers = {"Cookie": f'__Secure-authjs.session-token="{secret}"; authjs.session-token=wrong'}
    assert refusal(await ask(probe.http, "GET", READ, headers=headers)) == (401, "session_invalid")


async def test_crews_cookies_are_nothing_to_the_other_dialects(probe: Probe) -> None:
    secret = probe.owner["Authorization"].removeprefix("Bearer ")
    headers = {"Cookie": f'authjs.session-token="{secret}"'}
    assert (await ask(probe.http, "GET", "/api/control/missions", headers=headers)).status == 401


# the workspace


async def test_a_workspace_must_be_named(probe: Probe) -> None:
    assert refusal(await probe.get()) == (400, "workspace_id is required")
    assert refusal(await probe.get(workspace_id="")) == (400, "workspace_id is required")


async def test_three_places_may_name_it_by_id_in_either_form_or_by_slug(probe: Probe) -> None:
    for name in (str(probe.workspace), str(probe.workspace).upper(), ids.spell(probe.workspace), "default"):
        by_header = {**probe.owner, "X-Workspace-ID": name}
        answers = (
            await probe.get(workspace_id=name),
            await probe.get(HERE.format(workspaceId=name)),
            await probe.get(headers=by_header),
        )
        assert [answer.json["workspace"] for answer in answers] == [str(probe.workspace)] * 3


async def test_the_first_place_counts_right_or_wrong(probe: Probe) -> None:
    right = {**probe.owner, "X-Workspace-ID": "default"}
    assert (await probe.get(HERE.format(workspaceId="nowhere"), workspace_id="default")).status == 200
    assert (await probe.get(HERE.format(workspaceId="nowhere"), headers=right)).status == 403
    assert (await probe.get(headers=right, workspace_id="nowhere")).status == 403
    assert (await probe.get(headers=right, workspace_id="")).status == 200


async def test_foreign_unknown_and_malformed_workspaces_are_one_answer(probe: Probe) -> None:
    foreign, _ = await new_workspace(probe.shared, "foreign")
    names = [str(foreign), ids.spell(foreign), "foreign", "unknown", str(uuids.uuid7()), ids.spell(uuids.uuid7())]
    answers = [await probe.get(workspace_id=name) for name in (*names, "a b", "\u0661", "x" * 300, "%00")]
    assert {answer.text for answer in answers} == {answers[0].text}
    assert refusal(answers[0]) == (403, "Not a member of this workspace")
    assert answers[0].json["detail"] == "Not a member of this workspace"


async def test_a_member_of_several_acts_in_the_one_that_is_named(probe: Probe) -> None:
    headers = await new_member(probe.shared, "OWNER")
    holder = await identity.find_by_hash(probe.shared.core.database, tokens.digest(headers["Authorization"][7:]))
    assert holder is not None
    second, _ = await new_workspace(probe.shared, "second")
    await identity.add_member(probe.shared.core.database, second, holder.user_id, "VIEWER")
    there = (await probe.get(headers=headers, workspace_id="second")).json
    assert (there["workspace"], there["role"]) == (str(second), "VIEWER")
    assert refusal(await probe.post(headers, workspace_id="second")) == (403, "Forbidden")
    assert (await probe.post(headers, body=b'{"title": "x"}', workspace_id="default")).status == 201


# the order: credential, workspace, origin, role, and only then the body

FOREIGN_PAGE = {"Origin": "https://elsewhere.example"}
BAD_BODY = b'{"title"'


async def test_each_question_is_asked_before_the_next(probe: Probe) -> None:
    viewer = await new_member(probe.shared, "VIEWER")
    here, nowhere = {"workspace_id": "default"}, {"workspace_id": "nowhere"}

    async def asked(headers: dict[str, str], query: dict[str, str]) -> tuple[int, str]:
        return refusal(await ask(probe.http, "POST", WRITE, headers=headers, params=query, data=BAD_BODY))

    assert await asked({**FOREIGN_PAGE}, nowhere) == (401, "no_credentials")
    assert await asked({**viewer, **FOREIGN_PAGE}, {}) == (400, "workspace_id is required")
    assert await asked({**viewer, **FOREIGN_PAGE}, nowhere) == (403, "Not a member of this workspace")
    assert await asked({**viewer, **FOREIGN_PAGE}, here) == (403, "request origin not allowed")
    assert await asked(viewer, here) == (403, "Forbidden")
    assert await asked(probe.owner, here) == (400, "Invalid JSON body")


async def test_a_denied_role_gets_the_problem_with_detail_forbidden(probe: Probe) -> None:
    answer = await probe.post(await new_member(probe.shared, "MEMBER"))
    assert answer.json == {
        "error": "Forbidden",
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "detail": "Forbidden",
        "instance": WRITE,
        "statusCode": 403,
        "message": "Forbidden",
        "data": None,
    }
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.text.endswith("}\n")


# pages of other origins


async def test_a_foreign_page_may_change_nothing(probe: Probe) -> None:
    for page in (FOREIGN_PAGE, {"Origin": "null"}, {"Referer": "https://elsewhere.example/page"}):
        answer = await probe.post({**probe.owner, **page}, b'{"title": "x"}')
        assert refusal(answer) == (403, "request origin not allowed")
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="origin_rejected"'


async def test_our_own_page_and_programs_may(probe: Probe) -> None:
    own = str(probe.http._base_url).rstrip("/")
    for page in ({}, {"Origin": own}, {"Referer": f"{own}/missions"}):
        assert (await probe.post({**probe.owner, **page}, b'{"title": "x"}')).status == 201


async def test_a_foreign_page_reads_like_any_program(probe: Probe) -> None:
    assert (await probe.get(headers={**probe.owner, **FOREIGN_PAGE}, workspace_id="default")).status == 200


async def test_public_routes_refuse_foreign_pages_too(probe: Probe) -> None:
    answer = await ask(probe.http, "POST", "/api/v1/open", headers=FOREIGN_PAGE)
    assert refusal(answer) == (403, "request origin not allowed")
    assert (await ask(probe.http, "POST", "/api/v1/open")).status == 200


# roles and scopes


@pytest.mark.parametrize("role", ROLES)
async def test_members_read_and_managers_write(probe: Probe, role: str) -> None:
    headers = await new_member(probe.shared, role)
    assert (await probe.get(headers=headers, workspace_id="default")).status == 200
    status = 201 if role in ("OWNER", "ADMIN", "MANAGER") else 403
    assert (await probe.post(headers, b'{"title": "x"}')).status == status
    removed = await ask(
        probe.http, "DELETE", "/api/v1/checkpoints/x", headers=headers, params={"workspace_id": "default"}
    )
    assert removed.status == (200 if status == 201 else 403)


async def scoped(probe: Probe, *scopes: str) -> dict[str, str]:
    """The headers of a MANAGER's token with these scopes."""
    database = probe.shared.core.database
    user_id = await identity.create_user(database, "scoped")
    await identity.add_member(database, probe.workspace, user_id, "MANAGER")
    secret = tokens.generate()
    await identity.create_token(database, user_id, probe.workspace, "t", tokens.digest(secret), scopes=scopes)
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    ("scopes", "writes", "checkpoints"),
    [
        ((), True, True),
        (("*",), True, True),
        (("crews:write",), True, False),
        (("crews:*",), True, False),
        (("workspace:admin",), False, True),
        (("workspace:*",), False, True),
        (("agents:read", "crews:read"), False, False),
    ],
)
async def test_scopes_narrow_what_is_changed_and_never_what_is_read(
    probe: Probe, scopes: tuple[str, ...], writes: bool, checkpoints: bool
) -> None:
    headers, here = await scoped(probe, *scopes), {"workspace_id": "default"}
    assert (await probe.get(headers=headers, workspace_id="default")).status == 200
    assert (await probe.post(headers, b'{"title": "x"}')).status == (201 if writes else 403)
    removed = await ask(probe.http, "DELETE", "/api/v1/checkpoints/x", headers=headers, params=here)
    assert removed.status == (200 if checkpoints else 403)


async def test_a_route_about_oneself_acts_at_home(probe: Probe) -> None:
    assert (await probe.get("/api/v1/home")).json["workspace"] == str(probe.workspace)
    headers = await scoped(probe, "crews:write")
    assert refusal(await probe.get("/api/v1/home", headers=headers)) == (403, "Forbidden")


# agents


async def test_an_agent_reaches_its_own_mission_on_the_routes_of_agents_alone(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    mission, run = uuids.uuid7(), uuids.uuid7()
    authenticator = probe.shared.core.authenticator

    async def going_on(workspace_id: UUID, mission_id: UUID, run_id: UUID) -> tuple[UUID, str]:
        return run, "demo"

    monkeypatch.setattr(authenticator._runs, "going_on", going_on)
    agent = {"Authorization": f"Bearer {authenticator.run_token(probe.workspace, mission, run)}"}
    for name in (str(mission), ids.spell(mission)):
        answer = await probe.get(AGENTS.format(missionId=name), headers=agent)
        assert (answer.status, answer.json["workspace"]) == (200, str(probe.workspace))
    for other in (ids.spell(uuids.uuid7()), "nothing"):
        assert refusal(await probe.get(AGENTS.format(missionId=other), headers=agent)) == (404, "Mission not found")
    foreign, _ = await new_workspace(probe.shared, "no-place-for-agents")
    away = await probe.get(AGENTS.format(missionId=ids.spell(mission)), headers=agent, workspace_id=str(foreign))
    assert refusal(away) == (403, "Not a member of this workspace")
    for answer in (
        await probe.get(headers=agent, workspace_id="default"),
        await probe.get("/api/v1/home", headers=agent),
        await probe.post(agent, b'{"title": "x"}'),
    ):
        assert answer.status == 403
        assert answer.json["detail"].startswith("An agent may not do this")


# bodies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[]",
        b'"text"',
        b"{} {}",
        b"null",
        b'{"title": 1}',
        b'{"title": "x", "count": "1"}',
        b'{"title": "x", "count": 1.5}',
        b'{"title": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"title": NaN}',
        b'{"title": "' + b"x" * (1 << 20) + b'"}',
        b'{"title": "' + b"x" * (3 << 20) + b'"}',
        b"\xff\xfe",
    ],
    ids=lambda body: f"{len(body)} bytes {body[:9]!r}",
)
async def test_whatever_is_no_such_json_is_one_answer(probe: Probe, body: bytes) -> None:
    answer = await probe.post(body=body)
    assert refusal(answer) == (400, "Invalid JSON body")
    assert answer.json["data"]["reason"]


async def test_null_is_absent_and_unknown_members_are_let_be(probe: Probe) -> None:
    answer = await probe.post(body=b'{"title": "x", "count": null, "more": [1]}')
    assert (answer.status, answer.json) == (201, {"title": "x", "count": 1})


async def test_the_content_type_does_not_matter_and_text_is_made_storable(probe: Probe) -> None:
    for kind in ("application/json", "text/plain", "application/octet-stream"):
        headers = {**probe.owner, "Content-Type": kind}
        answer = await probe.post(headers, b'{"title": "a\\u0000b \\ud800 \xc3\xa9"}')
        assert answer.json == {"title": "a\ufffdb \ufffd \u00e9", "count": 1}


async def test_a_body_declared_above_16_mib_is_refused_before_anybody_asks_who(probe: Probe) -> None:
    url = probe.http._base_url
    assert url is not None
    assert url.port is not None
    reader_writer = await _raw(url.port, "POST", 17 << 20)
    assert reader_writer[0] == 413
    assert reader_writer[1]["error"] == "Request body too large"
    assert reader_writer[1]["detail"] == "Request body too large"
    assert (await _raw(url.port, "POST", 16 << 20))[0] == 401


async def _raw(port: int, method: str, length: int) -> tuple[int, Any]:
    """The status and body of a request that declares a length and sends nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {WRITE} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    size = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
    body = json.loads(await reader.readexactly(size))
    writer.close()
    return int(head.split()[1]), body


# what surrounds the routes

EVERY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "0",
    "Referrer-Policy": "strict-origin-when-cross-origin",
}


async def test_every_answer_under_api_v1_has_the_headers(probe: Probe) -> None:
    answers = [
        await probe.get(workspace_id="default"),
        await probe.get(),
        await probe.post(body=b""),
        await ask(probe.http, "GET", READ),
        await ask(probe.http, "GET", "/api/v1/nothing-here"),
        await ask(probe.http, "PUT", READ),
        await probe.get("/api/v1/failing", workspace_id="default"),
        await probe.get("/api/v1/ws-token"),
    ]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in EVERY} == EVERY
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert "camera=()" in answer.headers["Permissions-Policy"]
        assert answer.headers["X-Crewship-Server-Version"]
    other = await ask(probe.http, "GET", "/healthz")
    assert "X-Crewship-Server-Version" not in other.headers


async def test_what_the_framework_answers_has_crews_form(probe: Probe) -> None:
    unknown = await ask(probe.http, "GET", "/api/v1/nothing-here?x=1")
    assert (unknown.status, unknown.json["error"], unknown.json["instance"]) == (
        404,
        "Not Found",
        "/api/v1/nothing-here",
    )
    wrong = await ask(probe.http, "PUT", READ)
    assert (wrong.status, wrong.json["detail"], wrong.headers["Allow"]) == (405, "Method Not Allowed", "GET, POST")
    assert (await ask(probe.http, "GET", "/api/nothing-here")).text == ""


async def test_a_failure_of_ours_tells_nothing_but_the_listed_words(probe: Probe) -> None:
    failed = await probe.get("/api/v1/failing", workspace_id="default")
    assert (failed.status, failed.json["error"], failed.json["detail"]) == (
        500,
        "Internal server error",
        "Internal server error",
    )
    assert "secret" not in failed.text
    in_words = await probe.get("/api/v1/failing-in-words", workspace_id="default")
    assert refusal(in_words) == (500, "Failed to start mission engine")
