"""A crew of demo agents on a server of its own, over HTTP alone."""

from collections.abc import Mapping
from typing import Any

from aiohttp import ClientSession

from server.dialects.crew import ids


async def made(http: ClientSession, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a POST gives; it must go well."""
    async with http.post(f"/api/v1{path}", json=body) as answer:
        assert answer.status in (200, 201), await answer.text()
        made: dict[str, Any] = await answer.json()
        return made


async def a_crew(http: ClientSession) -> tuple[str, str]:
    """The ids of a crew with two agents, and of its LEAD."""
    crew = (await made(http, "/crews", {"name": "Crew", "slug": "crew"}))["id"]
    body = {"name": "Lead", "slug": "lead", "crew_id": crew, "agent_role": "LEAD", "cli_adapter": "DEMO"}
    lead = (await made(http, "/agents", body))["id"]
    for name in ("Ann", "Bob"):
        body = {"name": name, "slug": name.lower(), "crew_id": crew, "cli_adapter": "DEMO"}
        await made(http, "/agents", body)
    return crew, lead


async def events_of(http: ClientSession, mission_id: str) -> list[dict[str, Any]]:
    """All events of a mission."""
    found: list[dict[str, Any]] = []
    while True:
        since = found[-1]["sequence"] if found else 0
        async with http.get(
            f"/api/control/missions/{uuid_of(mission_id)}/events", params={"since_seq": since}
        ) as answer:
            page = await answer.json()
        if not page:
            return found
        found += page


def uuid_of(spelled: str) -> str:
    read = ids.read(spelled)
    assert read is not None
    return str(read)
