"""Missions of the control dialect: create, list, get, current, load, title, delete, cleanup, tree."""

import re
from datetime import datetime
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.conftest import Serving
from tests.dialects.conftest import new_member
from tests.dialects.control.driving import (
    MISSIONS,
    NIL,
    UNKNOWN,
    append,
    ask,
    create,
    get,
    post,
    send,
    talked,
    until_status,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID_FORM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def check_mission(mission: dict[str, Any]) -> None:
    """The Mission object: what every client needs, and nothing that is empty."""
    assert {
        "id",
        "status",
        "title",
        "workspace_id",
        "backend",
        "history",
        "created_at",
        "updated_at",
        "resumable",
    } <= set(mission)
    assert UUID_FORM.fullmatch(mission["id"])
    assert mission["status"] in ("pending", "active", "completed", "failed", "interrupted")
    assert AT.fullmatch(mission["created_at"])
    assert AT.fullmatch(mission["updated_at"])
    assert datetime.fromisoformat(mission["created_at"]) <= datetime.fromisoformat(mission["updated_at"])
    assert isinstance(mission["history"], list)
    assert "model_override" in mission
    assert ("interrupted_at" in mission) == (mission["status"] == "interrupted")
    omitted = set(mission) - {"title", "model_override"}
    assert [name for name in omitted if mission[name] is None] == []


class TestCreate:
    async def test_without_a_body_everything_is_the_default(self, owner: ClientSession) -> None:
        answer = await ask(owner, "POST", MISSIONS)
        assert answer.status == 200
        mission = answer.json
        check_mission(mission)
        assert (mission["status"], mission["title"], mission["history"]) == ("pending", None, [])
        assert (mission["workspace_id"], mission["workspace_name"]) == (NIL, "host")
        assert (mission["backend"], mission["model_override"], mission["resumable"]) == ("demo", None, False)
        assert "agent" not in mission
        assert (mission["kind"], mission["kind_status"]) == ("control", "pending")

    @pytest.mark.parametrize("body", ["{}", " ", '{"backend":"","model_override":" ","title":null,"nonsense":[1]}'])
    async def test_blank_and_unknown_fields_count_as_absent(self, owner: ClientSession, body: str) -> None:
        answer = await ask(owner, "POST", MISSIONS, data=body, headers={"Content-Type": "application/json"})
        assert (answer.status, answer.json["backend"], answer.json["model_override"]) == (200, "demo", None)

    async def test_what_is_given_is_kept(self, owner: ClientSession) -> None:
        space = await post(owner, "/api/workspaces", {"name": "kept"})
        parent = await create(owner)
        fields = {
            "title": " My Mission ",
            "workspace_id": space["id"],
            "agent": "code-reviewer",
            "model_override": "anthropic/claude-sonnet-4-20250514",
            "backend": "demo",
            "config_profile": "careful",
            "parent_mission_id": parent["id"],
        }
        made = await create(owner, **fields)
        shown = await get(owner, f"{MISSIONS}/{made['id']}")
        for mission in (made, shown):
            check_mission(mission)
            assert {name: mission[name] for name in fields} == fields | {"title": "My Mission"}
        assert shown["workspace_name"] == "kept"

    @pytest.mark.parametrize("body", ["{", "[", '"text', "nul"])
    async def test_a_malformed_body_makes_no_mission(self, owner: ClientSession, body: str) -> None:
        before = len(await get(owner, MISSIONS))
        answer = await ask(owner, "POST", MISSIONS, data=body, headers={"Content-Type": "application/json"})
        assert answer.status == 400
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert len(await get(owner, MISSIONS)) == before

    @pytest.mark.parametrize("body", ["[]", "null", "1", '{"title":1}', '{"workspace_id":"x"}', '{"backend":["demo"]}'])
    async def test_a_body_of_another_shape_is_422(self, owner: ClientSession, body: str) -> None:
        answer = await ask(owner, "POST", MISSIONS, data=body, headers={"Content-Type": "application/json"})
        assert answer.status == 422

    async def test_an_unknown_backend_is_named(self, owner: ClientSession) -> None:
        answer = await ask(owner, "POST", MISSIONS, json={"backend": "hal9000"})
        assert (answer.status, answer.text) == (
            400,
            "Unknown backend: hal9000; one of opencode, claudecode, codex, gemini, grok, demo",
        )

    async def test_a_backend_that_is_not_installed_says_how_to_install_it(
        self, owner: ClientSession, shared: Serving
    ) -> None:
        environment = shared.core.environment
        environment["MISSIONSTREAM_BACKEND_GROK_COMMAND"] = "/nonexistent/grok"  # type: ignore[index]
        answer = await ask(owner, "POST", MISSIONS, json={"backend": "grok"})
        assert answer.status == 503
        assert answer.text.startswith("The backend grok is not installed on this server. To install: ")
        assert int(answer.headers["Retry-After"]) >= 1

    @pytest.mark.parametrize(("field", "status"), [("workspace_id", 404), ("parent_mission_id", 404)])
    async def test_an_unknown_space_or_parent_is_refused(self, owner: ClientSession, field: str, status: int) -> None:
        assert (await ask(owner, "POST", MISSIONS, json={field: UNKNOWN})).status == status

    async def test_the_new_mission_becomes_current(self, owner: ClientSession) -> None:
        made = await create(owner, title="now open")
        assert (await get(owner, f"{MISSIONS}/current"))["id"] == made["id"]

    async def test_an_idempotency_key_makes_one_mission(self, owner: ClientSession) -> None:
        options = {"json": {"title": "once"}, "headers": {"Idempotency-Key": "create-once"}}
        first, second = [await ask(owner, "POST", MISSIONS, **options) for _ in range(2)]
        assert first.text == second.text
        other = await ask(owner, "POST", MISSIONS, **(options | {"json": {"title": "twice"}}))
        assert other.status == 422
        assert [m["title"] for m in await get(owner, MISSIONS)].count("once") == 1


class TestList:
    async def test_is_newest_change_first_without_history(self, owner: ClientSession) -> None:
        old, new = await create(owner, title="older"), await create(owner, title="newer")
        listed = await get(owner, MISSIONS)
        for mission in listed:
            check_mission(mission)
            assert mission["history"] == []
            assert mission["workspace_name"]
        ids = [mission["id"] for mission in listed]
        assert ids.index(new["id"]) < ids.index(old["id"])
        assert [m["updated_at"] for m in listed] == sorted((m["updated_at"] for m in listed), reverse=True)
        await post(owner, f"{MISSIONS}/{old['id']}/title", {"title": "touched"})
        assert (await get(owner, MISSIONS, limit=1))[0]["id"] == old["id"]

    async def test_limit_and_offset_page_without_overlap(self, owner: ClientSession) -> None:
        for number in range(3):
            await create(owner, title=f"page {number}")
        whole = [mission["id"] for mission in await get(owner, MISSIONS, limit=200)]
        pages = [await get(owner, MISSIONS, limit=2, offset=offset) for offset in range(0, len(whole) + 2, 2)]
        assert [mission["id"] for page in pages for mission in page] == whole
        assert (await get(owner, MISSIONS, limit=1_000_000))[0]["id"] == whole[0]

    async def test_status_filters(self, owner: ClientSession) -> None:
        made = await create(owner, title="a failed one")
        await post(owner, f"{MISSIONS}/{made['id']}/status", {"status": "failed"})
        assert [mission["id"] for mission in await get(owner, MISSIONS, status="failed")] == [made["id"]]
        assert await get(owner, MISSIONS, status="no such status") == []


class TestOne:
    async def test_get_has_the_messages_as_history(self, owner: ClientSession) -> None:
        made = await talked(owner, "say one", "say two", title="history")
        shown = await get(owner, f"{MISSIONS}/{made['id']}")
        check_mission(shown)
        assert shown["history"] == [
            {"role": "user", "content": "say one"},
            {"role": "assistant", "content": "one"},
            {"role": "user", "content": "say two"},
            {"role": "assistant", "content": "two"},
        ]

    async def test_history_is_the_last_two_hundred(self, owner: ClientSession) -> None:
        made = await create(owner, title="long")
        await append(owner, made["id"], *({"event_type": "assistant_message", "content": f"{n}"} for n in range(230)))
        history = (await get(owner, f"{MISSIONS}/{made['id']}"))["history"]
        assert [entry["content"] for entry in history] == [f"{n}" for n in range(30, 230)]

    async def test_an_unknown_one_is_404_in_plain_text(self, owner: ClientSession) -> None:
        answer = await ask(owner, "GET", f"{MISSIONS}/{UNKNOWN}")
        assert (answer.status, answer.text) == (404, f"Mission {UNKNOWN} not found")
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"

    @pytest.mark.parametrize("text", ["x", "1", "null", UNKNOWN + "0", "%00", "%F0%9F%98%80"])
    async def test_an_id_that_is_no_uuid_is_400(self, owner: ClientSession, text: str) -> None:
        assert (await ask(owner, "GET", f"{MISSIONS}/{text}")).status == 400

    async def test_load_opens_it_and_changes_nothing(self, owner: ClientSession) -> None:
        first, second = await create(owner, title="first"), await create(owner, title="second")
        answer = await ask(owner, "POST", f"{MISSIONS}/{first['id']}/load")
        assert (answer.status, answer.json["id"]) == (200, first["id"])
        assert (await get(owner, f"{MISSIONS}/current"))["id"] == first["id"]
        loaded = await post(owner, f"{MISSIONS}/{second['id']}/load", {})
        check_mission(loaded)
        assert (loaded["status"], loaded["updated_at"]) == ("pending", second["updated_at"])
        assert (await ask(owner, "POST", f"{MISSIONS}/{UNKNOWN}/load")).status == 404
        assert (await get(owner, f"{MISSIONS}/current"))["id"] == second["id"]

    async def test_title_is_set_and_bounded(self, owner: ClientSession) -> None:
        made = await create(owner)
        assert await post(owner, f"{MISSIONS}/{made['id']}/title", {"title": "  Grüße \U0001f600 "}) == {"ok": True}
        assert (await get(owner, f"{MISSIONS}/{made['id']}"))["title"] == "Grüße \U0001f600"
        for wrong in ("", "  ", "x" * 501):
            assert (await ask(owner, "POST", f"{MISSIONS}/{made['id']}/title", json={"title": wrong})).status == 400
        assert (await ask(owner, "POST", f"{MISSIONS}/{UNKNOWN}/title", json={"title": "x"})).status == 404


class TestDelete:
    async def test_a_deleted_mission_is_nowhere(self, owner: ClientSession) -> None:
        made = await create(owner, title="short-lived")
        path = f"{MISSIONS}/{made['id']}"
        assert await get(owner, path)
        answer = await ask(owner, "DELETE", path)
        assert (answer.status, answer.json) == (200, {"ok": True, "deleted": made["id"]})
        for tail in ("", "/events", "/snapshot", "/tree"):
            assert (await ask(owner, "GET", path + tail)).status == 404
        again = await ask(owner, "DELETE", path)
        assert again.status == 404
        assert "not found" in again.text
        assert made["id"] not in [mission["id"] for mission in await get(owner, MISSIONS)]
        assert await get(owner, f"{MISSIONS}/current") is None
        for verb in ("load", "cancel"):
            assert (await ask(owner, "POST", f"{path}/{verb}")).status == 404

    async def test_a_running_one_is_409(self, owner: ClientSession) -> None:
        made = await create(owner, title="busy")
        await send(owner, made["id"], "sleep 30")
        answer = await ask(owner, "DELETE", f"{MISSIONS}/{made['id']}")
        assert (answer.status, answer.headers["Content-Type"]) == (409, "text/plain; charset=utf-8")
        await post(owner, f"{MISSIONS}/{made['id']}/cancel")
        await until_status(owner, made["id"], "interrupted")
        assert (await ask(owner, "DELETE", f"{MISSIONS}/{made['id']}")).status == 200

    async def test_cleanup_removes_the_untitled_ones_that_were_never_used(self, owner: ClientSession) -> None:
        used = await talked(owner, "say hello there")
        titled = await create(owner, title="kept")
        unused = await create(owner)
        done = await post(owner, f"{MISSIONS}/cleanup")
        assert done["ok"] is True
        assert done["deleted_count"] >= 1
        left = [mission["id"] for mission in await get(owner, MISSIONS, limit=200)]
        assert used["id"] in left
        assert titled["id"] in left
        assert unused["id"] not in left
        assert await post(owner, f"{MISSIONS}/cleanup") == {"ok": True, "deleted_count": 0}


async def test_the_tree_shows_a_mission_and_its_children(owner: ClientSession) -> None:
    parent = await create(owner, title="the parent", agent="planner")
    child = await create(owner, title="the child", parent_mission_id=parent["id"], model_override="m/1")
    tree = await get(owner, f"{MISSIONS}/{parent['id']}/tree")
    keys = {"id", "type", "name", "description", "status", "budget_allocated", "budget_spent", "children"}
    for node in (tree, *tree["children"]):
        assert keys <= set(node)
        assert node["type"] == node["node_type"]
        assert node["status"] in ("pending", "running", "completed", "failed")
    assert (tree["id"], tree["name"], tree["description"]) == (parent["id"], "planner", "the parent")
    [leaf] = tree["children"]
    assert (leaf["id"], leaf["selected_model"], leaf["children"]) == (child["id"], "m/1", [])
    assert (await ask(owner, "GET", f"{MISSIONS}/{UNKNOWN}/tree")).status == 404


async def test_nothing_is_current_at_first(shared: Serving) -> None:
    async with ClientSession(shared.url, headers=await new_member(shared, "MEMBER")) as member:
        answer = await ask(member, "GET", f"{MISSIONS}/current")
    assert (answer.status, answer.text) == (200, "null")
