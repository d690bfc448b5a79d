"""Messages and turns of the control dialect: send, cancel, status, resume, queue, running, parallel, answers, progress."""

import asyncio
from uuid import uuid4

import pytest
from aiohttp import ClientSession

from tests.conftest import Serving
from tests.dialects.conftest import new_member
from tests.dialects.control.driving import (
    MISSIONS,
    UNKNOWN,
    ask,
    create,
    events,
    get,
    post,
    send,
    talked,
    until,
    until_status,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
MESSAGE = "/api/control/message"
INTERACTIVE = "AskUserQuestion"


async def busy_mission(owner: ClientSession, title: str = "busy") -> str:
    mission_id = (await create(owner, title=title))["id"]
    await send(owner, mission_id, "sleep 30")
    return str(mission_id)


async def stop(owner: ClientSession, *mission_ids: str) -> None:
    for mission_id in mission_ids:
        await post(owner, f"{MISSIONS}/{mission_id}/cancel")
        await until_status(owner, mission_id, "interrupted")


class TestSend:
    async def test_the_answer_names_the_message_and_whether_it_waits(self, owner: ClientSession) -> None:
        mission = await create(owner, title="send")
        said = await send(owner, mission["id"], "  say hi \n")
        assert set(said) == {"id", "queued", "warnings"}
        assert (said["queued"], said["warnings"]) == (False, [])
        await until_status(owner, mission["id"], "completed")
        [row] = await events(owner, mission["id"], types="user_message")
        assert (row["event_id"], row["content"], row["metadata"]["queued"]) == (said["id"], "say hi", False)

    @pytest.mark.parametrize("content", ["", " ", "\n\t ", "\u2003"])
    async def test_empty_content_is_refused_in_the_originals_words(self, owner: ClientSession, content: str) -> None:
        answer = await ask(owner, "POST", MESSAGE, json={"content": content})
        assert (answer.status, answer.text) == (400, "content is required")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"content": None},
            {"content": 1},
            {"content": "x", "mission_id": "x"},
            {"content": "x", "client_message_id": "x"},
        ],
    )
    async def test_another_shape_is_422(self, owner: ClientSession, body: dict[str, object]) -> None:
        assert (await ask(owner, "POST", MESSAGE, json=body)).status == 422

    async def test_an_unknown_mission_is_404_and_nothing_is_made(self, owner: ClientSession) -> None:
        before = await get(owner, MISSIONS, limit=200)
        answer = await ask(owner, "POST", MESSAGE, json={"content": "x", "mission_id": UNKNOWN})
        assert (answer.status, answer.text) == (404, f"Mission {UNKNOWN} not found")
        assert await get(owner, MISSIONS, limit=200) == before

    async def test_without_a_mission_it_goes_to_the_current_one(self, owner: ClientSession) -> None:
        mission = await create(owner, title="current")
        await post(owner, MESSAGE, {"content": "say to the current one"})
        await until_status(owner, mission["id"], "completed")
        assert len(await events(owner, mission["id"], types="user_message")) == 1

    async def test_without_any_mission_one_is_made(self, shared: Serving) -> None:
        async with ClientSession(shared.url, headers=await new_member(shared, "MEMBER")) as member:
            await post(member, MESSAGE, {"content": "say something new"})
            made = await get(member, f"{MISSIONS}/current")
            await until_status(member, made["id"], "completed")
            assert (await get(member, f"{MISSIONS}/{made['id']}"))["title"] == "something new"

    async def test_after_the_current_one_was_deleted_one_is_made(self, shared: Serving) -> None:
        async with ClientSession(shared.url, headers=await new_member(shared, "MEMBER")) as member:
            gone = await create(member)
            await ask(member, "DELETE", f"{MISSIONS}/{gone['id']}")
            await post(member, MESSAGE, {"content": "say once more"})
            made = await get(member, f"{MISSIONS}/current")
            assert made["id"] != gone["id"]
            await until_status(member, made["id"], "completed")

    async def test_the_mission_named_becomes_current(self, owner: ClientSession) -> None:
        first, second = await create(owner, title="1"), await create(owner, title="2")
        await send(owner, first["id"], "say hi")
        assert (await get(owner, f"{MISSIONS}/current"))["id"] == first["id"]
        await until_status(owner, first["id"], "completed")
        assert (await get(owner, f"{MISSIONS}/{second['id']}"))["status"] == "pending"

    async def test_a_client_message_id_is_the_messages_id_and_a_repeat_does_nothing(self, owner: ClientSession) -> None:
        mission, key = await busy_mission(owner), str(uuid4())
        answers = [await send(owner, mission, "say later", client_message_id=key) for _ in range(3)]
        assert answers == [{"id": key, "queued": True, "warnings": []}] * 3
        assert [row["id"] for row in await get(owner, "/api/control/queue")] == [key]
        assert [row["event_id"] for row in await events(owner, mission, types="user_message")][1:] == [key]
        await stop(owner, mission)
        assert await send(owner, mission, "say later", client_message_id=key) == answers[0]
        assert len(await events(owner, mission, types="user_message")) == 2

    async def test_two_users_with_one_client_message_id_wait_beside_each_other(
        self, owner: ClientSession, shared: Serving
    ) -> None:
        mission, key = await busy_mission(owner), str(uuid4())
        headers = await new_member(shared, "MEMBER")
        async with ClientSession(shared.url, headers=headers) as other:
            first = await send(owner, mission, "say mine", client_message_id=key)
            answers = [await send(other, mission, "say theirs", client_message_id=key) for _ in range(2)]
            assert answers[0] == answers[1]
            assert (first["id"], answers[0]["queued"]) == (key, True)
            assert answers[0]["id"] != key
            assert [row["id"] for row in await get(owner, "/api/control/queue")] == [key, answers[0]["id"]]
            assert (await ask(other, "DELETE", f"/api/control/queue/{key}")).status == 200
            [left] = await get(owner, "/api/control/queue")
            assert (left["id"], left["content"]) == (answers[0]["id"], "say theirs")
            await post(owner, "/api/control/cancel")
            done = await until_status(owner, mission, "completed")
            assert [entry["content"] for entry in done["history"]][-2:] == ["say theirs", "theirs"]
            assert done["history"][-4]["content"] == "say mine"

    async def test_a_client_message_id_with_other_words_is_422(self, owner: ClientSession) -> None:
        mission, key = await create(owner, title="reuse"), str(uuid4())
        await send(owner, mission["id"], "say a", client_message_id=key)
        body = {"content": "say b", "mission_id": mission["id"], "client_message_id": key}
        assert (await ask(owner, "POST", MESSAGE, json=body)).status == 422
        await until_status(owner, mission["id"], "completed")

    async def test_it_flips_every_status_to_active(self, owner: ClientSession) -> None:
        mission = await create(owner, title="flip")
        for status in ("pending", "completed", "failed", "interrupted"):
            await post(owner, f"{MISSIONS}/{mission['id']}/status", {"status": status})
            await send(owner, mission["id"], "say x")
            await until_status(owner, mission["id"], "completed")
        changes = await events(owner, mission["id"], types="mission_status_changed")
        assert [row["metadata"]["status"] for row in changes].count("active") == 4
        assert {row["content"] for row in changes if row["metadata"]["status"] == "active"} == {""}


