"""What control's routes do to a crew's mission takes what crew's own routes take."""

import pytest
from aiohttp import ClientSession

from streams.event import Draft
from tests.conftest import Serving
from tests.dialects.crew.people import Person, Team, a_slug, scoped
from tests.dialects.crew.world import Crew, uuid

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_members_and_narrow_tokens_cancel_no_crews_mission(shared: Serving, team: Team, crew: Crew) -> None:
    mission = await crew.started()
    path = f"/api/control/missions/{uuid(mission)}"
    headers = await scoped(shared, team.workspace_id, "OWNER", "missions:*")
    async with ClientSession(shared.url, headers=headers) as http:
        for person in (team["MEMBER"], Person(http, team.workspace_id)):
            denied = await person.ask("POST", f"{path}/cancel")
            assert denied.status == 403
            assert (await person.ask("POST", f"{path}/tasks", {"title": "mine"})).status == 403
    assert (await crew.get(mission))["status"] == "IN_PROGRESS"
    assert (await team["MANAGER"].ask("POST", f"{path}/cancel")).status == 200
    assert (await crew.get(mission))["status"] == "CANCELLED"


async def test_a_crews_agent_is_answered_by_whom_may_approve(shared: Serving, team: Team, crew: Crew) -> None:
    mission, question = await crew.mission(), a_slug("question")
    asked = Draft(type="tool_call", tool_call_id=question, tool_name="question", content="{}")
    await shared.core.writers.record(team.workspace_id, uuid(mission), [asked])
    answer = {"tool_call_id": question, "name": "question", "result": {"answer": "allow"}}
    denied = await team["MEMBER"].ask("POST", "/api/control/tool_result", answer)
    assert denied.status == 403
    given = await team["MANAGER"].ask("POST", "/api/control/tool_result", answer)
    assert given.json == {"ok": True, "delivered": True}


async def test_members_keep_their_hands_on_control_missions(team: Team) -> None:
    member = team["MEMBER"]
    made = await member.post("/api/control/missions", {"title": "own", "backend": "demo"}, 200)
    task = await member.ask("POST", f"/api/control/missions/{made['id']}/tasks", {"title": "mine"})
    assert (task.status, task.json["title"]) == (200, "mine")
