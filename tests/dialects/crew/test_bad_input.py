"""Bad input on every route of missions with a body or a query: a clear 4xx or cleaned text, never a 500, and nothing stored."""

import asyncio
import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.dialects.crew import ids
from server.dialects.crew.routes import MISSIONS, SHARED
from server.missions.crew import limits
from tests.dialects.control.driving import Answer, ask
from tests.dialects.crew.world import Crew, refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")
MISSION = "/api/v1/crews/{crewId}/missions/{missionId}"
TASK = MISSION + "/tasks/{taskId}"
BODIES: Mapping[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/v1/crews/{crewId}/missions"): {
        "title": "t", "description": "d", "lead_agent_id": "<lead>", "workflow_template": "w",
    },
    ("PATCH", MISSION): {"title": "t", "description": "d", "plan": "p"},
    ("POST", MISSION + "/tasks"): {
        "title": "t", "description": "d", "assigned_agent_id": "<worker>", "task_order": 1, "depends_on": ["<task>"],
        "max_iterations": 2, "approval_required": False,
    },
    ("PATCH", TASK): {
        "title": "t", "description": "d", "assigned_agent_id": "<worker>", "result_summary": "r",
        "error_message": "e", "output_path": "o", "token_count": 1, "estimated_cost": 0.5,
    },
    ("POST", TASK + "/approve"): {"approved": True, "notes": "n"},
    ("POST", "/api/v1/missions/{missionId}/checkpoints"): {"label": "l"},
    ("POST", "/api/v1/checkpoints/{checkpointId}/fork"): {"label": "l"},
}  # fmt: skip
"""Every route that reads a body, with a good one."""
NO_BODY = {
    MISSION + "/start",
    MISSION + "/restart",
    MISSION + "/resume",
    MISSION + "/clone",
    "/api/v1/checkpoints/{checkpointId}/restore",
}
OPTIONAL = [key for key in BODIES if "checkpoint" in key[1]]


async def test_every_route_with_a_body_is_in_the_table() -> None:
    reading = {(route.method, route.path) for route in (*SHARED, *MISSIONS) if route.method in ("POST", "PATCH")}
    assert reading == {*BODIES, *(("POST", path) for path in NO_BODY)}


class Target:
    """A mission with a task and a checkpoint, and the paths to them."""

    def __init__(self, crew: Crew, mission: dict[str, Any], task: dict[str, Any], checkpoint: dict[str, Any]) -> None:
        self.crew = crew
        self.parts = {
            "{crewId}": crew.id,
            "{missionId}": mission["id"],
            "{taskId}": task["id"],
            "{checkpointId}": checkpoint["id"],
        }
        self.named = {"<lead>": crew.lead, "<worker>": crew.worker, "<task>": task["id"]}

    def body(self, key: tuple[str, str], **fields: Any) -> dict[str, Any]:
        text = json.dumps({**BODIES[key], **fields})
        for name, identity in self.named.items():
            text = text.replace(name, identity)
        return json.loads(text)  # type: ignore[no-any-return]

    async def send(self, key: tuple[str, str], raw: bytes, **headers: str) -> Answer:
        method, path = key
        for part, identity in self.parts.items():
            path = path.replace(part, identity)
        here = {"X-Workspace-ID": ids.spell(self.crew.boss.workspace_id), **headers}
        return await ask(self.crew.boss.http, method, path, data=io.BytesIO(raw), headers=here)

    async def head(self) -> int:
        return (await self.crew.shared.core.log.head(self.crew.boss.workspace_id)).head


async def target(crew: Crew) -> Target:
    mission = await crew.mission("IN_PROGRESS")
    task = await crew.task(mission)
    checkpoint = await crew.boss.post(f"/api/v1/missions/{mission['id']}/checkpoints", None)
    return Target(crew, mission, task, checkpoint)