class TestCancel:
    async def test_cancel_is_always_200(self, shared: Serving) -> None:
        async with ClientSession(shared.url, headers=await new_member(shared, "MEMBER")) as member:
            assert await post(member, "/api/control/cancel") == {"ok": True}

    async def test_cancel_stops_the_current_turn_and_keeps_the_queue(self, owner: ClientSession) -> None:
        mission = await busy_mission(owner)
        await send(owner, mission, "say after the cancel")
        assert await post(owner, "/api/control/cancel") == {"ok": True}
        done = await until_status(owner, mission, "completed")
        assert [entry["content"] for entry in done["history"]][-1] == "after the cancel"
        replies = await events(owner, mission, types="assistant_message")
        assert [row["metadata"]["success"] for row in replies] == [False, True]
        assert replies[0]["content"] == "Cancelled"
        assert replies[0]["metadata"]["resumable"] is True

    async def test_cancelling_a_mission_drops_its_queue_and_interrupts_it(self, owner: ClientSession) -> None:
        mission = await busy_mission(owner)
        await send(owner, mission, "say never")
        assert await post(owner, f"{MISSIONS}/{mission}/cancel") == {"ok": True, "cancelled": mission}
        ended = await until_status(owner, mission, "interrupted")
        assert (ended["terminal_reason"], ended["resumable"]) == ("cancelled", True)
        assert ended["interrupted_at"] >= ended["created_at"]
        assert await get(owner, "/api/control/queue") == []

    async def test_a_mission_that_is_not_executing_is_404(self, owner: ClientSession) -> None:
        idle = await create(owner, title="idle")
        for mission_id in (idle["id"], UNKNOWN):
            assert (await ask(owner, "POST", f"{MISSIONS}/{mission_id}/cancel")).status == 404


