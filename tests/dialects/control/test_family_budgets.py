"""A budget over a family of missions: what child missions use counts above them, and stops them."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

from aiohttp import ClientSession

from server.agents.budgets import Spent
from server.missions.control.below import CountBelow
from server.runs.families import Families
from server.runs.turn import Turn
from storage import housekeeping
from storage.missions import MissionRow, Missions
from tests.conftest import Serving, serving_on
from tests.dialects.control.driving import MISSIONS, ask, create, events, get, post, send, until, until_status


async def family(http: ClientSession, **budget: int) -> tuple[str, str, str]:
    """A mission with a budget, its child and its grandchild."""
    above = await create(http, backend="demo", title="above", budget=budget)
    child = await create(http, backend="demo", title="child", parent_mission_id=above["id"])
    grandchild = await create(http, backend="demo", title="grandchild", parent_mission_id=child["id"])
    return above["id"], child["id"], grandchild["id"]


async def mission_of(http: ClientSession, mission_id: str) -> dict[str, Any]:
    return await get(http, f"{MISSIONS}/{mission_id}")  # type: ignore[no-any-return]


async def spent_below(http: ClientSession, mission_id: str, tokens: int) -> dict[str, Any]:
    """The mission, once what is below it has used at least so much."""
    return await until(  # type: ignore[no-any-return]
        lambda: mission_of(http, mission_id), lambda row: row.get("usage_below", {}).get("total_tokens", 0) >= tokens
    )


async def types(http: ClientSession, mission_id: str, *wanted: str) -> list[str]:
    return [row["event_type"] for row in await events(http, mission_id, types=",".join(wanted))]


async def test_what_is_used_two_levels_below_counts_above_and_warns(http: ClientSession) -> None:
    above, child, grandchild = await family(http, tokens=1000)
    assert "usage_below" not in await mission_of(http, above)
    await send(http, grandchild, "spend 500 2.5")
    await until_status(http, grandchild, "completed")
    row = await spent_below(http, above, 500)
    assert (row["usage"]["turns"], row["usage_below"]["turns"], row["usage_below"]["cost_cents"]) == (0, 1, 2.5)
    assert await types(http, above, "budget_warning") == []
    await send(http, child, "spend 310 1")
    await until_status(http, child, "completed")
    row = await spent_below(http, above, 810)
    assert (row["usage_below"]["turns"], row["usage_below"]["cost_cents"]) == (2, 3.5)
    assert (await mission_of(http, child))["usage_below"]["turns"] == 1
    assert await types(http, above, "budget_warning", "budget_reached") == ["budget_warning"]
    tree = await get(http, f"{MISSIONS}/{above}/tree")
    assert tree["budget_spent"] == 4  # cents, rounded


async def test_a_turn_below_that_uses_the_budget_up_is_stopped_and_the_family_waits_for_a_raise(
    http: ClientSession,
) -> None:
    above, child, grandchild = await family(http, tokens=1000)
    await send(http, grandchild, "spend 1200\nsay begun\nsleep 60")
    await send(http, grandchild, "say too late")
    stopped = await until_status(http, grandchild, "interrupted")
    assert (stopped["terminal_reason"], stopped["usage"]["total_tokens"] >= 1200) == ("budget", True)
    [error] = await events(http, grandchild, types="error")
    assert error["content"].startswith(f"The budget of the mission above, {above}, is used up")
    assert stopped["history"][-1]["content"].startswith("begun")
    assert await types(http, grandchild, "messages_removed", "run_ended") == ["messages_removed", "run_ended"]
    row = await spent_below(http, above, 1200)
    assert row["budget"]["reached"] == ["tokens"]
    assert await types(http, above, "budget_reached") == ["budget_reached"]
    for mission_id in (child, grandchild):
        refused = await ask(http, "POST", "/api/control/message", json={"content": "say x", "mission_id": mission_id})
        assert (refused.status, refused.text) == (409, error["content"])
    refused = await ask(http, "POST", f"{MISSIONS}/{grandchild}/resume")
    assert (refused.status, refused.text) == (409, error["content"])
    refused = await ask(http, "POST", "/api/control/message", json={"content": "say x", "mission_id": above})
    assert refused.status == 409

    await post(http, f"{MISSIONS}/{above}/settings", {"budget": {"tokens": 5000}})
    await send(http, grandchild, "say at last")
    await until_status(http, grandchild, "completed")


async def test_turns_that_go_on_side_by_side_use_one_budget_up(http: ClientSession) -> None:
    above, child, grandchild = await family(http, tokens=1000)
    for mission_id in (above, child, grandchild):
        await send(http, mission_id, "spend 400\nsay begun\nsleep 60")
    for mission_id in (above, child, grandchild):
        assert (await until_status(http, mission_id, "interrupted"))["terminal_reason"] == "budget"
    assert (await mission_of(http, above))["budget"]["reached"] == ["tokens"]
    [error] = await events(http, above, types="error")
    assert error["content"].startswith("The mission's budget is used up: ")
    assert "9 of 1,000" not in error["content"]
    [reached] = await events(http, above, types="budget_reached")
    assert reached["content"].startswith("The budget is used up: 1,2")


async def test_a_repeated_message_gets_its_first_answer_also_when_the_budget_above_is_used_up(
    http: ClientSession,
) -> None:
    above, child, _ = await family(http, tokens=100)
    again = {"client_message_id": "018f0000-0000-7000-8000-0000000000aa"}
    first = await send(http, child, "spend 200", **again)
    await spent_below(http, above, 200)
    assert await send(http, child, "spend 200", **again) == first


async def test_what_waits_for_a_slot_below_a_used_up_budget_is_stopped_before_its_agent_starts(
    connect: dict[str, Any], data_dir: Path
) -> None:
    async with (
        serving_on(connect, data_dir, max_parallel_missions=1) as server,
        ClientSession(server.url, headers=server.headers) as http,
    ):
        above, child, grandchild = await family(http, tokens=1000)
        await send(http, grandchild, "spend 1200\nsleep 60")
        assert (await send(http, child, "run touch begun"))["queued"] is True
        assert (await until_status(http, grandchild, "interrupted"))["terminal_reason"] == "budget"
        stopped = await until_status(http, child, "interrupted")
        assert (stopped["terminal_reason"], stopped["usage"]["total_tokens"]) == ("budget", 0)
        [error] = await events(http, child, types="error")
        assert error["content"].startswith(f"The budget of the mission above, {above}, is used up")
        assert await types(http, child, "tool_call", "sandbox_changed") == []
        assert await get(http, "/api/control/running") == []


async def test_a_sum_that_a_kill_kept_from_being_carried_up_is_carried_at_the_next_start(
    connect: dict[str, Any], data_dir: Path
) -> None:
    """As after a kill between the end of a turn and the booking of what it used."""
    async with serving_on(connect, data_dir) as server, ClientSession(server.url, headers=server.headers) as http:
        above, child, _ = await family(http, tokens=1000)
        await send(http, child, "spend 900")
        await spent_below(http, above, 900)
        await post(http, f"{MISSIONS}/{above}/settings", {"budget": {"tokens": 2000}})
        send_down = CountBelow(spent=Spent())
        await server.core.writers.execute(server.workspace_id, UUID(above), "control", send_down)
        async with server.core.database.reading() as connection:
            await connection.execute("UPDATE runs SET ended_at = NULL, lease_until = now() - interval '1 minute'")
        assert "usage_below" not in await mission_of(http, above)
    async with serving_on(connect, data_dir) as server, ClientSession(server.url, headers=server.headers) as http:
        assert (await mission_of(http, above))["usage_below"]["total_tokens"] >= 900


async def test_what_a_deleted_mission_has_used_still_counts(http: ClientSession, serving: Serving) -> None:
    above, child, grandchild = await family(http, tokens=1000)
    await send(http, grandchild, "spend 300")
    await spent_below(http, above, 300)
    assert (await ask(http, "DELETE", f"{MISSIONS}/{grandchild}")).status == 200
    while await housekeeping.erase_deleted(serving.core.database):
        pass
    await send(http, child, "spend 300")
    row = await spent_below(http, above, 600)
    assert row["usage_below"]["turns"] == 2


async def test_a_turn_that_ends_while_the_rows_above_are_read_counts_once(
    http: ClientSession, serving: Serving
) -> None:
    above, child, _ = await family(http, tokens=1000)
    await send(http, child, "spend 600\nsleep 1")
    core = serving.core
    await until(lambda: _used(core.runs.turns.values()), lambda used: used == 600)
    may_read, wishes = asyncio.Event(), []

    class Slow(Missions):
        async def above(self, workspace_id: UUID, mission_id: UUID) -> list[MissionRow]:
            await may_read.wait()
            return await super().above(workspace_id, mission_id)

    async def wish(*where: Any, **fields: Any) -> None:
        wishes.append((*where, fields))

    looking = asyncio.create_task(Families(Slow(core.database, core.kinds), core.kinds, wish).look(core.runs.turns))
    await spent_below(http, above, 600)
    may_read.set()
    await looking
    assert wishes == []


async def _used(turns: Iterable[Turn]) -> int:
    return sum(turn.meter.use.tokens for turn in turns)
