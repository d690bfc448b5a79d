"""A mission under each permission policy, with the real demo agent: who is asked, what the log shows, what changes."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.conftest import fresh_database, serving_on
from tests.dialects.control.driving import MISSIONS, ask, create, events, get, post, send, until, until_status

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCRIPT = "permit read the log\npermit execute the plan\nsay finished"


def settings(mission: dict[str, Any]) -> str:
    return f"{MISSIONS}/{mission['id']}/settings"


async def questions(http: ClientSession, mission: dict[str, Any]) -> list[dict[str, Any]]:
    calls = await events(http, mission["id"], types="tool_call")
    return [call for call in calls if call["tool_name"] == "AskUserQuestion"]


async def grants(http: ClientSession, mission: dict[str, Any]) -> list[dict[str, Any]]:
    rows = await events(http, mission["id"], types="agent_event")
    return [row["metadata"] for row in rows if row["metadata"]["kind"] == "permission"]


async def answer(http: ClientSession, question: dict[str, Any], result: str) -> dict[str, Any]:
    body = {"tool_call_id": question["tool_call_id"], "name": question["tool_name"], "result": result}
    return await post(http, "/api/control/tool_result", body)


async def asked(http: ClientSession, mission: dict[str, Any], count: int) -> dict[str, Any]:
    """The question with this number, once it is asked."""
    found = await until(lambda: questions(http, mission), lambda rows: len(rows) == count)
    return found[-1]


async def test_by_default_every_request_waits_for_people(owner: ClientSession) -> None:
    mission = await create(owner, backend="demo")
    assert mission["permission_policy"] == "ask"
    await send(owner, mission["id"], SCRIPT)
    for number in (1, 2):
        question = await asked(owner, mission, number)
        running = await get(owner, "/api/control/running")
        assert [row["state"] for row in running if row["mission_id"] == mission["id"]] == ["waiting_for_tool"]
        assert (await answer(owner, question, "allow"))["delivered"] is True
    await until_status(owner, mission["id"], "completed")
    assert await grants(owner, mission) == []


async def test_reads_are_allowed_and_the_rest_is_asked(owner: ClientSession) -> None:
    mission = await create(owner, backend="demo", permission_policy="allow_reads")
    await send(owner, mission["id"], SCRIPT)
    question = await asked(owner, mission, 1)
    assert "the plan" in question["content"]
    await answer(owner, question, "no")
    done = await until_status(owner, mission["id"], "completed")
    assert "finished" not in done["history"][-1]["content"]
    [grant] = await grants(owner, mission)
    assert (grant["tool_kind"], grant["allowed_by"], grant["policy"]) == ("read", "policy", "allow_reads")
    results = await events(owner, mission["id"], types="tool_result")
    assert results[0]["tool_call_id"] == grant["tool_call_id"]
    assert results[0]["metadata"]["status"] == "completed"


async def test_under_allow_all_nobody_is_asked_and_the_log_shows_why(owner: ClientSession) -> None:
    mission = await create(owner, backend="demo", permission_policy="allow_all")
    await send(owner, mission["id"], SCRIPT)
    done = await until_status(owner, mission["id"], "completed")
    assert done["history"][-1]["content"] == "finished"
    assert await questions(owner, mission) == []
    assert [grant["tool_kind"] for grant in await grants(owner, mission)] == ["read", "execute"]


async def test_a_change_counts_in_the_turn_that_goes_on(owner: ClientSession) -> None:
    mission = await create(owner, backend="demo")
    await send(owner, mission["id"], SCRIPT)
    question = await asked(owner, mission, 1)
    changed = await post(owner, settings(mission), {"permission_policy": "allow_all"})
    assert (changed["permission_policy"], changed["status"]) == ("allow_all", "active")
    await answer(owner, question, "allow")
    await until_status(owner, mission["id"], "completed")
    assert len(await questions(owner, mission)) == 1
    assert [grant["tool_kind"] for grant in await grants(owner, mission)] == ["execute"]
    [event] = await events(owner, mission["id"], types="mission_settings_updated")
    assert event["metadata"] == {"permission_policy": "allow_all"}
    assert event["actor"]


async def test_a_change_to_less_counts_at_once_too(owner: ClientSession) -> None:
    mission = await create(owner, backend="demo", permission_policy="allow_all")
    await send(owner, mission["id"], "permit execute one\nsleep 0.5\npermit execute two")
    await until(lambda: grants(owner, mission), bool)
    await post(owner, settings(mission), {"permission_policy": "ask"})
    assert "two" in (await asked(owner, mission, 1))["content"]
    await post(owner, f"{MISSIONS}/{mission['id']}/cancel")
    await until_status(owner, mission["id"], "interrupted")


async def test_a_setting_that_stays_as_it_is_leaves_no_event(owner: ClientSession) -> None:
    mission = await create(owner, permission_policy="allow_reads")
    assert (await post(owner, settings(mission), {"permission_policy": "allow_reads"})) | {"history": []} == mission
    nothing = await ask(owner, "POST", settings(mission), json={})
    assert (nothing.status, nothing.text) == (422, "name at least one of agent, permission_policy and budget")
    assert await events(owner, mission["id"], types="mission_settings_updated") == []


@pytest.mark.parametrize("word", ["yolo", "ASK", "allow"])
async def test_an_unknown_policy_is_refused_with_the_list(owner: ClientSession, word: str) -> None:
    mission = await create(owner)
    text = f"unknown permission_policy '{word}'; one of ask, allow_reads, allow_all"
    for path in (settings(mission), MISSIONS):
        refused = await ask(owner, "POST", path, json={"permission_policy": word})
        assert (refused.status, refused.text) == (422, text)


async def test_the_backends_default_is_set_by_the_environment(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISSIONSTREAM_BACKEND_DEMO_PERMISSIONS", "allow_reads")
    async with fresh_database(cluster) as connect:
        async with (
            serving_on(connect, tmp_path, question_seconds=0.2) as server,
            ClientSession(server.url, headers=server.headers) as http,
        ):
            assert (await create(http))["permission_policy"] == "allow_reads"
            assert (await create(http, permission_policy="ask"))["permission_policy"] == "ask"
            # a question that nobody answers in time is a no, and says so
            mission = await create(http, permission_policy="ask")
            await send(http, mission["id"], SCRIPT)
            await until_status(http, mission["id"], "completed")
            [closing, rejected] = await events(http, mission["id"], types="tool_result")
            assert closing["tool_call_id"] == (await questions(http, mission))[0]["tool_call_id"]
            assert closing["content"] == '"Rejected: nobody answered within 0.2 s"'
            assert (closing["metadata"]["status"], rejected["metadata"]["status"]) == ("timed_out", "rejected")
        monkeypatch.setenv("MISSIONSTREAM_BACKEND_DEMO_PERMISSIONS", "sometimes")
        async with (
            serving_on(connect, tmp_path) as server,
            ClientSession(server.url, headers=server.headers) as http,
        ):
            refused = await ask(http, "POST", MISSIONS, json={"backend": "demo"})
            assert refused.status == 503
            assert refused.text.startswith(
                "MISSIONSTREAM_BACKEND_DEMO_PERMISSIONS is 'sometimes'; set it to one of ask"
            )
