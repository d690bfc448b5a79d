"""`missionstream missions` against a server."""

from missionstream_client import Client
from tests.cli.conftest import Cli
from tests.conftest import TOKEN, Serving


async def test_a_mission_is_made_given_work_and_shown(cli: Cli, as_owner: Serving) -> None:
    made = await cli("missions", "create", "tidy up", "--message", "run echo swept")
    mission_id = made.out.strip()
    assert made.code == 0
    assert f"missionstream tail {mission_id}" in made.err
    watched = await cli("tail", mission_id, "--until-idle", "--since", "0")
    assert watched.code == 0
    shown = await cli("missions", "show", mission_id)
    assert [words in shown.out for words in ("tidy up", mission_id, "completed", "$ echo swept", "swept")] == [True] * 5
    as_json = (await cli("missions", "show", mission_id, "--json")).json
    assert as_json["mission"]["status"] == "completed"
    assert as_json["events"][0]["event_type"] == "user_message"
    listed = await cli("missions", "list", "--status", "completed")
    assert mission_id in listed.out
    assert [row["id"] for row in (await cli("missions", "list", "--json")).json] == [mission_id]
    assert (await cli("missions", "list", "--json", "--status", "failed")).json == []


async def test_a_message_to_a_busy_mission_is_queued_and_cancel_drops_it(cli: Cli, as_owner: Serving) -> None:
    made = (await cli("missions", "create", "--backend", "demo", "--message", "sleep 30", "--json")).json
    assert made["message_id"]
    queued = await cli("missions", "send", made["id"], "say more", "--json")
    assert queued.json["queued"] is True
    cancelled = await cli("missions", "cancel", made["id"])
    assert cancelled.code == 0
    watched = await cli("tail", made["id"], "--until-idle", "--json")
    assert watched.code == 1
    assert watched.lines[-1]["metadata"]["status"] == "interrupted"
    nothing = await cli("missions", "cancel", made["id"])
    assert nothing.code == 3


async def test_a_key_makes_a_message_count_once(cli: Cli, as_owner: Serving) -> None:
    mission_id = (await cli("missions", "create")).out.strip()
    key = "3e0dbe5e-6d5b-4fd1-9d09-1f0a8a0f2a77"
    first = await cli("missions", "send", mission_id, "say once", "--key", key, "--json")
    second = await cli("missions", "send", mission_id, "say once", "--key", key, "--json")
    assert first.json == second.json == {"id": key, "queued": False}
    async with Client(as_owner.url, TOKEN) as client:
        page = await client.events(mission_id, types=["user_message"])
    assert len(page.events) == 1


async def test_an_unknown_backend_is_a_usage_error(cli: Cli, as_owner: Serving) -> None:
    result = await cli("missions", "create", "--backend", "abacus")
    assert (result.code, result.out) == (2, "")
    assert "Unknown backend: abacus" in result.err