class TestStatus:
    async def test_any_of_the_five_may_be_set_from_any(self, owner: ClientSession) -> None:
        mission = await create(owner, title="status")
        path = f"{MISSIONS}/{mission['id']}/status"
        wanted = ["completed", "failed", "pending", "interrupted", "active", "active"]
        for status in wanted:
            assert await post(owner, path, {"status": status}) == {"ok": True}
            assert (await get(owner, f"{MISSIONS}/{mission['id']}"))["status"] == status
        changes = await events(owner, mission["id"], types="mission_status_changed")
        assert [row["metadata"]["status"] for row in changes] == wanted

    @pytest.mark.parametrize("status", ["blocked", "", "ACTIVE", "awaiting_user"])
    async def test_an_unknown_status_is_422(self, owner: ClientSession, status: str) -> None:
        mission = await create(owner, title="status")
        answer = await ask(owner, "POST", f"{MISSIONS}/{mission['id']}/status", json={"status": status})
        assert answer.status == 422
        assert "pending, active, completed, failed, interrupted" in answer.text

    async def test_an_unknown_mission_is_404(self, owner: ClientSession) -> None:
        assert (await ask(owner, "POST", f"{MISSIONS}/{UNKNOWN}/status", json={"status": "failed"})).status == 404

    async def test_it_does_not_stop_a_turn(self, owner: ClientSession) -> None:
        mission = await busy_mission(owner)
        await post(owner, f"{MISSIONS}/{mission}/status", {"status": "completed"})
        assert [row["mission_id"] for row in await get(owner, "/api/control/running")] == [mission]
        await post(owner, f"{MISSIONS}/{mission}/cancel")
        await until(lambda: get(owner, "/api/control/running"), lambda rows: not rows)


class TestResume:
    @pytest.mark.parametrize("status", ["pending", "active", "completed"])
    async def test_only_an_interrupted_or_failed_one_resumes(self, owner: ClientSession, status: str) -> None:
        mission = await create(owner, title="resume")
        await post(owner, f"{MISSIONS}/{mission['id']}/status", {"status": status})
        answer = await ask(owner, "POST", f"{MISSIONS}/{mission['id']}/resume")
        assert (answer.status, answer.headers["Content-Type"]) == (400, "text/plain; charset=utf-8")

    async def test_an_unknown_one_is_400(self, owner: ClientSession) -> None:
        assert (await ask(owner, "POST", f"{MISSIONS}/{UNKNOWN}/resume")).status == 400

    @pytest.mark.parametrize("status", ["interrupted", "failed"])
    async def test_skip_message_only_makes_it_active(self, owner: ClientSession, status: str) -> None:
        mission = await create(owner, title="resume")
        other = await create(owner, title="other")
        await post(owner, f"{MISSIONS}/{mission['id']}/status", {"status": status})
        resumed = await post(owner, f"{MISSIONS}/{mission['id']}/resume", {"skip_message": True})
        assert (resumed["id"], resumed["status"], resumed["resumable"]) == (mission["id"], "active", False)
        assert "interrupted_at" not in resumed
        assert (await get(owner, f"{MISSIONS}/current"))["id"] == mission["id"] != other["id"]
        assert await events(owner, mission["id"], types="user_message") == []

    async def test_else_a_message_of_the_server_begins_a_turn(self, owner: ClientSession) -> None:
        mission = await busy_mission(owner)
        await stop(owner, mission)
        resumed = await post(owner, f"{MISSIONS}/{mission}/resume")
        assert (resumed["status"], "interrupted_at" in resumed) == ("active", False)
        await until_status(owner, mission, "completed")
        assert len(await events(owner, mission, types="user_message")) == 2

    async def test_a_malformed_body_resumes_nothing(self, owner: ClientSession) -> None:
        mission = await create(owner, title="resume")
        await post(owner, f"{MISSIONS}/{mission['id']}/status", {"status": "failed"})
        for body, status in (("{", 400), ('{"skip_message":"yes"}', 422)):
            assert (await ask(owner, "POST", f"{MISSIONS}/{mission['id']}/resume", data=body)).status == status
        assert (await get(owner, f"{MISSIONS}/{mission['id']}"))["status"] == "failed"