def check_refusal(answer: Answer) -> None:
    """A 4xx in crew's form, short, for every sort of client."""
    assert 400 <= answer.status < 500, answer
    text = refusal(answer)[1]
    assert 0 < len(text) < 500
    assert answer.json["status"] == answer.status
    assert answer.headers["Content-Type"] == "application/json"
    for leaked in ("Traceback", "asyncpg", "msgspec", "SELECT"):
        assert leaked not in answer.text


DEEP = b'{"x":' * 40 + b"1" + b"}" * 40
BROKEN = [
    b"{", b"}", b"[1,", b'"', b"nul", b"{'a':1}", b'{"a":1}x', b"\xff\xfe", b'{"a":"\xff"}', b"\x00", b'{"a":NaN}',
    b'{"a":1e999}', DEEP, b"[" * 100_000, b'{"a":' * 50_000, b"[]", b"1", b'"text"', b"true", b'{"a":"' + b"x" * (1 << 20) + b'"}',
]  # fmt: skip


@pytest.mark.parametrize("key", BODIES, ids=" ".join)
async def test_what_is_no_such_json_is_refused_and_stores_nothing(crew: Crew, key: tuple[str, str]) -> None:
    at = await target(crew)
    before = await at.head()
    wanted = "invalid JSON body" if key in OPTIONAL else "Invalid JSON body"
    for raw in BROKEN:
        answer = await at.send(key, raw)
        check_refusal(answer)
        assert refusal(answer) == (400, wanted), raw[:40]
    if key not in OPTIONAL:
        assert refusal(await at.send(key, b"")) == (400, wanted)
    assert await at.head() == before


@pytest.mark.parametrize("key", BODIES, ids=" ".join)
async def test_a_member_of_another_type_is_refused(crew: Crew, key: tuple[str, str]) -> None:
    at = await target(crew)
    before = await at.head()
    for name, value in BODIES[key].items():
        for wrong in (1, "1", True, 1.5, [], {}, [1], [None], {"a": 1}):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if type(wrong) is type(value) or (is_number and isinstance(wrong, int) and not isinstance(wrong, bool)):
                continue
            if isinstance(value, list) and wrong == []:
                continue
            answer = await at.send(key, json.dumps(at.body(key, **{name: wrong})).encode())
            check_refusal(answer)
            assert answer.json["detail"].lower() == "invalid json body", (name, wrong)
    assert await at.head() == before


@pytest.mark.parametrize("key", BODIES, ids=" ".join)
async def test_any_content_type_will_do_and_unknown_members_are_let_be(crew: Crew, key: tuple[str, str]) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8", "nonsense"):
        at = await target(crew)
        raw = json.dumps(at.body(key, never=[1], status=None)).encode()
        answer = await at.send(key, raw, **{"Content-Type": kind})
        assert answer.status in (200, 201) or key[1].endswith("/approve"), answer


TEXTS = st.text(st.characters(), max_size=30) | st.sampled_from(
    ["\0", "a\0b", "\ud800", "x\udfff", "\u2028", "🦆", "ü" * 300]
)
VALUES = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | TEXTS | st.lists(TEXTS, max_size=3)


@pytest.mark.parametrize("key", BODIES, ids=" ".join)
async def test_whatever_stands_in_a_body_the_answer_is_one_of_ours(crew: Crew, key: tuple[str, str]) -> None:
    at = await target(crew)
    loop = asyncio.get_running_loop()
    names = st.sampled_from([*BODIES[key], "status", "depends_on", "lead_agent_id"])
    examples: list[dict[str, Any]] = []

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(names, VALUES, max_size=4))
    def collect(fields: dict[str, Any]) -> None:
        examples.append(fields)

    await loop.run_in_executor(None, collect)
    for fields in examples:
        answer = await at.send(key, json.dumps({**at.body(key), **fields}).encode())
        if answer.status >= 400:
            check_refusal(answer)
        else:
            assert "\\u0000" not in answer.text
            assert "\\ud800" not in answer.text


