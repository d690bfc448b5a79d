"""Agents of crews: what they look like, one lead for each crew, and what is refused."""

import asyncio
from typing import Any

import pytest

from server.agents.backends import PROFILES
from server.crews import forms
from server.dialects.crew.ids import read, spell
from tests.conftest import Serving
from tests.dialects.crew.people import AGENTS, CREWS, Person, Team, a_slug
from tests.dialects.crew.world import Crew, uuid

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_lead_is_made_with_its_defaults(boss: Person) -> None:
    crew = await boss.crew(name="Watch", color="blue", avatar_style="bottts")
    slug = a_slug("lead")
    lead = await boss.post(AGENTS, {"name": "Lead", "slug": slug, "crew_id": crew["id"], "agent_role": "LEAD"})
    assert lead == {
        "id": lead["id"],
        "crew_id": crew["id"],
        "workspace_id": spell(boss.workspace_id),
        "name": "Lead",
        "slug": slug,
        "description": None,
        "role_title": None,
        "agent_role": "LEAD",
        "lead_mode": "active",
        "status": "IDLE",
        "cli_adapter": "CLAUDE_CODE",
        "llm_provider": None,
        "llm_model": None,
        "model": None,
        "system_prompt": None,
        "avatar_seed": None,
        "avatar_style": None,
        "tool_profile": "CODING",
        "timeout_seconds": 1800,
        "memory_enabled": False,
        "created_at": lead["created_at"],
        "updated_at": lead["created_at"],
        "crew": {
            "id": crew["id"],
            "name": "Watch",
            "slug": crew["slug"],
            "color": "blue",
            "avatar_style": "bottts",
        },
        "_count": {"skills": 0, "credentials": 0, "chats": 0},
    }
    assert await boss.get(f"{AGENTS}/{lead['id']}") == lead
    assert await boss.get(f"{AGENTS}/{read(lead['id'])}") == lead
    assert (await boss.get(f"{CREWS}/{crew['id']}"))["_count"]["agents"] == 1


async def test_an_agent_needs_no_crew_and_has_no_mode(boss: Person) -> None:
    agent = await boss.agent(lead_mode="passive", crew_id="")
    assert (agent["agent_role"], agent["lead_mode"], agent["crew_id"], agent["crew"]) == ("AGENT", None, None, None)


async def test_what_clients_send_is_kept(boss: Person) -> None:
    sent = {
        "description": "paints",
        "role_title": "Painter",
        "cli_adapter": "DEMO",
        "llm_provider": "ANTHROPIC",
        "model": "a-model",
        "system_prompt": "You paint.",
        "avatar_seed": "x",
        "avatar_style": "bottts",
        "tool_profile": "FULL",
        "timeout_seconds": 60,
        "memory_enabled": True,
    }
    agent = await boss.agent(**sent, schedule_cron="* * * * *")
    assert {name: agent[name] for name in sent} == sent
    assert agent["llm_model"] == "a-model"
    assert (await boss.agent(llm_model="another"))["model"] == "another"
    assert (await boss.agent(timeout_seconds=0, cli_adapter=""))["timeout_seconds"] == 1800


@pytest.mark.parametrize("adapter", forms.ADAPTERS)
async def test_every_adapter_has_a_backend_of_ours_or_none(boss: Person, adapter: str) -> None:
    assert (await boss.agent(cli_adapter=adapter))["cli_adapter"] == adapter
    assert forms.ADAPTERS[adapter] in {*PROFILES, None}