class TestQueue:
    async def test_waiting_messages_are_listed_and_can_be_taken_back(self, owner: ClientSession) -> None:
        mission = await busy_mission(owner)
        ids = [(await send(owner, mission, f"say {n}", agent="a" if n else None))["id"] for n in range(3)]
        assert await get(owner, "/api/control/queue") == [
            {"id": ids[n], "content": f"say {n}", "agent": "a" if n else None, "mission_id": mission} for n in range(3)
        ]
        assert (await ask(owner, "DELETE", f"/api/control/queue/{ids[1]}")).json == {"ok": True}
        again = await ask(owner, "DELETE", f"/api/control/queue/{ids[1]}")
        assert (again.status, again.text) == (404, "message not in queue")
        assert [row["id"] for row in await get(owner, "/api/control/queue")] == [ids[0], ids[2]]
        assert (await ask(owner, "DELETE", f"/api/control/queue?mission_id={UNKNOWN}")).json == {
            "ok": True,
            "cleared": 0,
        }
        assert (await ask(owner, "DELETE", "/api/control/queue")).json == {"ok": True, "cleared": 2}
        assert await get(owner, "/api/control/queue") == []
        await stop(owner, mission)

    async def test_clearing_one_missions_queue_leaves_the_others(self, owner: ClientSession) -> None:
        one, other = await busy_mission(owner, "one"), await busy_mission(owner, "other")
        for mission in (one, other):
            await send(owner, mission, "say x")
        answer = await ask(owner, "DELETE", f"/api/control/queue?mission_id={one}")
        assert answer.json == {"ok": True, "cleared": 1}
        assert [row["mission_id"] for row in await get(owner, "/api/control/queue")] == [other]
        await stop(owner, one, other)


class TestRunning:
    async def test_a_busy_mission_is_described(self, owner: ClientSession) -> None:
        mission = await busy_mission(owner)
        await send(owner, mission, "say x")
        [row] = await get(owner, "/api/control/running")
        assert {
            "mission_id",
            "state",
            "queue_len",
            "history_len",
            "seconds_since_activity",
            "expected_deliverables",
        } <= set(row)
        assert (row["mission_id"], row["queue_len"], row["health"]) == (mission, 1, {"status": "healthy"})
        assert row["state"] in ("running", "queued")
        assert row["history_len"] == 2
        assert (row["subtask_total"], row["subtask_completed"], row["expected_deliverables"]) == (0, 0, 0)
        await post(owner, "/api/control/cancel")
        await until_status(owner, mission, "completed")
        await send(owner, mission, "sleep 30")
        [row] = await get(owner, "/api/control/running")
        # asked and cancelled, asked and answered, asked: the one that waited counts once
        assert row["history_len"] == 5
        assert len(await events(owner, mission, types="user_message")) == 4
        await stop(owner, mission)
        assert await get(owner, "/api/control/running") == []

    async def test_beyond_the_slots_missions_wait_for_their_turn(self, owner: ClientSession, shared: Serving) -> None:
        config = await get(owner, "/api/control/parallel/config")
        assert config == {"max_parallel_missions": shared.core.runs.max_parallel, "running_count": 0}
        busy = [await busy_mission(owner, f"slot {n}") for n in range(config["max_parallel_missions"])]
        late = await create(owner, title="late")
        assert (await send(owner, late["id"], "say at last"))["queued"] is True
        assert (await get(owner, "/api/control/parallel/config"))["running_count"] == len(busy)
        states = {row["mission_id"]: row["state"] for row in await get(owner, "/api/control/running")}
        assert states[late["id"]] == "queued"
        answer = await ask(owner, "POST", f"{MISSIONS}/{late['id']}/parallel", json={"content": "say x"})
        assert answer.status == 409
        await stop(owner, busy[0])
        done = await until_status(owner, late["id"], "completed")
        assert [entry["content"] for entry in done["history"]] == ["say at last", "at last"]
        await stop(owner, *busy[1:])

    async def test_parallel_starts_a_turn_or_says_why_not(self, owner: ClientSession) -> None:
        mission = await create(owner, title="parallel")
        path = f"{MISSIONS}/{mission['id']}/parallel"
        assert (await ask(owner, "POST", path, json={"content": " "})).status == 400
        assert await post(owner, path, {"content": "sleep 30"}) == {"ok": True, "mission_id": mission["id"]}
        answer = await ask(owner, "POST", path, json={"content": "say x"})
        assert answer.status == 409
        assert "already running" in answer.text
        assert (await ask(owner, "POST", f"{MISSIONS}/{UNKNOWN}/parallel", json={"content": "x"})).status == 404
        await stop(owner, mission["id"])


