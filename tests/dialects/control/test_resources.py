"""Health, login, workspaces, backends, and what the framework itself answers: CORS, errors, limits."""

import asyncio
import base64
import io
import json
import time
from pathlib import Path

import pytest
from aiohttp import ClientSession

from server.app import MAX_BODY_BYTES
from tests.conftest import Serving
from tests.dialects.conftest import PASSWORD
from tests.dialects.control.driving import MISSIONS, NIL, UNKNOWN, ask, create, get, post

pytestmark = pytest.mark.asyncio(loop_scope="module")
JSON = {"Content-Type": "application/json"}


class TestHealth:
    async def test_is_public_and_says_how_to_sign_in(self, nobody: ClientSession) -> None:
        health = await get(nobody, "/api/health")
        assert health["status"] == "ok"
        assert health["version"]
        assert (health["auth_required"], health["auth_mode"], health["dev_mode"]) == (True, "single_tenant", False)
        assert isinstance(health["max_iterations"], int)

    @pytest.mark.parametrize("path", ["/healthz", "/readyz"])
    async def test_probes_are_public(self, nobody: ClientSession, path: str) -> None:
        assert (await ask(nobody, "GET", path)).status == 200


class TestLogin:
    async def test_the_password_gives_a_token_that_works(self, nobody: ClientSession, shared: Serving) -> None:
        body = await post(nobody, "/api/auth/login", {"password": f" {PASSWORD}\n", "username": None})
        assert set(body) == {"token", "exp"}
        claims = json.loads(base64.urlsafe_b64decode(body["token"].split(".")[1] + "=="))
        assert {"sub", "usr", "iat", "exp"} <= set(claims)
        assert body["exp"] == claims["exp"]
        assert body["exp"] - time.time() == pytest.approx(30 * 86_400, abs=60)
        for scheme in ("Bearer", "bearer"):
            async with ClientSession(shared.url, headers={"Authorization": f"{scheme} {body['token']}"}) as session:
                assert await get(session, MISSIONS) == []

    async def test_a_wrong_password_is_401_in_the_originals_words(self, nobody: ClientSession) -> None:
        answer = await ask(nobody, "POST", "/api/auth/login", json={"password": "wrong"})
        assert (answer.status, answer.text) == (401, "Invalid password")

    @pytest.mark.parametrize("body", ["{}", '{"password":null}', '{"password":1}', "[]"])
    async def test_no_password_is_422(self, nobody: ClientSession, body: str) -> None:
        assert (await ask(nobody, "POST", "/api/auth/login", data=body, headers=JSON)).status == 422


class TestAuthorization:
    async def test_the_words_of_a_401(self, nobody: ClientSession) -> None:
        missing = await ask(nobody, "GET", MISSIONS)
        assert (missing.status, missing.text) == (401, "Missing Authorization header")
        for value in ("Bearer wrong", "Bearer a.b.c", "Bearer " + "x" * 7_000, "Bearer \u00e9"):
            wrong = await ask(nobody, "GET", MISSIONS, headers={"Authorization": value})
            assert (wrong.status, wrong.text) == (401, "Invalid or expired token")

    async def test_a_token_in_the_query_does_not_count(self, nobody: ClientSession, shared: Serving) -> None:
        token = shared.headers["Authorization"].removeprefix("Bearer ")
        assert (await ask(nobody, "GET", f"{MISSIONS}?token={token}&access_token={token}")).status == 401


class TestWorkspaces:
    async def test_the_default_one_is_always_there(self, owner: ClientSession) -> None:
        default = (await get(owner, "/api/workspaces"))[0]
        assert (default["id"], default["name"], default["workspace_type"], default["status"]) == (
            NIL, "host", "host", "ready",
        )  # fmt: skip
        assert default["error_message"] is None
        assert default["skills"] == default["plugins"] == default["tools"] == []
        assert default["env_vars"] == {}
        assert default["path"].startswith("/")
        assert default["created_at"].endswith("Z")

    async def test_one_can_be_made_once(self, owner: ClientSession) -> None:
        made = await post(owner, "/api/workspaces", {"name": " lab "})
        assert made["name"] == "lab"
        assert made["id"] in [row["id"] for row in await get(owner, "/api/workspaces")]
        again = await ask(owner, "POST", "/api/workspaces", json={"name": "lab"})
        assert (again.status, again.text) == (409, "there is a space lab already")

    @pytest.mark.parametrize("path", ["/etc", "relative", "/", "", "/proc/self/root", "\x00"])
    async def test_a_path_outside_the_roots_is_refused(self, owner: ClientSession, path: str) -> None:
        answer = await ask(owner, "POST", "/api/workspaces", json={"name": f"out {path!r}", "path": path})
        assert answer.status == 422

    async def test_a_link_does_not_lead_out_of_the_roots(self, owner: ClientSession, shared: Serving) -> None:
        root: Path = shared.core.settings.space_roots[0]
        inside, link = root / "inside", root / "link"
        inside.mkdir()
        link.symlink_to("/etc")
        answer = await ask(owner, "POST", "/api/workspaces", json={"name": "link", "path": str(link)})
        assert answer.status == 422
        made = await post(owner, "/api/workspaces", {"name": "inside", "path": str(inside)})
        assert made["path"] == str(inside)

    @pytest.mark.parametrize("name", ["", "  ", "x" * 101])
    async def test_a_name_is_bounded(self, owner: ClientSession, name: str) -> None:
        assert (await ask(owner, "POST", "/api/workspaces", json={"name": name})).status == 400


