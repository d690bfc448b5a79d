"""A turn of the real demo agent: what it does, what is recorded, and how it is called off."""

import asyncio
import itertools
import json

import pytest
from msgspec import structs

from streams.event import Draft


def question_of(draft: Draft) -> dict:
    return json.loads(draft.content)["questions"][0]


async def test_an_ordinary_turn_thinks_reads_runs_and_answers(turn, sink, demo, space, living):
    (space / "notes.txt").write_text("alpha\nbeta\n")
    outcome = await turn(demo, "Please have a look")
    assert outcome.success
    assert outcome.reason == "end_turn"
    assert sink.types == ["thinking", "tool_call", "tool_result", "tool_call", "tool_result"]
    assert sink.of("thinking")[0].metadata == {"done": True}
    read, run = sink.of("tool_call")
    assert (read.tool_name, json.loads(read.content)) == ("Read", {"path": "notes.txt"})
    assert run.metadata["kind"] == "execute"
    text, listing = sink.results()
    assert text == "alpha\nbeta\n"
    assert "notes.txt" in listing
    assert [draft.metadata["exit_code"] for draft in sink.of("tool_result")] == [None, 0]
    assert "notes.txt: 2 lines" in outcome.text
    assert outcome.usage["output_tokens"] > 0
    assert living() == []


async def test_partial_text_is_signalled_whole_and_grows(turn, sink, demo):
    unhurried = {**demo.environment, "DEMO_AGENT_DELAY_SECONDS": "0.02"}
    outcome = await turn(structs.replace(demo, environment=unhurried), "say " + "word " * 40)
    texts = [body["content"] for body in sink.bodies("text_delta")]
    assert len(texts) > 1
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert texts[-1] == outcome.text == ("word " * 40).strip()
    assert sink.of("assistant_message") == []


async def test_an_empty_space_is_said_to_be_empty(turn, demo):
    outcome = await turn(demo, "look around")
    assert "space is empty" in outcome.text


async def test_text_before_a_tool_is_recorded_and_the_last_text_is_not(turn, sink, demo):
    outcome = await turn(demo, "say Before.\nrun printf real; exit 3\nsay After.")
    assert sink.types == ["assistant_message", "tool_call", "tool_result"]
    message = sink.of("assistant_message")[0]
    assert message.content == "Before."
    assert message.metadata == {"success": True, "cost_cents": 0, "model": None}
    result = sink.of("tool_result")[0]
    assert json.loads(result.content) == "real"
    assert result.metadata == {"status": "failed", "exit_code": 3, "truncated": False}
    assert ("mission_activity", {"label": "Running: printf real; exit 3", "tool_name": "Bash"}) in sink.signals
    assert outcome.text == "After."


async def test_write_and_read_stay_inside_the_space(turn, sink, demo, space, tmp_path):
    (tmp_path / "outside.txt").write_text("secret")
    (space / "link").symlink_to(tmp_path / "outside.txt")
    await turn(demo, "write a/b.txt hello\nread a/b.txt\nread ../outside.txt\nread link\nwrite ../x no")
    assert (space / "a/b.txt").read_text() == "hello\n"
    assert not (tmp_path / "x").exists()
    written, read, *refused = sink.results()
    assert written["diff"][0]["new_text"] == read == "hello\n"
    assert all("outside the space" in text for text in refused)
    assert [draft.metadata["status"] for draft in sink.of("tool_result")][2:] == ["failed"] * 3


async def test_long_output_is_cut_and_says_so(turn, sink, demo):
    await turn(demo, "run yes | head -c 300000")
    result = sink.of("tool_result")[0]
    assert len(result.content) < 80_000
    assert result.metadata["truncated"] is True


async def test_a_plan_is_progress_and_events(turn, sink, demo):
    await turn(demo, "plan Dig; Plant; Water")
    assert sink.bodies("progress")[-1] == {
        "total_subtasks": 3,
        "completed_subtasks": 3,
        "current_subtask": None,
        "depth": 0,
    }
    assert [draft.metadata["kind"] for draft in sink.of("agent_event")].count("plan") == 4


@pytest.mark.parametrize(
    ("answer", "does_go_on"),
    [
        ("Allow", True),
        ("allow_once", True),
        ({"answers": {"Allow: Deploy?": "Always allow"}}, True),
        ("Reject", False),
        ({"answers": {"q": ["reject_once"]}}, False),
        ("what?", False),
    ],
)
async def test_a_question_waits_for_people_and_their_answer_counts(turn, sink, demo, answer, does_go_on):
    sink.answers.put_nowait(answer)
    outcome = await turn(demo, "ask Deploy\nrun echo deployed")
    asked = [draft for draft in sink.of("tool_call") if draft.tool_name == "AskUserQuestion"]
    assert question_of(asked[0])["options"] == [
        {"label": "Allow"},
        {"label": "Always allow"},
        {"label": "Reject"},
    ]
    assert asked[0].tool_call_id == sink.asked[0]
    assert asked[0].tool_call_id.startswith("perm_")
    assert json.loads(asked[0].content)["for_tool_call_id"] == sink.drafts[0].tool_call_id
    assert [body["state"] for body in sink.bodies("status")] == ["waiting_for_tool", "running"]
    assert ("deployed\n" in sink.results()) is does_go_on
    assert outcome.success
    # The client's post records the answer; the turn must not record it twice.
    assert [draft for draft in sink.of("tool_result") if draft.tool_name == "AskUserQuestion"] == []


