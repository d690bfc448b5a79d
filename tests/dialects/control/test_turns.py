"""A mission's life over HTTP with the real demo agent."""

import asyncio

from aiohttp import ClientSession

from tests.dialects.control.driving import create, events, send, until_status


async def test_a_turn_is_in_the_log_in_order(http: ClientSession) -> None:
    mission = await create(http, title="look around")
    said = await send(http, mission["id"], "run echo one")
    assert said["queued"] is False
    done = await until_status(http, mission["id"], "completed")
    assert [row["role"] for row in done["history"]] == ["user", "assistant"]
    rows = await events(http, mission["id"])
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    kinds = [row["event_type"] for row in rows]
    order = [
        "mission_created", "mission_status_changed", "user_message", "tool_call", "tool_result",
        "assistant_message", "run_ended", "mission_status_changed",
    ]  # fmt: skip
    assert [kind for kind in kinds if kind in order] == order
    assert "one" in next(row["content"] for row in rows if row["event_type"] == "tool_result")


async def test_messages_to_a_busy_mission_wait_their_turn(http: ClientSession) -> None:
    mission = await create(http, title="queue")
    first = await send(http, mission["id"], "sleep 0.5\nsay first")
    second = await send(http, mission["id"], "say second")
    assert (first["queued"], second["queued"]) == (False, True)
    async with http.get("/api/control/queue") as answer:
        assert [row["content"] for row in await answer.json()] == ["say second"]
    await until_status(http, mission["id"], "completed")
    said = await events(http, mission["id"], types="user_message,assistant_message")
    assert [(row["event_type"], row["metadata"].get("queued")) for row in said] == [
        ("user_message", False),
        ("user_message", True),
        ("assistant_message", None),
        ("user_message", False),
        ("assistant_message", None),
    ]
    assert said[1]["event_id"] == said[3]["event_id"] == second["id"]


async def test_cancel_keeps_what_was_said_and_interrupts(http: ClientSession) -> None:
    mission = await create(http, title="cancel me")
    await send(http, mission["id"], "say begun\nsleep 30")
    async with asyncio.timeout(20):
        while not (await events(http, mission["id"], types="tool_call,assistant_message")):
            async with http.get(f"/api/control/missions/{mission['id']}/snapshot") as answer:
                if any(signal["event_type"] == "text_delta" for signal in (await answer.json())["signals"]):
                    break
            await asyncio.sleep(0.02)
    async with http.post(f"/api/control/missions/{mission['id']}/cancel") as answer:
        assert await answer.json() == {"ok": True, "cancelled": mission["id"]}
    ended = await until_status(http, mission["id"], "interrupted")
    assert ended["resumable"] is True
    assert ended["terminal_reason"] == "cancelled"
    last = (await events(http, mission["id"], types="assistant_message"))[-1]
    assert last["metadata"]["success"] is False


async def test_a_question_is_answered_through_the_api(http: ClientSession) -> None:
    mission = await create(http, title="ask me")
    await send(http, mission["id"], "ask May I go on?\nsay thanks")
    async with asyncio.timeout(20):
        while not (asked := await events(http, mission["id"], types="tool_call")):
            await asyncio.sleep(0.02)
    call = asked[-1]
    assert call["tool_name"] == "AskUserQuestion"
    answer_body = {"tool_call_id": call["tool_call_id"], "name": call["tool_name"], "result": "allow_once"}
    async with http.post("/api/control/tool_result", json=answer_body) as answer:
        assert await answer.json() == {"ok": True, "delivered": True}
    async with http.post("/api/control/tool_result", json=answer_body) as answer:
        assert await answer.json() == {"ok": True, "delivered": False}
    done = await until_status(http, mission["id"], "completed")
    assert "thanks" in done["history"][-1]["content"]


async def test_a_failing_agent_fails_its_mission_and_says_why(http: ClientSession) -> None:
    mission = await create(http, title="crash")
    await send(http, mission["id"], "crash")
    await until_status(http, mission["id"], "failed")
    [error] = await events(http, mission["id"], types="error")
    assert error["content"]


async def test_a_repeated_message_gets_the_first_answer_and_one_turn(http: ClientSession) -> None:
    mission = await create(http, title="once")
    key = "3e0dbe5e-6d5b-4fd1-9d09-1f0a8a0f2a01"
    answers = await asyncio.gather(*(send(http, mission["id"], "say hello", client_message_id=key) for _ in range(8)))
    assert {answer["id"] for answer in answers} == {key}
    assert {answer["queued"] for answer in answers} == {False}
    await until_status(http, mission["id"], "completed")
    assert len(await events(http, mission["id"], types="user_message")) == 1


async def test_the_agent_of_the_next_turn_remembers_the_turns_before(http: ClientSession) -> None:
    mission = await create(http, title="remember")
    for number in (1, 2, 3):
        await send(http, mission["id"], "recall")
        done = await until_status(http, mission["id"], "completed")
        assert done["history"][-1]["content"] == f"I remember {number} messages, this one included."
    said = await events(http, mission["id"], types="user_message,assistant_message")
    assert len(said) == 6