async def test_what_cannot_be_stored_is_replaced(crew: Crew) -> None:
    at = await target(crew)
    key = ("POST", MISSION + "/tasks")
    answer = await at.send(key, b'{"title": "a\\u0000b\\ud800c", "depends_on": []}')
    assert answer.json["title"] == "a\ufffdb\ufffdc"


@pytest.mark.parametrize("key", [("POST", MISSION + "/tasks"), ("PATCH", TASK), ("PATCH", MISSION)], ids=" ".join)
async def test_too_long_texts_and_too_large_numbers_are_named(crew: Crew, key: tuple[str, str]) -> None:
    at = await target(crew)
    long = "x" * (limits.MAX_TEXT_BYTES + 1)
    for name, value in BODIES[key].items():
        if isinstance(value, str) and not name.endswith("_id"):
            answer = await at.send(key, json.dumps(at.body(key, **{name: long})).encode())
            check_refusal(answer)
            assert answer.json["detail"].startswith(f"{name} has {len(long)} bytes")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            answer = await at.send(key, json.dumps(at.body(key, **{name: 10**25})).encode())
            check_refusal(answer)


async def test_a_body_that_says_it_is_too_large_is_not_waited_for(crew: Crew) -> None:
    at = await target(crew)
    answer = await at.send(("POST", MISSION + "/tasks"), b"x" * ((16 << 20) + 1))
    assert refusal(answer) == (413, "Request body too large")


@pytest.mark.parametrize("path", sorted(NO_BODY))
async def test_what_drives_a_mission_reads_no_body(crew: Crew, path: str) -> None:
    status = {"start": "PLANNING", "resume": "FAILED"}.get(path.rsplit("/", 1)[1], "CANCELLED")
    for raw in (b"", b"{", b"\xff", b"[]", DEEP):
        mission = await crew.mission()
        task = await crew.task(mission, "FAILED")
        await crew.moved(mission, *{"PLANNING": (), "FAILED": ("IN_PROGRESS", "FAILED")}.get(status, ("CANCELLED",)))
        checkpoint = await crew.boss.post(f"/api/v1/missions/{mission['id']}/checkpoints", None)
        answer = await Target(crew, mission, task, checkpoint).send(("POST", path), raw)
        assert answer.status in (200, 201), answer


QUERIES = {
    "/api/v1/missions": ("status", "include_tasks", "limit", "offset", "workspace_id"),
    "/api/v1/crews/{crewId}/missions": ("status", "limit", "offset"),
    "/api/v1/missions/{missionId}/checkpoints": ("limit",),
    "/api/v1/journal": (
        "mission_id", "trace_id", "crew_id", "crew_ids", "agent_id", "agent_ids", "run_id", "entry_type", "severity",
        "exclude_entry_type", "actor_type", "priority", "since", "until", "q", "limit", "cursor",
    ),
    "/api/v1/journal/count": ("mission_id", "crew_ids", "agent_ids", "run_id", "since", "until", "q"),
}  # fmt: skip
STRANGE = [
    "", "\0", "%", "_", "\\", "'", '"', "a b", "ü", "\u0661", "\ud7ff", "x" * 3_000, "-1", "1e5", "nan", "9" * 25, "null",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    "2026-02-30T00:00:00Z", "2026-01-01T00:00:00.123456789Z", ",", ",,,", "%' OR '1'='1", "|", "j_",
]  # fmt: skip


@pytest.mark.parametrize("path", QUERIES)
async def test_whatever_stands_in_a_query_the_answer_is_one_of_ours(crew: Crew, path: str) -> None:
    at = await target(crew)
    here = {"X-Workspace-ID": ids.spell(crew.boss.workspace_id)}
    for part, identity in at.parts.items():
        path = path.replace(part, identity)
    for name in QUERIES.get(path, ("limit", "status")):
        for value in STRANGE:
            answer = await ask(crew.boss.http, "GET", path, params={name: value}, headers=here)
            if answer.status != 200:
                check_refusal(answer)
