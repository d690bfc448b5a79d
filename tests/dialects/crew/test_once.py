"""Idempotency-Key on every POST of missions: a repeat gets the first answer, whatever has happened since."""

import asyncio
import io
import json
import re
from collections import Counter
from typing import Any

import pytest

from server.dialects.crew.body import INVALID, TOO_LARGE
from server.dialects.crew.ids import spell
from server.dialects.crew.routes import MISSIONS
from server.routing import Route
from tests.dialects.control.driving import Answer, ask
from tests.dialects.crew.people import Team, a_slug
from tests.dialects.crew.world import WAYS, Crew, refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")
POSTS = [route for route in MISSIONS if route.method == "POST"]
STATUS = {"start": "PLANNING", "restart": "FAILED", "resume": "FAILED"}
BODIES: dict[str, Any] = {"tasks": {"title": "t"}, "approve": {"approved": True}, "checkpoints": {"label": "l"}}


def verb(route: Route) -> str:
    return route.path.rsplit("/", 1)[1]


async def scene(crew: Crew, route: Route) -> tuple[str, Any, dict[str, Any]]:
    """A path of the route that will succeed once, the body for it, and the mission."""
    mission = await crew.started() if verb(route) == "approve" else await crew.mission()
    if verb(route) == "approve":
        task = await crew.awaiting(mission)
    else:
        task = await crew.task(mission, "FAILED")
        await crew.moved(mission, *WAYS[STATUS.get(verb(route), "PLANNING")])
    path = route.path.replace("{crewId}", crew.id).replace("{missionId}", mission["id"]).replace("{taskId}", task["id"])
    if "{checkpointId}" in path:
        checkpoint = await crew.boss.post(f"/api/v1/missions/{mission['id']}/checkpoints", None)
        path = path.replace("{checkpointId}", checkpoint["id"])
    body = {"title": "t", "lead_agent_id": crew.lead} if verb(route) == "missions" else BODIES.get(verb(route))
    return path, body, mission


async def head(crew: Crew) -> int:
    return (await crew.shared.core.log.head(crew.boss.workspace_id)).head


@pytest.mark.parametrize("route", POSTS, ids=verb)
async def test_a_repeat_gets_the_first_answer_and_does_nothing(crew: Crew, route: Route) -> None:
    path, body, _ = await scene(crew, route)
    key = a_slug("key")

    async def ask() -> Answer:
        return await crew.boss.ask("POST", path, body, Idempotency_Key=key)

    answers = await asyncio.gather(*(ask() for _ in range(10)))
    before = await head(crew)
    answers.append(await ask())
    assert len({(answer.status, answer.text) for answer in answers}) == 1, Counter(answer.status for answer in answers)
    assert answers[0].status in (200, 201)
    assert await head(crew) == before


@pytest.mark.parametrize("route", POSTS, ids=verb)
async def test_one_key_stands_for_one_wish_of_one_person(crew: Crew, team: Team, route: Route) -> None:
    path, body, _ = await scene(crew, route)
    key = a_slug("key")
    first = await crew.boss.ask("POST", path, body, Idempotency_Key=key)
    other = await crew.boss.ask("POST", path, {"title": "another", "approved": False}, Idempotency_Key=key)
    assert refusal(other) == (422, "This idempotency key was used for a different request.")
    somebody = await team["ADMIN"].ask("POST", path, body, Idempotency_Key=key)
    assert somebody.text != first.text or verb(route) in ("resume", "restart", "start")
    for wrong in ("", "x" * 256):
        answer = await crew.boss.ask("POST", path, body, Idempotency_Key=wrong)
        assert refusal(answer) == (400, "an Idempotency-Key has 1 to 255 characters")


async def test_the_first_answer_outlives_what_it_was_about(crew: Crew) -> None:
    mission, key = await crew.mission(), a_slug("key")
    task = await crew.act(mission, "tasks", {"title": "t"}, Idempotency_Key=key)
    await crew.moved(mission, "CANCELLED")
    again = await crew.act(mission, "tasks", {"title": "t"}, Idempotency_Key=key)
    assert (again.status, again.text) == (201, task.text)
    assert (await crew.boss.ask("DELETE", crew.path(mission))).status == 204
    again = await crew.act(mission, "tasks", {"title": "t"}, Idempotency_Key=key)
    assert (again.status, again.text) == (201, task.text)


async def test_a_refusal_is_not_kept(crew: Crew) -> None:
    mission, key = await crew.mission("REVIEW"), a_slug("key")
    assert (await crew.act(mission, "start", Idempotency_Key=key)).status == 400
    await crew.moved(mission, "CANCELLED")
    assert (await crew.act(mission, "restart")).status == 200
    assert (await crew.act(mission, "start", Idempotency_Key=key)).status == 200


async def test_who_may_not_act_gets_no_first_answer(crew: Crew, team: Team) -> None:
    mission, key = await crew.mission(), a_slug("key")
    assert (await crew.act(mission, "start", Idempotency_Key=key)).status == 200
    answer = await team["VIEWER"].ask("POST", crew.path(mission) + "/start", Idempotency_Key=key)
    assert refusal(answer) == (403, "Forbidden")


@pytest.mark.parametrize("megabytes", [1.5, 3])
@pytest.mark.parametrize("key", [None, "key"])
async def test_a_large_body_is_as_wrong_with_a_key_as_without(crew: Crew, megabytes: float, key: str | None) -> None:
    """Where a body is read it is refused with 400; moves take no notice of it."""
    body = json.dumps({"title": "x" * int(megabytes * (1 << 20)), "lead_agent_id": crew.lead}).encode()
    mission = await crew.mission()
    here = {"X-Workspace-ID": spell(crew.boss.workspace_id)}
    for path, expected in (
        (crew.missions, 400),
        (crew.path(mission) + "/tasks", 400),
        (crew.path(mission) + "/start", 200),
    ):
        headers = here if key is None else {**here, "Idempotency-Key": a_slug(key)}
        for _ in range(1 if key is None else 2):
            answer = await ask(crew.boss.http, "POST", path, data=io.BytesIO(body), headers=headers)
            assert answer.status == expected, answer
            if expected == 400:
                assert (answer.json["error"], answer.json["data"]) == (INVALID, {"reason": TOO_LARGE})


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_clone_takes_no_title_from_a_body_that_cannot_be_had(crew: Crew, keyed: bool) -> None:
    mission = await crew.mission(title="boat")
    headers = {"X-Workspace-ID": spell(crew.boss.workspace_id)} | ({"Idempotency-Key": a_slug("k")} if keyed else {})
    body = io.BytesIO(b'{"title":"' + b"x" * (3 << 20) + b'"}')
    answer = await ask(crew.boss.http, "POST", crew.path(mission) + "/clone", data=body, headers=headers)
    assert answer.status == 201
    assert (await crew.get(answer.json))["title"] == "boat (copy)"


@pytest.mark.parametrize("route", POSTS, ids=verb)
async def test_a_key_on_a_path_of_nothing_is_no_failure_of_ours(crew: Crew, route: Route) -> None:
    for strange in ("%00", "%ED%A0%80", "ü", "%2F"):
        path = re.sub(r"\{[^}]*\}", strange, route.path)
        answer = await crew.boss.ask(
            "POST", path, {"title": "t", "lead_agent_id": crew.lead, "approved": True}, Idempotency_Key="k"
        )
        assert answer.status in (400, 404), answer
