"""The control stream on the wire: first frames, the form of each block, order of a turn, cursors, transports."""

import asyncio
import json
import re
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.conftest import Serving
from tests.dialects.control.driving import (
    MISSIONS,
    UNKNOWN,
    Frame,
    append,
    ask,
    create,
    events,
    get,
    parse_frame,
    post,
    send,
    stream,
    talked,
    until_status,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
CURSOR = re.compile(r"[0-9a-z]+:\d+")


async def head(owner: ClientSession) -> str:
    return str((await get(owner, f"{MISSIONS}/{(await create(owner))['id']}/snapshot"))["cursor"])


class TestOpening:
    async def test_the_headers(self, owner: ClientSession) -> None:
        async with stream(owner) as opened:
            headers = opened.answer.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-cache"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["Transfer-Encoding"] == "chunked"
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert "Content-Encoding" not in headers

    async def test_the_first_frame_is_a_status_and_the_next_block_only_a_cursor(self, owner: ClientSession) -> None:
        async with stream(owner) as opened:
            first, second = await opened.next(), await opened.next()
        assert first.name == "status"
        assert first.id is None
        assert first.raw == b"event: status\ndata: " + first.raw.partition(b"\ndata: ")[2]
        assert (first.data["type"], first.data["state"], first.data["queue_len"]) == ("status", "idle", 0)
        assert set(first.data["stream"]) == {"outcome", "reason", "cursor", "head"}
        assert (first.data["stream"]["outcome"], first.data["stream"]["reason"]) == ("fresh", None)
        assert "mission_id" not in first.data
        assert second.raw == f"id: {first.data['stream']['cursor']}".encode()
        assert CURSOR.fullmatch(first.data["stream"]["cursor"])

    async def test_the_first_status_tells_of_a_turn_that_goes_on(self, owner: ClientSession) -> None:
        made = (await create(owner, title="busy"))["id"]
        await send(owner, made, "sleep 30")
        await send(owner, made, "say x")
        async with stream(owner) as whole, stream(owner, mission=made) as one:
            for opened in (whole, one):
                first = await opened.next()
                assert (first.data["state"], first.data["queue_len"], first.data["mission_id"]) == ("running", 1, made)
        await post(owner, f"{MISSIONS}/{made}/cancel")
        await until_status(owner, made, "interrupted")

    async def test_a_heartbeat_proves_its_cursor(self, owner: ClientSession) -> None:
        async with stream(owner) as opened:
            cursor = (await opened.next()).data["stream"]["cursor"]
            while (beat := await opened.next()).comment is None:
                pass
        assert re.fullmatch(rf": heartbeat head=\d+\nid: {cursor}".encode(), beat.raw)

    async def test_an_unknown_mission_or_format_is_refused(self, owner: ClientSession) -> None:
        for query, status in (({"mission": UNKNOWN}, 404), ({"mission": "x"}, 404), ({"format": "xml"}, 400)):
            assert (await ask(owner, "GET", "/api/control/stream", params=query)).status == status


class TestFrames:
    async def test_every_block_is_lf_only_with_one_data_line_of_ascii(
        self, owner: ClientSession, shared: Serving
    ) -> None:
        made = (await create(owner, title="bytes"))["id"]
        host, port = shared.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        token = shared.headers["Authorization"]
        request = f"GET /api/control/stream?mission={made} HTTP/1.0\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
        writer.write(request.encode())
        async with asyncio.timeout(20):
            http_head = await reader.readuntil(b"\r\n\r\n")
            assert b"chunked" not in http_head.lower()
            assert b"connection: close" in http_head.lower()
            await reader.readuntil(b"\n\n")
            text = "line\r\none\ntwo \U0001f600\u2028 {}"
            await append(
                owner,
                made,
                {"event_type": "assistant_message", "event_id": "b", "content": text, "metadata": {"model": "m"}},
            )
            raw = b""
            while b"assistant_message" not in raw:
                raw = await reader.readuntil(b"\n\n")
        writer.close()
        assert b"\r" not in raw
        assert raw.isascii()
        assert re.fullmatch(rb"event: assistant_message\nid: [0-9a-z]+:\d+\ndata: \{[^\n]*\}\n\n", raw)
        frame = parse_frame(raw.removesuffix(b"\n\n"))
        assert frame.data["content"] == text
        assert frame.id is not None
        position = int(frame.id.split(":")[1])
        [row] = await events(owner, made, types="assistant_message")
        assert frame.data == {
            "type": "assistant_message", "mission_id": made, "id": "b", "content": text, "success": True, "cost_cents": 0,
            "model": "m", "event_id": "b", "timestamp": row["timestamp"], "sequence": 2, "position": position,
            "prev": position - 1,
        }  # fmt: skip

    async def test_over_http_1_1_each_chunk_holds_whole_blocks(self, owner: ClientSession, shared: Serving) -> None:
        made = (await create(owner, title="chunks"))["id"]
        host, port = shared.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        token = shared.headers["Authorization"]
        request = f"GET /api/control/stream?mission={made} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
        writer.write(request.encode())
        blocks: list[bytes] = []
        async with asyncio.timeout(20):
            assert b"transfer-encoding: chunked" in (await reader.readuntil(b"\r\n\r\n")).lower()
            while not any(b"x_last" in block for block in blocks):
                if len(blocks) == 2:
                    await append(owner, made, *({"event_type": f"x_{n}"} for n in ("one", "two", "last")))
                size = int((await reader.readuntil(b"\r\n")).strip(), 16)
                chunk = await reader.readexactly(size)
                assert await reader.readexactly(2) == b"\r\n"
                assert chunk.endswith(b"\n\n")
                blocks += chunk.removesuffix(b"\n\n").split(b"\n\n")
        writer.close()
        names = [frame.name for block in blocks if (frame := parse_frame(block)).name]
        assert names == ["status", "x_one", "x_two", "x_last"]

    @pytest.mark.parametrize(
        ("event", "fields"),
        [
            (
                {"event_type": "thinking", "content": "hm", "metadata": {"done": True}},
                {"content": "hm", "done": True},
            ),
            (
                {"event_type": "tool_call", "content": '{"a":[1]}', "tool_call_id": "c", "tool_name": "t"},
                {"tool_call_id": "c", "name": "t", "args": {"a": [1]}},
            ),
            (
                {"event_type": "tool_result", "content": '"a string"', "tool_call_id": "c", "tool_name": "t"},
                {"tool_call_id": "c", "name": "t", "result": "a string"},
            ),
            (
                {"event_type": "tool_result", "content": "no json {", "tool_call_id": "c", "tool_name": "t"},
                {"tool_call_id": "c", "name": "t", "result": "no json {"},
            ),
            (
                {"event_type": "error", "content": "oh", "metadata": {"resumable": True}},
                {"message": "oh", "resumable": True},
            ),
            ({"event_type": "error", "content": "oh"}, {"message": "oh"}),
            ({"event_type": "x_mine", "content": "c", "metadata": {"k": 1}}, {"content": "c", "metadata": {"k": 1}}),
        ],
        ids=lambda value: value.get("event_type", ""),
    )
    async def test_an_events_data_has_the_contracts_fields(
        self, owner: ClientSession, event: dict[str, Any], fields: dict[str, Any]
    ) -> None:
        made = (await create(owner, title="fields"))["id"]
        async with stream(owner, mission=made) as opened:
            await append(owner, made, event)
            [frame] = await opened.events(1)
        common = {"type", "mission_id", "event_id", "timestamp", "sequence", "position", "prev"}
        assert {name: value for name, value in frame.data.items() if name not in common} == fields
        assert common <= set(frame.data)
        assert frame.data["type"] == frame.name == event["event_type"]

    async def test_content_with_line_breaks_or_odd_json_stays_one_line(self, owner: ClientSession) -> None:
        made = (await create(owner, title="odd"))["id"]
        odd = ['{"a":\n1}', "[1,\r\n2]", "1\n", '"a\\nb"', "\n\n", '{"deep":' * 40 + "1" + "}" * 40, "\ufeff{}", "NaN"]
        async with stream(owner, mission=made) as opened:
            await append(
                owner,
                made,
                *({"event_type": "tool_result", "event_id": f"{n}", "content": text} for n, text in enumerate(odd)),
            )
            frames = await opened.events(len(odd))
        assert [json.dumps(frame.data["result"])[:10] != "" for frame in frames] == [True] * len(odd)
        assert frames[0].data["result"] == {"a": 1}
        assert frames[4].data["result"] == "\n\n"


class TestTurn:
    async def test_the_order_of_a_turn(self, owner: ClientSession) -> None:
        made = (await create(owner, title="order"))["id"]
        async with stream(owner, mission=made) as opened:
            said = await send(owner, made, "think about it\nrun echo one\nsay all done")
            await opened.named("status", state="idle", mission_id=made)
            frames = opened.frames
        names = [
            frame.name for frame in frames[1:] if frame.name and frame.name not in ("mission_activity", "agent_phase")
        ]

        def first(name: str, **fields: Any) -> int:
            return next(
                n for n, frame in enumerate(frames[1:])
                if frame.name == name and all(frame.data.get(key) == value for key, value in fields.items())
            )  # fmt: skip

        places = [
            first("mission_status_changed", status="active"),
            first("user_message", id=said["id"], queued=False),
            first("thinking", done=True),
            first("tool_call"),
            first("tool_result"),
            first("assistant_message", content="all done", success=True),
            first("mission_status_changed", status="completed"),
            first("status", state="idle"),
        ]
        assert places == sorted(places), names
        assert first("status", state="running") < first("assistant_message")
        assert names.count("user_message") == names.count("assistant_message") == 1
        assert first("tool_result") < first("mission_status_changed", status="completed")
        for frame in frames[1:]:
            if frame.name is not None:
                assert frame.data["mission_id"] == made
                assert frame.data["type"] == frame.name
                assert ("sequence" in frame.data) == (frame.id is not None)
        status = frames[1 + places[0]]
        assert (status.data["status"], status.data["summary"]) == ("active", None)

    async def test_partial_text_grows_and_is_a_signal(self, owner: ClientSession) -> None:
        made = (await create(owner, title="deltas"))["id"]
        async with stream(owner, mission=made) as opened:
            await send(owner, made, "say a rather long sentence that comes in pieces\nsleep 0.6\nsay end")
            await opened.named("assistant_message")
        deltas = [frame for frame in opened.frames if frame.name == "text_delta"]
        assert deltas
        assert all(frame.id is None and "position" not in frame.data for frame in deltas)
        assert {"content", "mission_id", "run_id", "after"} <= set(deltas[0].data)
        final = opened.frames[-1].data["content"]
        for earlier, later in pairwise(deltas):
            assert later.data["content"].startswith(earlier.data["content"])
        assert final.startswith(deltas[0].data["content"])
        await until_status(owner, made, "completed")

    async def test_a_queued_message_is_said_twice_with_one_id(self, owner: ClientSession) -> None:
        made = (await create(owner, title="queued"))["id"]
        async with stream(owner, mission=made) as opened:
            await send(owner, made, "sleep 0.4")
            second = await send(owner, made, "say two")
            waiting = await opened.named("user_message", id=second["id"])
            started = await opened.named("user_message", id=second["id"])
        assert (waiting.data["queued"], started.data["queued"]) == (True, False)
        await until_status(owner, made, "completed")

    async def test_a_question_is_waiting_for_tool(self, owner: ClientSession) -> None:
        made = (await create(owner, title="question"))["id"]
        async with stream(owner, mission=made) as opened:
            await send(owner, made, "ask May I?")
            call = await opened.named("tool_call", name="AskUserQuestion")
            await opened.named("status", state="waiting_for_tool", mission_id=made)
            body = {"tool_call_id": call.data["tool_call_id"], "name": call.data["name"], "result": "allow_once"}
            await post(owner, "/api/control/tool_result", body)
            result = await opened.named("tool_result", tool_call_id=call.data["tool_call_id"])
            assert result.data["result"] == "allow_once"
            await opened.named("assistant_message")
        await until_status(owner, made, "completed")

    async def test_a_failing_turn_says_error_and_never_the_words_that_make_clients_reconnect(
        self, owner: ClientSession
    ) -> None:
        made = (await create(owner, title="fails"))["id"]
        async with stream(owner, mission=made) as opened:
            await send(owner, made, "fail it does not work")
            error = await opened.named("error")
            failed = await opened.named("mission_status_changed", status="failed")
        assert error.data["mission_id"] == failed.data["mission_id"] == made
        assert "Stream connection failed" not in error.data["message"]
        assert "Stream ended" not in error.data["message"]

    async def test_creation_loading_and_deletion_tell_clients_nothing_that_they_would_act_on(
        self, owner: ClientSession
    ) -> None:
        async with stream(owner) as opened:
            made = (await create(owner, title="silent"))["id"]
            await post(owner, f"{MISSIONS}/{made}/load")
            await ask(owner, "DELETE", f"{MISSIONS}/{made}")
            frames = await opened.events(2)
        assert [frame.name for frame in frames] == ["mission_created", "mission_deleted"]

    async def test_cancel_with_nothing_running_says_so(self, owner: ClientSession) -> None:
        await create(owner, title="idle")
        async with stream(owner) as opened:
            await opened.next()
            await post(owner, "/api/control/cancel")
            frame = await opened.named("error")
        assert frame.data["message"] == "No running task to cancel"
        assert "mission_id" not in frame.data


class TestCursors:
    async def test_a_stream_resumes_by_last_event_id_or_since_without_loss(self, owner: ClientSession) -> None:
        made = (await create(owner, title="resume"))["id"]
        async with stream(owner, mission=made) as opened:
            await append(owner, made, *({"event_type": "x_n", "event_id": f"{n}"} for n in range(5)))
            live = await opened.events(5)
        await append(owner, made, *({"event_type": "x_n", "event_id": f"{n}"} for n in range(5, 10)))
        cursor = live[2].id
        assert cursor is not None
        for options in ({"headers": {"Last-Event-ID": cursor}}, {"since": cursor}):
            async with stream(owner, mission=made, **options) as opened:  # type: ignore[arg-type]
                first, block = await opened.next(), await opened.next()
                assert (first.data["stream"]["outcome"], first.data["stream"]["cursor"]) == ("resumed", cursor)
                assert block.id == cursor
                replayed = await opened.events(7)
            assert [frame.data["event_id"] for frame in replayed] == [f"{n}" for n in range(3, 10)]
            assert [frame.raw for frame in replayed[:2]] == [frame.raw for frame in live[3:]]

    async def test_since_wins_over_last_event_id(self, owner: ClientSession) -> None:
        made = (await create(owner, title="both"))["id"]
        cursor = await head(owner)
        async with stream(owner, mission=made, since=cursor, headers={"Last-Event-ID": "garbage"}) as opened:
            assert (await opened.next()).data["stream"]["outcome"] == "resumed"

    @pytest.mark.parametrize(
        ("cursor", "reason"),
        [("garbage", "bad_cursor"), ("{epoch}:{far}", "cursor_ahead"), ("0000000000000000:1", "other_epoch"),
         ("{epoch}:" + "9" * 40, "bad_cursor"), ("\xff:1", "bad_cursor")],
    )  # fmt: skip
    async def test_a_lost_cursor_is_a_reset_and_goes_on_from_the_head(
        self, owner: ClientSession, cursor: str, reason: str
    ) -> None:
        made = (await create(owner, title="reset"))["id"]
        epoch, position = (await head(owner)).split(":")
        text = cursor.format(epoch=epoch, far=int(position) + 1_000)
        async with stream(owner, mission=made, headers={"Last-Event-ID": text}) as opened:
            first = await opened.next()
            told = first.data["stream"]
            assert (told["outcome"], told["reason"]) == ("reset", reason)
            assert told["cursor"] == f"{epoch}:{told['head']}"
            await append(owner, made, {"event_type": "x_after"})
            [frame] = await opened.events(1)
        assert frame.name == "x_after"

    async def test_prev_chains_the_frames_of_a_narrowed_stream(self, owner: ClientSession) -> None:
        one, other = [(await create(owner, title=f"{n}"))["id"] for n in range(2)]
        cursor = (await get(owner, f"{MISSIONS}/{one}/snapshot"))["cursor"]
        for n in range(4):
            await append(owner, one, {"event_type": "x_n", "event_id": f"{n}"})
            await append(owner, other, {"event_type": "x_other", "event_id": f"{n}"})
        async with stream(owner, mission=one, since=cursor) as opened:
            frames = await opened.events(4)
            await append(owner, other, {"event_type": "x_other", "event_id": "z"})
            await append(owner, one, {"event_type": "x_n", "event_id": "z"})
            frames += await opened.events(1)
        assert {frame.data["mission_id"] for frame in frames} == {one}
        for before, after in pairwise(frames):
            assert after.data["prev"] == before.data["position"]
            assert after.data["sequence"] == before.data["sequence"] + 1

    async def test_the_whole_stream_has_every_position(self, owner: ClientSession) -> None:
        cursor = await head(owner)
        async with stream(owner, since=cursor) as opened:
            await talked(owner, "say one", title="whole")
            frames = await opened.events(6)
        start = int(cursor.split(":")[1])
        assert [frame.data["position"] for frame in frames] == list(range(start + 1, start + 7))
        assert all(frame.data["prev"] == frame.data["position"] - 1 for frame in frames)

    async def test_replayed_frames_equal_the_live_ones_byte_for_byte(self, owner: ClientSession) -> None:
        cursor = await head(owner)
        async with stream(owner, since=cursor) as live:
            await talked(owner, "run echo \u00e9", title="bytes")
            first = await live.events(6)

        def raws(frames: list[Frame]) -> list[bytes]:
            return [frame.raw for frame in frames]

        async with stream(owner, since=cursor) as replay:
            assert raws(await replay.events(6)) == raws(first)

    async def test_the_timeline_form_has_whole_stored_events(self, owner: ClientSession) -> None:
        made = (await create(owner, title="timeline"))["id"]
        async with stream(owner, mission=made, format="timeline") as opened:
            await append(owner, made, {"event_type": "x_n", "event_id": "t", "metadata": {"a": 1}})
            [frame] = await opened.events(1)
        [row] = await events(owner, made, types="x_n")
        assert {name: value for name, value in frame.data.items() if name != "prev"} == row