class TestBackends:
    async def test_the_five_of_the_document_are_listed(self, owner: ClientSession) -> None:
        listed = await get(owner, "/api/backends")
        assert {"opencode", "claudecode", "codex", "gemini", "grok"} <= {row["id"] for row in listed}
        for row in listed:
            assert set(row) == {"id", "name"}
            assert await get(owner, f"/api/backends/{row['id']}") == row
            config = await get(owner, f"/api/backends/{row['id']}/config")
            assert {"id", "name", "enabled", "settings", "cli_available"} <= set(config)
            assert config["settings"] == {}
            for agent in await get(owner, f"/api/backends/{row['id']}/agents"):
                assert set(agent) == {"id", "name"}

    async def test_the_demo_agent_is_available(self, owner: ClientSession) -> None:
        assert (await get(owner, "/api/backends/demo/config"))["cli_available"] is True

    @pytest.mark.parametrize("tail", ["", "/agents", "/config"])
    async def test_an_unknown_one_is_404(self, owner: ClientSession, tail: str) -> None:
        assert (await ask(owner, "GET", f"/api/backends/amp{tail}")).status == 404


async def test_there_is_no_library_in_words_that_clients_know(owner: ClientSession) -> None:
    for path in ("/api/library/commands", "/api/library/sandboxed-sh/agents"):
        answer = await ask(owner, "GET", path)
        assert (answer.status, answer.text) == (503, "Library not initialized")


class TestFramework:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", MISSIONS, 401),
            ("POST", "/api/control/message", 401),
            ("GET", "/api/control/stream", 401),
            ("GET", "/api/nothing/here", 404),
            ("PUT", MISSIONS, 405),
            ("GET", "/api/health", 200),
        ],
    )
    async def test_every_answer_has_open_cors(self, nobody: ClientSession, method: str, path: str, status: int) -> None:
        answer = await ask(nobody, method, path, headers={"Origin": "https://elsewhere.example"})
        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert {"X-Total-Events", "X-Max-Sequence"} <= set(answer.headers["Access-Control-Expose-Headers"].split(", "))

    @pytest.mark.parametrize("path", [MISSIONS, f"{MISSIONS}/{UNKNOWN}/events", "/api/control/stream", "/api/no/such"])
    async def test_a_preflight_needs_no_token(self, nobody: ClientSession, path: str) -> None:
        headers = {
            "Origin": "https://elsewhere.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        }
        answer = await ask(nobody, "OPTIONS", path, headers=headers)
        assert (answer.status, answer.text) == (204, "")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        allowed = answer.headers["Access-Control-Allow-Headers"].lower()
        # the wildcard does not cover Authorization, so it must be named
        assert {"authorization", "content-type"} <= {name.strip() for name in allowed.split(",")}
        assert {"GET", "POST", "PATCH", "DELETE"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))

    async def test_an_unknown_route_is_an_empty_404(self, owner: ClientSession) -> None:
        for path in ("/api/nothing", "/api/control", "/api/control/missions/", f"{MISSIONS}/{UNKNOWN}/nothing"):
            answer = await ask(owner, "GET", path)
            assert (answer.status, answer.text) == (404, "")

    async def test_a_wrong_method_says_which_are_right(self, owner: ClientSession) -> None:
        answer = await ask(owner, "PATCH", MISSIONS)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")

    async def test_a_body_over_two_mebibytes_is_413(self, owner: ClientSession) -> None:
        data = b'{"content":"' + b"x" * MAX_BODY_BYTES + b'"}'
        answer = await ask(owner, "POST", "/api/control/message", data=io.BytesIO(data), headers=JSON)
        assert answer.status == 413
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"

    async def test_a_body_just_below_is_read(self, owner: ClientSession) -> None:
        mission = await create(owner, title="large")
        data = json.dumps({"content": " " * (MAX_BODY_BYTES - 200), "mission_id": mission["id"]}).encode()
        answer = await ask(owner, "POST", "/api/control/message", data=io.BytesIO(data), headers=JSON)
        assert (answer.status, answer.text) == (400, "content is required")

    @pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
    async def test_another_content_type_is_415(self, owner: ClientSession, kind: str | None) -> None:
        options = {"headers": {"Content-Type": kind}} if kind else {"skip_auto_headers": ["Content-Type"]}
        answer = await ask(owner, "POST", "/api/control/message", data=b'{"content":"x"}', **options)
        assert (answer.status, answer.text) == (415, "Expected request with `Content-Type: application/json`")

    async def test_json_is_pure_ascii(self, owner: ClientSession) -> None:
        mission = await create(owner, title="Grüße \U0001f600 \u2028")
        async with owner.get(f"{MISSIONS}/{mission['id']}") as answer:
            raw = await answer.read()
        assert raw.isascii()
        assert rb"\ud83d\ude00" in raw
        assert json.loads(raw)["title"] == "Grüße \U0001f600"

    async def test_a_request_id_is_kept_or_made(self, owner: ClientSession) -> None:
        kept = await ask(owner, "GET", "/api/health", headers={"X-Request-ID": "mine-1"})
        assert kept.headers["X-Request-ID"] == "mine-1"
        made = await ask(owner, "GET", "/api/health", headers={"X-Request-ID": "not; mine" * 20})
        assert len(made.headers["X-Request-ID"]) == 36


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/control/message HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET /api/health HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"GET /api/control/missions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_400_and_a_close(shared: Serving, raw: bytes) -> None:
    host, port = shared.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer[:200]
    assert b"Traceback" not in answer
