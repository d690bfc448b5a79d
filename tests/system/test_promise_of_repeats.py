"""The eighth promise: a repeat gets the first answer and does nothing twice."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientSession

from missionstream_client import Client
from tests.conftest import TOKEN, Serving, serving_on
from tests.system.flood import TIMING, whole_log
from tests.system.wiretap import until


def _client(serving: Serving) -> Client:
    return Client(serving.url, TOKEN, timing=TIMING)


def _has_status(client: Client, mission_id: str, status: str) -> Callable[[], Any]:
    async def ask() -> bool:
        return (await client.mission(mission_id)).status == status

    return ask


async def test_promise_8_repeats_across_a_restart_get_the_first_answers_and_do_nothing_twice(
    connect: dict[str, Any], data_dir: Path
) -> None:
    message_id = str(uuid4())
    events = [{"event_id": f"e{n}", "event_type": "x_tick", "content": str(n)} for n in range(3)]
    rounds = []
    for _ in range(2):
        async with (
            serving_on(connect, data_dir) as serving,
            ClientSession(serving.url, headers=serving.headers) as http,
        ):
            answers = []
            for _ in range(2):
                created = await _post(http, "/api/control/missions", {"title": "once"}, key="create-1")
                mission_id = created[1]["id"]
                message = {"content": "say hello", "mission_id": mission_id, "client_message_id": message_id}
                answers.append(created)
                answers.append(await _post(http, f"/api/control/missions/{mission_id}/events", {"events": events}))
                answers.append(await _post(http, "/api/control/message", message))
            async with _client(serving) as client:
                await until(_has_status(client, mission_id, "completed"))
            rounds.append((answers[:3], answers[3:], len(await whole_log(http))))
    (first, repeat, length), (after, again, length_after) = rounds
    assert first == repeat == after == again
    assert {status for status, _ in first} == {200}
    assert length == length_after


async def _post(http: ClientSession, path: str, body: Any, key: str | None = None) -> tuple[int, Any]:
    headers = {} if key is None else {"Idempotency-Key": key}
    async with http.post(path, json=body, headers=headers) as answer:
        is_json = answer.content_type == "application/json"
        return answer.status, await (answer.json() if is_json else answer.text())


async def test_promise_8_one_key_for_two_intents_is_refused(serving: Serving, http: ClientSession) -> None:
    assert (await _post(http, "/api/control/missions", {"title": "one"}, key="k"))[0] == 200
    assert (await _post(http, "/api/control/missions", {"title": "two"}, key="k"))[0] == 422
    assert len(await whole_log(http)) == 1


_ACTS: dict[str, tuple[str, Any]] = {
    "create": ("/api/control/missions", {"title": "again"}),
    "message": ("/api/control/message", {"content": "say hi", "mission_id": "{id}"}),
    "resume": ("/api/control/missions/{id}/resume", {"skip_message": True}),
    "status": ("/api/control/missions/{id}/status", {"status": "completed"}),
    "title": ("/api/control/missions/{id}/title", {"title": "another"}),
    "parallel": ("/api/control/missions/{id}/parallel", {"content": "say hi"}),
    "space": ("/api/workspaces", {"name": "a space"}),
}


@pytest.mark.parametrize(
    "act",
    [
        "create",
        "message",
        "resume",
        "status",
        "title",
        "parallel",
        "space",
    ],
)
async def test_promise_8_every_post_that_acts_takes_an_idempotency_key(
    serving: Serving, http: ClientSession, act: str
) -> None:
    async with _client(serving) as client:
        mission = await client.create_mission("act")
        await client.set_status(mission.id, "failed")
        path, fields = _ACTS[act]
        path = path.replace("{id}", mission.id)
        body = {name: mission.id if value == "{id}" else value for name, value in fields.items()}
        first = await _post(http, path, body, key="key-1")
        assert first[0] == 200
        await until(_is_idle(http))
        await client.set_status(mission.id, "pending")  # whatever comes between
        length = len(await whole_log(http))
        assert await _post(http, path, body, key="key-1") == first
        await until(_is_idle(http))
        assert len(await whole_log(http)) == length


async def test_promise_8_a_repeated_parallel_run_gets_the_first_answer_while_it_runs(
    serving: Serving, http: ClientSession
) -> None:
    async with _client(serving) as client:
        mission = await client.create_mission("parallel")
        path = f"/api/control/missions/{mission.id}/parallel"
        first = await _post(http, path, {"content": "sleep 1"}, key="key-1")
        assert first[0] == 200
        assert await _post(http, path, {"content": "sleep 1"}, key="key-1") == first
        await until(_is_idle(http))


async def test_promise_8_one_message_without_a_mission_makes_one_mission(serving: Serving, http: ClientSession) -> None:
    body = {"content": "say hi", "client_message_id": str(uuid4())}
    answers = await asyncio.gather(*(_post(http, "/api/control/message", body) for _ in range(6)))
    assert {status for status, _ in answers} == {200}
    await until(_is_idle(http))
    async with http.get("/api/control/missions") as answer:
        assert len(await answer.json()) == 1


def _is_idle(http: ClientSession) -> Callable[[], Any]:
    async def ask() -> bool:
        async with http.get("/api/control/running") as answer:
            return await answer.json() == []

    return ask
