"""`missionstream tail`: live, on each transport, and across a server that dies and comes back."""

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from missionstream_client import Client
from tests.cli.conftest import Cli, Start
from tests.conftest import TOKEN, Serving


async def mission_with(url: str, message: str) -> str:
    async with Client(url, TOKEN) as client:
        mission = await client.create_mission("watched", backend="demo")
        await client.send(mission.id, message)
        return mission.id


@pytest.mark.parametrize("transport", ["sse", "ws", "poll"])
async def test_json_lines_are_the_log(cli: Cli, as_owner: Serving, transport: str) -> None:
    mission_id = await mission_with(as_owner.url, "run echo tail")
    result = await cli("tail", mission_id, "--since", "0", "--until-idle", "--json", "--transport", transport)
    assert result.code == 0
    events = result.lines
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert all(event["id"] == event["position"] for event in events)
    assert events[-1]["metadata"]["status"] == "completed"
    assert f"{len(events)} events, 0 gaps, 0 duplicates, 0 reconnects" in result.err


async def test_people_see_commands_outputs_and_words(cli: Cli, as_owner: Serving) -> None:
    mission_id = await mission_with(as_owner.url, "run echo one; echo two\nsay That was all.")
    result = await cli("tail", mission_id, "--since", "0", "--until-idle")
    lines = [line.split(maxsplit=2)[1:] for line in result.out.splitlines()]
    assert ["1", "created   watched  (demo)"] in lines
    assert any(rest[-1].split(maxsplit=1) == ["tool", "$ echo one; echo two"] for rest in lines)
    assert "\n" + " " * 27 + "two\n" in result.out
    assert "That was all." in result.out


async def test_a_tail_goes_on_from_the_cursor_that_it_ended_with(cli: Cli, as_owner: Serving) -> None:
    mission_id = await mission_with(as_owner.url, "say first")
    before = await cli("tail", mission_id, "--since", "0", "--until-idle", "--json")
    cursor = before.err.rpartition("cursor ")[2].strip()
    async with Client(as_owner.url, TOKEN) as client:
        await client.send(mission_id, "say second")
    after = await cli("tail", mission_id, "--since", cursor, "--until-idle", "--json", "--transport", "ws")
    assert after.lines[0]["sequence"] == before.lines[-1]["sequence"] + 1
    by_number = await cli("tail", mission_id, "--since", str(before.lines[-1]["sequence"]), "--until-idle", "--json")
    assert by_number.out == after.out


async def test_a_mission_at_rest_shows_its_last_events_and_ends(cli: Cli, as_owner: Serving) -> None:
    mission_id = await mission_with(as_owner.url, "say done")
    await cli("tail", mission_id, "--until-idle")
    last = await cli("tail", mission_id, "--until-idle", "--last", "2", "--json")
    assert (last.code, len(last.lines)) == (0, 2)
    nothing = await cli("tail", mission_id, "--until-idle", "--last", "0")
    assert (nothing.code, nothing.out) == (0, "")


async def test_the_workspace_names_its_missions(start: Start, as_owner: Serving) -> None:
    first = await mission_with(as_owner.url, "say hello")
    running = await start("tail", "--since", "0")
    assert await running.line() == f"── {first}  watched"
    second = await mission_with(as_owner.url, "say again")
    await running.until(f"── {second}  watched")
    running.process.send_signal(signal.SIGINT)
    ended = await running.ended()
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert "0 gaps" in ended.err


async def test_signals_are_lines_of_their_own(start: Start, as_owner: Serving) -> None:
    mission_id = await mission_with(as_owner.url, "say begun\nsleep 30")
    running = await start("tail", mission_id, "--json", "--signals")
    found = json.loads(await running.until('"text_delta"'))
    assert (found["signal"], found["content"]) == (True, "begun")
    assert "sequence" not in found


async def test_a_lost_cursor_is_told_and_is_5(cli: Cli, as_owner: Serving) -> None:
    mission_id = await mission_with(as_owner.url, "say hello")
    result = await cli("tail", mission_id, "--since", "0123456789abcdef:1")
    assert result.code == 5
    assert "--since 0" in result.err


async def test_a_tail_survives_a_server_that_is_killed(start: Start, server_process: Callable[..., Any]) -> None:
    async with server_process() as url:
        mission_id = await mission_with(url, "say before\nsleep 60")
        running = await start("tail", mission_id, "--since", "0", "--json", "--url", url, "--token", TOKEN)
        seen = [json.loads(await running.until("user_message"))]
    async with server_process(int(url.rpartition(":")[2])) as again:
        assert again == url
        seen.append(json.loads(await running.until('"interrupted"')))
        async with Client(url, TOKEN) as client:
            await client.send(mission_id, "say after")
        await running.until('"completed"')
        running.process.send_signal(signal.SIGINT)
        ended = await running.ended()
        async with Client(url, TOKEN) as client:
            total = (await client.events(mission_id)).max_sequence
    assert ended.code == 130
    assert "reconnecting: " in ended.err
    assert "resumed: going on from " in ended.err
    assert f"{total} events, 0 gaps, 0 duplicates, 1 reconnects" in ended.err