async def test_a_question_that_nobody_answers_is_rejected_in_time(turn, sink, demo):
    outcome = await turn(demo, "ask Deploy", question_seconds=0.1)
    closing = [draft for draft in sink.of("tool_result") if draft.tool_name == "AskUserQuestion"]
    assert [draft.dedupe_key for draft in closing] == [f"answer:{sink.asked[0]}"]
    assert closing[0].metadata["status"] == "timed_out"
    assert "You rejected it" in outcome.text


async def test_cancel_closes_an_open_question(turn, sink, demo):
    cancel = asyncio.Event()
    running = asyncio.create_task(turn(demo, "ask Deploy", cancel=cancel))
    await sink.until(lambda sink: bool(sink.asked))
    cancel.set()
    outcome = await running
    assert outcome.reason == "cancelled"
    closing = [draft for draft in sink.of("tool_result") if draft.tool_name == "AskUserQuestion"]
    assert [draft.dedupe_key for draft in closing] == [f"answer:{sink.asked[0]}"]
    assert {draft.tool_call_id for draft in sink.of("tool_call")} == {
        draft.tool_call_id for draft in sink.of("tool_result")
    }


async def test_cancel_in_mid_stream_keeps_the_partial_text(turn, sink, demo):
    cancel = asyncio.Event()
    running = asyncio.create_task(turn(demo, "slow\nsay " + "word " * 200, cancel=cancel))
    await sink.until(lambda sink: bool(sink.bodies("text_delta")))
    cancel.set()
    outcome = await running
    assert (outcome.success, outcome.reason, outcome.error) == (False, "cancelled", None)
    assert outcome.text.startswith("word word")
    assert len(outcome.text) < 900


async def test_a_command_is_over_when_its_shell_is(turn, sink, demo, living):
    await turn(demo, "run setsid sleep 300 & sleep 300 & echo here")
    assert sink.results() == ["here\n"]


async def test_cancel_in_mid_command_leaves_no_process(turn, sink, demo, living):
    cancel = asyncio.Event()
    command = "run setsid sleep 300 & (sleep 300 &) ; echo started; sleep 300"
    running = asyncio.create_task(turn(demo, command, cancel=cancel))
    await sink.until(lambda sink: bool(sink.of("tool_call")))
    await living.until(lambda pids: len(pids) >= 4)
    cancel.set()
    outcome = await running
    assert outcome.reason == "cancelled"
    assert living() == []
    assert sink.of("tool_result")[0].metadata["status"] == "cancelled"


async def test_a_cancelled_caller_ends_the_agent_too(turn, sink, demo, living):
    running = asyncio.create_task(turn(demo, "run sleep 300"))
    await sink.until(lambda sink: bool(sink.of("tool_call")))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await living.until(lambda pids: not pids)


async def test_a_turn_that_is_cancelled_before_it_starts_starts_nothing(turn, demo):
    cancel = asyncio.Event()
    cancel.set()
    outcome = await turn(demo, cancel=cancel)
    assert (outcome.reason, outcome.session_id) == ("cancelled", None)
    assert not demo.home.exists()


async def test_an_error_response_is_explained(turn, sink, demo):
    outcome = await turn(demo, "say Half a\nfail the model is down")
    assert (outcome.success, outcome.reason, outcome.text) == (False, "failed", "Half a")
    assert "the model is down" in outcome.error
    assert "again" in outcome.error


async def test_a_crash_is_explained_and_closes_open_calls(turn, sink, demo, living):
    outcome = await turn(demo, "say Going\ncrash")
    assert outcome.reason == "failed"
    assert "exit code 3" in outcome.error
    assert outcome.text == "Going"


async def test_nothing_of_the_servers_environment_leaks(turn, sink, demo, monkeypatch):
    monkeypatch.setenv("MISSIONSTREAM_SECRET_FOR_TEST", "leak")
    monkeypatch.setenv("PGPASSWORD", "leak")
    await turn(demo, "run env")
    names = {line.partition("=")[0] for line in sink.results()[0].splitlines()}
    assert "leak" not in sink.results()[0]
    assert {"HOME", "TERM", "NO_COLOR", "MISSIONSTREAM_RUN_ID", "XDG_CACHE_HOME"} <= names
    assert names.isdisjoint({"PYTHONPATH", "PGPASSWORD", "DEMO_AGENT_DELAY_SECONDS"})


async def test_the_space_cannot_shadow_our_modules(turn, demo, space):
    for name in ("acp.py", "server.py", "asyncio.py"):
        (space / name).write_text("raise SystemExit('shadowed')")
    outcome = await turn(demo, "say Safe.")
    assert outcome.text == "Safe."