async def test_other_names_of_adapters_are_understood(boss: Person) -> None:
    assert (await boss.agent(cli_adapter="CODEX_CLI"))["cli_adapter"] == "CODEX"
    assert (await boss.agent(cli_adapter="GEMINI_CLI"))["cli_adapter"] == "GEMINI"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": "x"}, "name must be between 2 and 100 characters"),
        ({"slug": "A"}, "slug must be 2 to 50"),
        ({"agent_role": "LEAD"}, "LEAD role requires crew_id"),
        ({"agent_role": "LEAD", "crew_id": ""}, "LEAD role requires crew_id"),
        ({"agent_role": "COORDINATOR"}, "agent_role must be AGENT or LEAD"),
        ({"lead_mode": "lazy"}, "lead_mode must be 'active' or 'passive'"),
        ({"cli_adapter": "TELEX"}, "cli_adapter must be one of CLAUDE_CODE, OPENCODE"),
        ({"tool_profile": "ALL"}, "tool_profile must be one of MINIMAL, CODING, FULL"),
        ({"timeout_seconds": -1}, "timeout_seconds must be between 1 and 86400"),
        ({"crew_id": "nothing"}, "Crew not found"),
        ({"memory_enabled": 1}, "Invalid JSON body"),
        ({"system_prompt": "x" * 100_001}, "Invalid JSON body"),
    ],
)
async def test_what_no_agent_can_be_is_400_and_makes_nothing(boss: Person, fields: dict[str, Any], text: str) -> None:
    before = len(await boss.get(AGENTS + "?limit=500"))
    answer = await boss.ask("POST", AGENTS, {"name": "An agent", "slug": a_slug("bad"), **fields})
    assert answer.status == 400
    assert answer.json["error"].startswith(text)
    assert len(await boss.get(AGENTS + "?limit=500")) == before
    agent = await boss.agent()
    changed = await boss.ask("PATCH", f"{AGENTS}/{agent['id']}", fields)
    assert (changed.status, changed.json["error"]) == (400, answer.json["error"])
    assert await boss.get(f"{AGENTS}/{agent['id']}") == agent


async def test_a_crew_has_one_lead(boss: Person) -> None:
    crew, other = await boss.crew(), await boss.crew()
    lead = await boss.agent(crew_id=crew["id"], agent_role="LEAD")
    worker = await boss.agent(crew_id=crew["id"])
    elsewhere = await boss.agent(crew_id=other["id"], agent_role="LEAD")
    for answer in (
        await boss.ask(
            "POST", AGENTS, {"name": "Two", "slug": a_slug("two"), "crew_id": crew["id"], "agent_role": "LEAD"}
        ),
        await boss.ask("PATCH", f"{AGENTS}/{worker['id']}", {"agent_role": "LEAD"}),
        await boss.ask("PATCH", f"{AGENTS}/{elsewhere['id']}", {"crew_id": crew["id"]}),
    ):
        assert (answer.status, answer.json["error"]) == (409, "Crew already has a lead agent")
    assert (await boss.ask("DELETE", f"{AGENTS}/{lead['id']}")).status == 204
    promoted = (await boss.ask("PATCH", f"{AGENTS}/{worker['id']}", {"agent_role": "LEAD"})).json
    assert (promoted["agent_role"], promoted["lead_mode"]) == ("LEAD", "active")
    back = (await boss.ask("PATCH", f"{AGENTS}/{worker['id']}", {"agent_role": "AGENT"})).json
    assert (back["agent_role"], back["lead_mode"]) == ("AGENT", None)


async def test_of_leads_that_come_at_once_one_is_made(boss: Person) -> None:
    for _ in range(4):
        crew = await boss.crew()
        bodies = [
            {"name": "Lead", "slug": a_slug("lead"), "crew_id": crew["id"], "agent_role": "LEAD"} for _ in range(6)
        ]
        answers = await asyncio.gather(*(boss.ask("POST", AGENTS, body) for body in bodies))
        assert sorted(answer.status for answer in answers) == [201] + [409] * 5
        assert {answer.json["error"] for answer in answers if answer.status == 409} == {"Crew already has a lead agent"}
        assert len(await boss.get(f"{AGENTS}?crew_id={crew['id']}")) == 1


async def test_a_slug_is_one_agents_in_the_workspace_until_it_is_deleted(boss: Person) -> None:
    crew = await boss.crew()
    agent, other = await boss.agent(), await boss.agent(crew_id=crew["id"])
    for answer in (
        await boss.ask("POST", AGENTS, {"name": "Again", "slug": agent["slug"], "crew_id": crew["id"]}),
        await boss.ask("PATCH", f"{AGENTS}/{other['id']}", {"slug": agent["slug"]}),
    ):
        assert (answer.status, answer.json["error"]) == (409, "Agent slug already taken in this workspace")
    await boss.ask("DELETE", f"{AGENTS}/{agent['id']}")
    assert (await boss.agent(slug=agent["slug"]))["id"] != agent["id"]


