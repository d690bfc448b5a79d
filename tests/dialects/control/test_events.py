"""Pages of events, snapshots, the workspace's events, and appending from outside, field by field."""

import asyncio
import io
import json
import secrets
from collections import Counter
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from server.dialects.control.visibility import VIEWS
from tests.conftest import Serving
from tests.dialects.control.driving import (
    MISSIONS,
    UNKNOWN,
    append,
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
STORED = {
    "id", "mission_id", "sequence", "position", "event_type", "timestamp", "event_id", "tool_call_id", "tool_name",
    "content", "metadata", "actor",
}  # fmt: skip
JSON = {"Content-Type": "application/json"}
KINDS = ["assistant_message", "thinking", "tool_call", "tool_result", "error", "x_note"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mission(owner: ClientSession) -> str:
    """A mission with 61 events: its creation, then ten of each kind that may be appended."""
    made = str((await create(owner, title="many events"))["id"])
    drafts = [
        {"event_type": KINDS[n % 6], "event_id": f"e{n}", "content": f"content {n}", "metadata": {"n": n},
         "tool_call_id": f"call{n // 6}" if KINDS[n % 6].startswith("tool") else None,
         "tool_name": "bash" if KINDS[n % 6].startswith("tool") else None}
        for n in range(60)
    ]  # fmt: skip
    await append(owner, made, *drafts)
    return made


async def page(owner: ClientSession, mission: str, **query: Any) -> list[int]:
    return [row["sequence"] for row in await events(owner, mission, **query)]


class TestPage:
    async def test_a_stored_event_has_every_field(self, owner: ClientSession, mission: str) -> None:
        rows = await events(owner, mission)
        assert [row["sequence"] for row in rows] == list(range(1, 62))
        for row in rows:
            assert set(row) == STORED
            assert row["id"] == row["position"]
            assert row["mission_id"] == mission
            assert isinstance(row["metadata"], dict)
            assert row["timestamp"].endswith("Z")
        assert {name: rows[4][name] for name in ("event_type", "event_id", "tool_call_id", "tool_name", "content")} == {
            "event_type": "tool_result",
            "event_id": "e3",
            "tool_call_id": "call0",
            "tool_name": "bash",
            "content": "content 3",
        }
        assert rows[4]["metadata"] == {"n": 3}
        assert rows[0]["tool_call_id"] is None is rows[0]["tool_name"]

    @pytest.mark.parametrize(
        ("query", "sequences"),
        [
            ({"limit": 3}, [1, 2, 3]),
            ({"limit": 3, "offset": 2}, [3, 4, 5]),
            ({"since_seq": 58}, [59, 60, 61]),
            ({"since_seq": 50, "limit": 2}, [51, 52]),
            ({"before_seq": 4}, [1, 2, 3]),
            ({"before_seq": 50, "limit": 3}, [47, 48, 49]),
            ({"before_seq": 50, "limit": 3, "since_seq": 10}, [47, 48, 49]),
            ({"before_seq": 50, "limit": 3, "offset": 3}, [44, 45, 46]),
            ({"latest": "true", "limit": 2}, [60, 61]),
            ({"latest": "1", "limit": 1}, [61]),
            ({"latest": "false", "limit": 1}, [1]),
            ({"since_seq": 61}, []),
            ({"since_seq": 10**30}, []),
            ({"before_seq": 1}, []),
            ({"before_seq": 0}, []),
            ({"limit": 0}, []),
            ({"offset": 1_000}, []),
            ({"limit": "", "since_seq": "", "before_seq": ""}, list(range(1, 62))),
        ],
        ids=str,
    )
    async def test_cursors_and_limits(
        self, owner: ClientSession, mission: str, query: dict[str, Any], sequences: list[int]
    ) -> None:
        assert await page(owner, mission, **query) == sequences

    async def test_pages_forward_and_backward_cover_everything_once(self, owner: ClientSession, mission: str) -> None:
        forward: list[int] = []
        while rows := await page(owner, mission, since_seq=forward[-1] if forward else 0, limit=7):
            forward += rows
        backward: list[int] = []
        while rows := await page(owner, mission, before_seq=backward[0] if backward else 62, limit=7):
            backward = rows + backward
        assert forward == backward == list(range(1, 62))

    async def test_types_win_over_view(self, owner: ClientSession, mission: str) -> None:
        rows = await events(owner, mission, types=" thinking, error ,", view="transcript")
        assert {row["event_type"] for row in rows} == {"thinking", "error"}
        assert len(rows) == 20

    @pytest.mark.parametrize(
        ("view", "count"), [("transcript", 10), ("trace", 40), ("history", 40), ("all", 61), ("unknown", 61), ("", 61)]
    )
    async def test_views(self, owner: ClientSession, mission: str, view: str, count: int) -> None:
        answer = await ask(owner, "GET", f"{MISSIONS}/{mission}/events", params={"view": view})
        assert len(answer.json) == count
        assert answer.headers["X-Total-Events"] == str(count)
        allowed = VIEWS.get(view)
        assert allowed is None or {row["event_type"] for row in answer.json} <= set(allowed)

    async def test_the_views_are_the_contracts(self) -> None:
        assert set(VIEWS["transcript"]) == {"user_message", "assistant_message", "assistant_message_canonical"}
        assert set(VIEWS["trace"]) == {
            "thinking", "tool_call", "tool_result", "text_delta", "text_op", "error", "phase", "status",
        }  # fmt: skip
        assert set(VIEWS["history"]) == set(VIEWS["transcript"]) | {
            "tool_call", "tool_result", "text_delta", "text_op", "thinking", "goal_iteration", "goal_status",
        }  # fmt: skip

    async def test_the_headers_ignore_cursors_and_limit(self, owner: ClientSession, mission: str) -> None:
        query = {"types": "thinking", "since_seq": 30, "limit": 1}
        answer = await ask(owner, "GET", f"{MISSIONS}/{mission}/events", params=query)
        assert (answer.headers["X-Total-Events"], answer.headers["X-Max-Sequence"]) == ("10", "61")
        assert answer.headers["X-Epoch"]
        assert {"X-Total-Events", "X-Max-Sequence"} <= set(answer.headers["Access-Control-Expose-Headers"].split(", "))
        without = await ask(owner, "GET", f"{MISSIONS}/{mission}/events?include_counts=false")
        assert "X-Total-Events" not in without.headers

    async def test_an_unknown_mission_is_404(self, owner: ClientSession) -> None:
        for tail in ("events", "snapshot"):
            answer = await ask(owner, "GET", f"{MISSIONS}/{UNKNOWN}/{tail}")
            assert answer.status == 404
            assert "not found" in answer.text

    async def test_a_tools_args_and_result_are_json_strings(self, owner: ClientSession) -> None:
        made = await talked(owner, "run echo hi", title="tools")
        call, result = await events(owner, made["id"], types="tool_call,tool_result")
        assert json.loads(call["content"])["command"] == "echo hi"
        assert "hi" in str(json.loads(result["content"]))
        assert call["tool_call_id"] == result["tool_call_id"]
        assert call["tool_name"] == result["tool_name"]
        [reply] = await events(owner, made["id"], types="assistant_message")
        assert {"success", "cost_cents", "model"} <= set(reply["metadata"])
        assert reply["event_id"]


class TestSnapshot:
    async def test_has_every_key(self, owner: ClientSession, mission: str) -> None:
        answer = await ask(owner, "GET", f"{MISSIONS}/{mission}/snapshot")
        body = answer.json
        assert {
            "mission", "events", "event_counts", "visibility_counts", "total_events", "latest_sequence",
            "child_missions", "running", "counts", "signals", "cursor",
        } <= set(body)  # fmt: skip
        assert body["mission"]["id"] == mission
        assert (body["running"], body["child_missions"], body["signals"]) == (None, [], [])
        assert (answer.headers["X-Max-Sequence"], answer.headers["X-Epoch"]) == ("61", body["cursor"].split(":")[0])

    async def test_counts_are_of_the_whole_mission(self, owner: ClientSession, mission: str) -> None:
        body = await get(owner, f"{MISSIONS}/{mission}/snapshot")
        everything = Counter(row["event_type"] for row in await events(owner, mission))
        assert body["event_counts"] == {name: n for name, n in everything.items() if name in VIEWS["history"]}
        assert body["counts"] == body["event_counts"]
        assert body["total_events"] == sum(body["event_counts"].values()) == 40
        assert body["visibility_counts"] == {"history": 40, "transcript": 10, "trace": 40, "debug": 11}
        assert body["latest_sequence"] == 61

    async def test_events_are_of_history_types_ascending(self, owner: ClientSession, mission: str) -> None:
        rows = (await get(owner, f"{MISSIONS}/{mission}/snapshot"))["events"]
        stored = {row["sequence"]: row for row in await events(owner, mission)}
        assert [row["sequence"] for row in rows] == sorted(row["sequence"] for row in rows)
        assert all(row == stored[row["sequence"]] for row in rows)
        assert {row["event_type"] for row in rows} <= set(VIEWS["history"])
        # ten conversation rows are there, so the tail begins at the tenth from the end: the very first one
        assert rows[0]["event_type"] == "assistant_message"
        assert rows[0]["sequence"] == 2

    async def test_the_tail_reaches_back_to_the_tenth_message(self, owner: ClientSession) -> None:
        made = (await create(owner, title="tail"))["id"]
        for n in range(12):
            await append(
                owner, made,
                {"event_type": "assistant_message", "event_id": f"a{n}"}, {"event_type": "tool_call", "event_id": f"t{n}"},
            )  # fmt: skip
        body = await get(owner, f"{MISSIONS}/{made}/snapshot")
        assert [row["event_id"] for row in body["events"]] == [f"{kind}{n}" for n in range(2, 12) for kind in "at"]
        assert body["total_events"] == 24

    async def test_the_tail_has_at_most_fifteen_hundred_events(self, owner: ClientSession) -> None:
        made = (await create(owner, title="overflow"))["id"]
        for start in range(0, 1_600, 400):
            await append(
                owner, made, *({"event_type": "thinking", "event_id": f"{n}"} for n in range(start, start + 400))
            )
        body = await get(owner, f"{MISSIONS}/{made}/snapshot")
        assert [row["event_id"] for row in body["events"]] == [f"{n}" for n in range(100, 1_600)]
        assert (body["total_events"], body["latest_sequence"]) == (1_600, 1_601)

    async def test_a_snapshot_during_a_turn_says_what_runs(self, owner: ClientSession) -> None:
        made = (await create(owner, title="running"))["id"]
        await send(owner, made, "think hard\nsay so far\nsleep 30")
        path = f"{MISSIONS}/{made}/snapshot"

        def is_talking(body: dict[str, Any]) -> bool:
            return any(signal["event_type"] == "text_delta" for signal in body["signals"])

        body = await until(lambda: get(owner, path), is_talking)
        assert (body["running"]["mission_id"], body["running"]["state"]) == (made, "running")
        [delta] = [signal for signal in body["signals"] if signal["event_type"] == "text_delta"]
        assert "so far".startswith(delta["content"])
        assert delta["mission_id"] == made
        assert delta["after"] > 0  # it may be younger than the reading: the database is read first, then the signals
        assert not any(row["event_type"] == "text_delta" for row in body["events"])
        await post(owner, f"{MISSIONS}/{made}/cancel")
        await until_status(owner, made, "interrupted")

    async def test_children_are_listed(self, owner: ClientSession) -> None:
        parent = (await create(owner, title="parent"))["id"]
        children = [(await create(owner, title=f"{n}", parent_mission_id=parent))["id"] for n in range(2)]
        body = await get(owner, f"{MISSIONS}/{parent}/snapshot")
        assert [child["id"] for child in body["child_missions"]] == children
        assert all("history" in child and "status" in child for child in body["child_missions"])

    async def test_snapshot_then_since_seq_loses_nothing_while_others_write(self, owner: ClientSession) -> None:
        made = (await create(owner, title="race"))["id"]

        async def write() -> None:
            for n in range(40):
                await append(owner, made, {"event_type": "tool_call", "event_id": f"r{n}"})

        async def check() -> None:
            for _ in range(15):
                body = await get(owner, f"{MISSIONS}/{made}/snapshot")
                latest = body["latest_sequence"]
                assert [row["sequence"] for row in body["events"]] == list(range(2, latest + 1))
                assert body["total_events"] == latest - 1
                rest = await events(owner, made, since_seq=latest)
                assert [row["sequence"] for row in rest] == list(range(latest + 1, latest + 1 + len(rest)))

        await asyncio.gather(write(), check(), check())
        assert (await get(owner, f"{MISSIONS}/{made}/snapshot"))["latest_sequence"] == 41


class TestWorkspaceEvents:
    async def test_everything_of_the_workspace_in_pages(self, owner: ClientSession, mission: str) -> None:
        cursor, positions = "", []
        while True:
            body = await get(owner, "/api/control/events", since=cursor, limit=50)
            positions += [row["position"] for row in body["events"]]
            cursor = body["cursor"]
            if not body["events"]:
                break
        assert positions == list(range(1, body["head"] + 1))
        assert cursor.endswith(f":{body['head']}")

    async def test_narrowed_to_a_mission(self, owner: ClientSession, mission: str) -> None:
        body = await get(owner, "/api/control/events", mission=mission)
        assert [row["sequence"] for row in body["events"]] == list(range(1, 62))
        assert body["cursor"].endswith(f":{body['head']}")
        for other in (UNKNOWN, "x"):
            assert (await ask(owner, "GET", "/api/control/events", params={"mission": other})).status == 404

    async def test_waiting_ends_with_the_next_event(self, owner: ClientSession, mission: str) -> None:
        made = (await create(owner, title="wait"))["id"]
        cursor = (await get(owner, "/api/control/events", mission=made))["cursor"]
        waiting = asyncio.create_task(get(owner, "/api/control/events", mission=made, since=cursor, wait=20))
        await append(owner, mission, {"event_type": "x_elsewhere"})
        await append(owner, made, {"event_type": "x_here"})
        assert [row["event_type"] for row in (await waiting)["events"]] == ["x_here"]

    async def test_waiting_in_vain_gives_an_empty_page(self, owner: ClientSession) -> None:
        cursor = (await get(owner, f"{MISSIONS}/{(await create(owner))['id']}/snapshot"))["cursor"]
        body = await get(owner, "/api/control/events", since=cursor, wait=0.1)
        assert (body["events"], body["cursor"]) == ([], cursor)

    @pytest.mark.parametrize(
        ("cursor", "status"),
        [("garbage", 400), ("x:1:2", 400), (":", 400), ("{epoch}:999999", 409), ("0000:1", 409), ("{epoch}:-1", 400),
         ("{epoch}:" + "9" * 30, 400), ("\x00", 400)],
    )  # fmt: skip
    async def test_a_cursor_that_cannot_be_continued_is_refused(
        self, owner: ClientSession, cursor: str, status: int
    ) -> None:
        epoch = (await get(owner, "/api/control/events", limit=1))["cursor"].split(":")[0]
        answer = await ask(owner, "GET", "/api/control/events", params={"since": cursor.format(epoch=epoch)})
        assert (answer.status, answer.headers["Content-Type"]) == (status, "text/plain; charset=utf-8")


class TestAppend:
    async def test_the_answer_has_the_numbers_and_a_repeat_the_same(self, owner: ClientSession) -> None:
        made = (await create(owner, title="append"))["id"]
        body = {"events": [{"event_id": f"o{n}", "event_type": "x_note", "content": f"{n}"} for n in range(3)]}
        path = f"{MISSIONS}/{made}/events"
        first, again = await post(owner, path, body), await post(owner, path, body)
        assert first == again
        assert [(row["event_id"], row["sequence"]) for row in first["events"]] == [("o0", 2), ("o1", 3), ("o2", 4)]
        rows = await events(owner, made, types="x_note")
        assert [row["position"] for row in rows] == [row["position"] for row in first["events"]]
        assert {row["actor"] for row in rows} != {None}

    async def test_a_known_id_with_other_content_stores_nothing(self, owner: ClientSession) -> None:
        made = (await create(owner, title="append"))["id"]
        await append(owner, made, {"event_type": "x_note", "event_id": "o", "content": "a"})
        body = {
            "events": [
                {"event_id": "new", "event_type": "x_note"},
                {"event_id": "o", "event_type": "x_note", "content": "b"},
            ]
        }
        assert (await ask(owner, "POST", f"{MISSIONS}/{made}/events", json=body)).status == 409
        assert len(await events(owner, made)) == 2

    @pytest.mark.parametrize(
        "event",
        [
            {"event_id": "", "event_type": "x_a"},
            {"event_id": "x" * 65, "event_type": "x_a"},
            {"event_id": "e", "event_type": "user_message"},
            {"event_id": "e", "event_type": "mission_status_changed"},
            {"event_id": "e", "event_type": "mission_created"},
            {"event_id": "e", "event_type": "x_" + "y" * 63},
            {"event_id": "e", "event_type": "x_\u00e4"},
            {"event_id": "e", "event_type": "x_a b"},
            {"event_id": "e", "event_type": ""},
            {"event_id": "e", "event_type": "x_a", "content": "x" * ((1 << 20) + 1)},
            {"event_id": "e", "event_type": "x_a", "metadata": {"a": "x" * (1 << 18)}},
            {"event_id": "e", "event_type": "tool_call", "tool_call_id": "c" * 300},
            {"event_id": "e", "event_type": "tool_call", "tool_name": "n" * 300},
        ],
        ids=lambda event: f"{event['event_id'][:4]} {event['event_type'][:24]}",
    )
    async def test_what_may_not_be_appended_is_422(
        self, owner: ClientSession, mission: str, event: dict[str, Any]
    ) -> None:
        before = len(await events(owner, mission))
        body = {"events": [{"event_id": "fine", "event_type": "x_fine"}, event]}
        data = io.BytesIO(json.dumps(body).encode())
        answer = await ask(owner, "POST", f"{MISSIONS}/{mission}/events", data=data, headers=JSON)
        assert answer.status == 422, answer
        assert len(await events(owner, mission)) == before

    @pytest.mark.parametrize("count", [0, 501])
    async def test_between_one_and_five_hundred_at_a_time(self, owner: ClientSession, mission: str, count: int) -> None:
        body = {"events": [{"event_id": f"{n}", "event_type": "x_a"} for n in range(count)]}
        assert (await ask(owner, "POST", f"{MISSIONS}/{mission}/events", json=body)).status == 422

    async def test_an_unknown_mission_is_404(self, owner: ClientSession) -> None:
        body = {"events": [{"event_id": "e", "event_type": "x_a"}]}
        assert (await ask(owner, "POST", f"{MISSIONS}/{UNKNOWN}/events", json=body)).status == 404

    async def test_a_long_id_of_a_question_is_refused_not_an_error(self, owner: ClientSession, mission: str) -> None:
        event = {
            "event_id": "q",
            "event_type": "tool_call",
            "tool_name": "question",
            "tool_call_id": secrets.token_hex(5_000),
        }
        answer = await ask(owner, "POST", f"{MISSIONS}/{mission}/events", json={"events": [event]})
        assert answer.status == 422

    async def test_the_numbers_are_gapless_under_many_writers(self, owner: ClientSession, shared: Serving) -> None:
        made = (await create(owner, title="many writers"))["id"]
        await asyncio.gather(
            *(
                append(owner, made, *({"event_type": "x_n", "event_id": f"{w}-{n}"} for n in range(5)))
                for w in range(20)
            )
        )
        rows = await events(owner, made)
        assert [row["sequence"] for row in rows] == list(range(1, 102))
        for writer in range(20):
            mine = [row["event_id"] for row in rows if (row["event_id"] or "").startswith(f"{writer}-")]
            assert mine == [f"{writer}-{n}" for n in range(5)]
