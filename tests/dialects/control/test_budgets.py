"""Usage and budgets over HTTP, with the demo agent reporting what a model would have used."""

import re
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.dialects.control.driving import (
    MISSIONS,
    ask,
    create,
    events,
    get,
    post,
    send,
    stream,
    until,
    until_status,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def mission_of(http: ClientSession, mission: dict[str, Any]) -> dict[str, Any]:
    return await get(http, f"{MISSIONS}/{mission['id']}")


async def types(http: ClientSession, mission: dict[str, Any], *wanted: str) -> list[str]:
    return [row["event_type"] for row in await events(http, mission["id"], types=",".join(wanted))]


async def test_a_mission_shows_what_its_turns_have_used(owner: ClientSession) -> None:
    mission = await create(owner, backend="demo")
    assert mission["usage"]["turns"] == 0
    assert "budget" not in mission
    for number, cents in enumerate((2.5, 1.25), 1):
        await send(owner, mission["id"], f"spend 500 {cents}\nsay done")
        await until(lambda: mission_of(owner, mission), lambda row, number=number: row["usage"]["turns"] == number)
    usage = (await mission_of(owner, mission))["usage"]
    assert (usage["cost_cents"], usage["cost_source"]) == (3.75, "reported")
    assert 1000 <= usage["input_tokens"] < 1050
    assert usage["total_tokens"] == usage["input_tokens"] + usage["cached_tokens"] + usage["output_tokens"]
    assert usage["seconds"] > 0
    ended = await events(owner, mission["id"], types="run_ended")
    assert [row["metadata"]["use"]["cost_micros"] for row in ended] == [25_000, 12_500]
    said = await events(owner, mission["id"], types="assistant_message")
    assert [row["metadata"]["cost_cents"] for row in said] == [2, 1]


async def test_without_a_cost_or_a_known_model_the_source_is_unknown(owner: ClientSession) -> None:
    mission = await create(owner, backend="demo")
    await send(owner, mission["id"], "spend 500\nsay done")
    usage = (await until_status(owner, mission["id"], "completed"))["usage"]
    assert (usage["cost_cents"], usage["cost_source"]) == (0.0, "unknown")


async def test_the_use_of_a_running_turn_is_a_signal(owner: ClientSession) -> None:
    mission = await create(owner, backend="demo")
    async with stream(owner, mission=mission["id"]) as frames:
        await send(owner, mission["id"], "spend 500 2.5\nsay done")
        frame = await frames.named("usage")
    assert frame.id is None
    assert (frame.data["total_tokens"], frame.data["cost_cents"], frame.data["cost_source"]) == (500, 2.5, "reported")


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({"tokens": 1000}, r"1,0\d\d of 1,000 tokens"),
        ({"cost_cents": 10}, r"10\.0 of 10 cents"),
    ],
)
async def test_a_budget_warns_stops_and_refuses_until_it_is_raised(
    owner: ClientSession, budget: dict[str, int], told: str
) -> None:
    mission = await create(owner, backend="demo", budget=budget)
    assert mission["budget"] == {**budget, "reached": []}
    await send(owner, mission["id"], "spend 800 8\nsay I have begun\nsleep 0.3\nspend 200 2\nsleep 60")
    await send(owner, mission["id"], "say I come too late")
    stopped = await until_status(owner, mission["id"], "interrupted")
    assert (stopped["terminal_reason"], stopped["budget"]["reached"]) == ("budget", list(budget))
    order = ("budget_warning", "budget_reached", "messages_removed", "cancel_requested", "run_ended")
    assert await types(owner, mission, *order) == list(order)
    [error] = await events(owner, mission["id"], types="error")
    assert re.match(f"The mission's budget is used up: {told}. Raise it with POST ", error["content"])
    assert stopped["history"][-1]["content"].startswith("I have begun")

    message = {"content": "say more", "mission_id": mission["id"]}
    for path, body in (("/api/control/message", message), (f"{MISSIONS}/{mission['id']}/resume", {})):
        refused = await ask(owner, "POST", path, json=body)
        assert (refused.status, refused.text) == (409, error["content"])

    raised = {name: 10 * amount for name, amount in budget.items()}
    changed = await post(owner, f"{MISSIONS}/{mission['id']}/settings", {"budget": raised})
    assert changed["budget"] == {**raised, "reached": []}
    await post(owner, "/api/control/message", message)
    await until_status(owner, mission["id"], "completed")


async def test_the_time_of_all_turns_is_a_budget_too(owner: ClientSession) -> None:
    mission = await create(owner, backend="demo", budget={"seconds": 1})
    await send(owner, mission["id"], "sleep 60")
    stopped = await until_status(owner, mission["id"], "interrupted")
    assert stopped["terminal_reason"] == "budget"
    assert 1 <= stopped["usage"]["seconds"] < 5
    assert await types(owner, mission, "budget_warning", "budget_reached") == ["budget_warning", "budget_reached"]


async def test_a_budget_given_to_a_turn_that_goes_on_counts_at_once(owner: ClientSession) -> None:
    mission = await create(owner, backend="demo")
    await send(owner, mission["id"], "spend 800\nsay begun\nsleep 60")
    await until(
        lambda: get(owner, f"{MISSIONS}/{mission['id']}/snapshot"), lambda row: "'usage'" in str(row["signals"])
    )
    await post(owner, f"{MISSIONS}/{mission['id']}/settings", {"budget": {"tokens": 700}})
    assert (await until_status(owner, mission["id"], "interrupted"))["terminal_reason"] == "budget"


async def test_the_tree_of_agents_shows_cents(owner: ClientSession) -> None:
    mission = await create(owner, backend="demo", budget={"cost_cents": 50})
    await send(owner, mission["id"], "spend 100 12\nsay done")
    await until_status(owner, mission["id"], "completed")
    tree = await get(owner, f"{MISSIONS}/{mission['id']}/tree")
    assert (tree["budget_allocated"], tree["budget_spent"]) == (50, 12)


@pytest.mark.parametrize(
    "budget", [{"tokens": 0}, {"tokens": -5}, {"tokens": 1.5}, {"seconds": "ten"}, {"cost_cents": 2**54}, 5, [1]]
)
async def test_what_is_no_budget_is_422(owner: ClientSession, budget: Any) -> None:
    mission = await create(owner)
    for path in (MISSIONS, f"{MISSIONS}/{mission['id']}/settings"):
        assert (await ask(owner, "POST", path, json={"budget": budget})).status == 422