async def test_the_first_page_has_the_leads(team: Team) -> None:
    outsider = team["outsider"]._replace(workspace_id=team.elsewhere)
    crew = await outsider.crew()
    workers = [(await outsider.agent(crew_id=crew["id"]))["id"] for _ in range(3)]
    loner = (await outsider.agent())["id"]
    lead = (await outsider.agent(crew_id=crew["id"], agent_role="LEAD"))["id"]
    assert [row["id"] for row in await outsider.get(AGENTS)] == [lead, *workers, loner]
    assert [row["id"] for row in await outsider.get(f"{AGENTS}?crew_id={crew['id']}")] == [lead, *workers]
    answer = await outsider.ask("GET", f"{AGENTS}?limit=1&offset=1")
    assert ([row["id"] for row in answer.json], answer.headers["X-Total-Count"]) == ([workers[0]], "5")
    assert await outsider.get(f"{AGENTS}?crew_id=nothing") == []


async def test_an_agent_shows_its_crew_as_it_is_now(boss: Person) -> None:
    crew = await boss.crew(name="Before")
    agent = await boss.agent(crew_id=crew["id"])
    await boss.ask("PATCH", f"{CREWS}/{crew['id']}", {"name": "After"})
    assert (await boss.get(f"{AGENTS}/{agent['id']}"))["crew"]["name"] == "After"
    moved = (await boss.ask("PATCH", f"{AGENTS}/{agent['id']}", {"crew_id": ""})).json
    assert (moved["crew_id"], moved["crew"]) == (None, None)


async def test_names_are_known_after_the_agent_is_deleted(shared: Serving, team: Team, boss: Person) -> None:
    agent = await boss.agent(name="Gone")
    agent_id = read(agent["id"])
    assert agent_id is not None
    await boss.ask("DELETE", f"{AGENTS}/{agent['id']}")
    called = shared.core.crew_missions.called
    assert await called(team.workspace_id, agent_id) == ("Gone", agent["slug"])
    assert await called(team.elsewhere, agent_id) is None


async def test_a_repeated_key_gets_the_first_agent_even_after_its_crew_is_gone(boss: Person) -> None:
    crew = await boss.crew()
    body = {"name": "Once", "slug": a_slug("once"), "crew_id": crew["id"]}
    first = await boss.post(AGENTS, body, Idempotency_Key="agent")
    await boss.ask("DELETE", f"{CREWS}/{crew['id']}")
    assert await boss.post(AGENTS, body, Idempotency_Key="agent") == first
    assert (await boss.ask("POST", AGENTS, {**body, "name": "Other"}, Idempotency_Key="agent")).status == 422


async def test_a_run_goes_on_being_its_agents_when_the_task_is_given_to_another(crew: Crew) -> None:
    async def statuses() -> dict[str, str]:
        return {row["id"]: row["status"] for row in await crew.boss.get(f"{AGENTS}?crew_id={crew.id}")}

    mission = await crew.started()
    task = await crew.task(mission, assigned_agent_id=crew.worker)
    run = await crew.worked(mission, task)
    await crew.patch(mission, task, assigned_agent_id=crew.lead)
    assert await statuses() == {crew.lead: "IDLE", crew.worker: "RUNNING"}
    assert (await crew.boss.get(f"{AGENTS}/{crew.worker}"))["status"] == "RUNNING"
    await crew.patch(mission, task, status="COMPLETED")
    assert set((await statuses()).values()) == {"IDLE"}
    events = await crew.boss.get(f"/api/control/missions/{uuid(mission)}/events?types=run_ended")
    assert [(row["metadata"]["run_id"], row["metadata"]["agent_id"]) for row in events] == [
        (str(run), str(read(crew.worker)))
    ]