class TestAnswers:
    async def test_a_question_waits_for_its_answer(self, owner: ClientSession) -> None:
        mission = (await create(owner, title="ask"))["id"]
        await send(owner, mission, "ask May I?\nsay thank you")
        calls = await until(
            lambda: events(owner, mission, types="tool_call"),
            lambda rows: rows and rows[-1]["tool_name"] == INTERACTIVE,
        )
        call = calls[-1]
        [row] = await until(
            lambda: get(owner, "/api/control/running"), lambda rows: rows and rows[0]["state"] == "waiting_for_tool"
        )
        assert row["mission_id"] == mission
        body = {"tool_call_id": call["tool_call_id"], "name": call["tool_name"], "result": "allow_once"}
        answers = await asyncio.gather(*(post(owner, "/api/control/tool_result", body) for _ in range(3)))
        assert sorted(answer["delivered"] for answer in answers) == [False, False, True]
        assert {answer["ok"] for answer in answers} == {True}
        await until_status(owner, mission, "completed")
        results = {row["tool_call_id"]: row["content"] for row in await events(owner, mission, types="tool_result")}
        assert results[call["tool_call_id"]] == '"allow_once"'
        assert set(results) == {row["tool_call_id"] for row in calls}

    @pytest.mark.parametrize("body", [{"tool_call_id": " ", "name": "x"}, {"tool_call_id": "x", "name": ""}])
    async def test_blank_names_are_400(self, owner: ClientSession, body: dict[str, str]) -> None:
        assert (await ask(owner, "POST", "/api/control/tool_result", json={**body, "result": 1})).status == 400

    async def test_an_unknown_call_is_not_delivered(self, owner: ClientSession) -> None:
        body = {"tool_call_id": "nobody asked", "name": "question", "result": {"a": [1]}}
        assert await post(owner, "/api/control/tool_result", body) == {"ok": True, "delivered": False}


async def test_progress_is_all_zero_without_a_plan(owner: ClientSession) -> None:
    await create(owner, title="no plan")
    assert await get(owner, "/api/control/progress") == {
        "total_subtasks": 0,
        "completed_subtasks": 0,
        "current_subtask": None,
        "current_depth": 0,
    }


async def test_progress_follows_the_agents_plan(owner: ClientSession) -> None:
    mission = (await create(owner, title="a plan"))["id"]
    await send(owner, mission, "plan look; think; act\nsleep 30")
    progress = await until(lambda: get(owner, "/api/control/progress"), lambda body: body["completed_subtasks"] == 3)
    assert (progress["total_subtasks"], progress["current_depth"]) == (3, 0)
    [row] = await get(owner, "/api/control/running")
    assert (row["subtask_total"], row["subtask_completed"]) == (3, 3)
    await stop(owner, mission)


async def test_an_untitled_mission_takes_its_title_from_the_first_exchange(owner: ClientSession) -> None:
    mission = await talked(owner, "say A title from the agent")
    assert (await get(owner, f"{MISSIONS}/{mission['id']}"))["title"] == "A title from the agent"
