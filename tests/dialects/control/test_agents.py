"""`agent` over HTTP: what it may be, what a message overrides, and that the agent is really told."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from tests.agents.conftest import SCRIPT_HEAD
from tests.agents.test_modes import OFFERS
from tests.conftest import fresh_database, serving_on
from tests.dialects.control.driving import MISSIONS, Answer, ask, create, events, get, post, send, until_status

pytestmark = pytest.mark.asyncio(loop_scope="module")
NEEDS = "gemini's agent yolo acts without asking, which needs the permission_policy allow_all, not {}; change one of the two first"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClientSession]:
    """A server whose gemini is a small agent that says in which mode it works."""
    folder, programs = tmp_path_factory.mktemp("agents"), tmp_path_factory.mktemp("programs")
    folder.chmod(0o711)
    script = programs / "agent.py"
    script.write_text(SCRIPT_HEAD + OFFERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MISSIONSTREAM_BACKEND_GEMINI_COMMAND", f"{sys.executable} {script}")
        patch.setenv("MISSIONSTREAM_AGENT_READABLE", str(programs))
        patch.setenv("GEMINI_API_KEY", "sk-secret")
        async with (
            fresh_database(cluster) as connect,
            serving_on(connect, Path(folder)) as server,
            ClientSession(server.url, headers=server.headers) as session,
        ):
            yield session


async def refused(http: ClientSession, path: str, body: dict[str, Any]) -> Answer:
    return await ask(http, "POST", path, json=body)


async def said(http: ClientSession, mission: dict[str, Any], **message: Any) -> str:
    """The agent's answer to one more message."""
    await send(http, mission["id"], "go", **message)
    done = await until_status(http, mission["id"], "completed")
    return str(done["history"][-1]["content"])


async def test_the_agent_works_as_the_mission_says_and_as_a_message_says_instead(http: ClientSession) -> None:
    mission = await create(http, backend="gemini", agent="plan")
    assert mission["agent"] == "plan"
    assert await said(http, mission) == "in mode plan"
    assert await said(http, mission, agent="default") == "in mode default"
    assert await said(http, mission) == "in mode plan"
    assert (await get(http, f"{MISSIONS}/{mission['id']}"))["agent"] == "plan"


async def test_a_mission_that_names_none_works_as_its_backend_does(http: ClientSession) -> None:
    assert await said(http, await create(http, backend="gemini")) == "in mode default"


async def test_the_settings_change_the_agent_and_take_it_back(http: ClientSession) -> None:
    mission = await create(http, backend="gemini")
    path = f"{MISSIONS}/{mission['id']}/settings"
    assert (await post(http, path, {"agent": "plan"}))["agent"] == "plan"
    assert await said(http, mission) == "in mode plan"
    assert "agent" not in await post(http, path, {"agent": None})
    assert await said(http, mission) == "in mode default"
    changes = [row["metadata"] for row in await events(http, mission["id"], types="mission_settings_updated")]
    assert changes == [{"agent": "plan"}, {"agent": None}]


async def test_an_unknown_agent_is_400_with_the_choices(http: ClientSession) -> None:
    mission = await create(http, backend="gemini")
    text = "Unknown agent for gemini: Sisyphus; one of default, plan, autoEdit, yolo"
    message = {"content": "go", "mission_id": mission["id"], "agent": "Sisyphus"}
    for path, body in (
        (MISSIONS, {"backend": "gemini", "agent": "Sisyphus"}),
        ("/api/control/message", message),
        (f"{MISSIONS}/{mission['id']}/settings", {"agent": "Sisyphus"}),
    ):
        answer = await refused(http, path, body)
        assert (answer.status, answer.text) == (400, text)
    assert await events(http, mission["id"], types="user_message") == []


async def test_an_agent_that_asks_nobody_needs_its_policy_everywhere(http: ClientSession) -> None:
    mission = await create(http, backend="gemini", permission_policy="allow_reads")
    for path, body in (
        (MISSIONS, {"backend": "gemini", "agent": "yolo", "permission_policy": "allow_reads"}),
        ("/api/control/message", {"content": "go", "mission_id": mission["id"], "agent": "yolo"}),
        (f"{MISSIONS}/{mission['id']}/settings", {"agent": "yolo"}),
    ):
        answer = await refused(http, path, body)
        assert (answer.status, answer.text) == (409, NEEDS.format("allow_reads"))
    both = await post(http, f"{MISSIONS}/{mission['id']}/settings", {"agent": "yolo", "permission_policy": "allow_all"})
    assert (both["agent"], both["permission_policy"]) == ("yolo", "allow_all")
    assert await said(http, mission) == "in mode yolo"


async def test_the_policy_is_not_lowered_under_an_agent_that_asks_nobody(http: ClientSession) -> None:
    mission = await create(http, backend="gemini", agent="yolo", permission_policy="allow_all")
    answer = await refused(http, f"{MISSIONS}/{mission['id']}/settings", {"permission_policy": "ask"})
    assert (answer.status, answer.text) == (409, NEEDS.format("ask"))
    lowered = await post(http, f"{MISSIONS}/{mission['id']}/settings", {"permission_policy": "ask", "agent": "plan"})
    assert (lowered["agent"], lowered["permission_policy"]) == ("plan", "ask")


async def test_a_backend_without_modes_stores_and_shows_any_name(http: ClientSession) -> None:
    mission = await create(http, backend="demo", agent=" Sisyphus ")
    assert mission["agent"] == "Sisyphus"
    assert await said(http, mission, agent="Hydra")
    [message] = await events(http, mission["id"], types="user_message")
    assert message["metadata"]["agent"] == "Hydra"


async def test_the_backends_tell_their_agents_and_what_is_installed(http: ClientSession) -> None:
    agents = await get(http, "/api/backends/gemini/agents")
    assert [agent["id"] for agent in agents] == ["default", "plan", "autoEdit", "yolo"]
    config = await get(http, "/api/backends/gemini/config")
    assert (config["cli_available"], config["key_present"], config["permission_policy"]) == (True, True, "ask")
    assert config["key_names"] == ["GEMINI_API_KEY", "GOOGLE_API_KEY"]
    assert "sk-secret" not in str(config)
    assert config["install"] == "npm install -g @google/gemini-cli"
    demo = await get(http, "/api/backends/demo/config")
    assert (demo["cli_available"], demo["key_present"], bool(demo["version"])) == (True, True, True)
