"""Turns of agents that misbehave: each ends in time, says why, and leaves nothing behind."""

import asyncio

import pytest

from server.agents.process import Launch
from server.agents.spawning import spawn
from server.agents.survivors import sweep


async def test_garbage_lines_are_skipped(turn, sink, scripted):
    outcome = await turn(
        scripted("""
        print("Welcome to the agent!", flush=True)
        print(42, flush=True)
        print("[1, 2]", flush=True)
        print("[" * 5000, flush=True)
        prompt = until_prompt()
        sys.stdout.buffer.write(b"\\xff\\xfe\\n\\n")
        print('{"jsonrpc": "2.0", "id": [1], "result": {}}', flush=True)
        print('{"jsonrpc": "2.0", "method": 5}', flush=True)
        send(method="_x.ai/news", params={"a": 1})
        send(method="session/update", params=None)
        update("brand_new_kind", value=1)
        text("still ")
        text("here \\ud800 \\0")
        send(id=prompt, result={"stopReason": "end_turn"})
        """)
    )
    assert (outcome.success, outcome.error) == (True, None)
    assert outcome.text == "still here \ufffd \ufffd"
    assert {"kind": "brand_new_kind", "raw": {"sessionUpdate": "brand_new_kind", "value": 1}} in [
        draft.metadata for draft in sink.of("agent_event")
    ]


async def test_unknown_requests_are_refused_and_the_turn_goes_on(turn, scripted):
    outcome = await turn(
        scripted("""
        prompt = until_prompt()
        send(id=77, method="fs/read_text_file", params={"path": "/etc/passwd"})
        reply = next(requests())
        text(str(reply["id"]) + str(reply["error"]["code"]))
        send(id=prompt, result={"stopReason": "end_turn"})
        """)
    )
    assert outcome.text == "77-32601"


async def test_two_thousand_updates_stay_in_order_and_are_batched(turn, sink, scripted):
    outcome = await turn(
        scripted("""
        prompt = until_prompt()
        for n in range(2000):
            update("session_info_update", title=str(n))
        send(id=prompt, result={"stopReason": "end_turn"})
        """)
    )
    assert outcome.success
    titles = [int(draft.metadata["raw"]["title"]) for draft in sink.of("agent_event")]
    assert titles == list(range(2000))
    assert len(sink.batches) < 1000


async def test_an_agent_that_never_answers_is_stopped(turn, scripted, living):
    outcome = await turn(scripted("time.sleep(300)"), first_update_seconds=0.2)
    assert outcome.reason == "failed"
    assert "said nothing for 0.2 s" in outcome.error


async def test_an_agent_that_falls_silent_is_stopped_and_its_text_kept(turn, scripted, living):
    outcome = await turn(
        scripted("""
        until_prompt()
        text("I think")
        import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(300)
        """),
        idle_seconds=0.3,
    )
    assert (outcome.reason, outcome.text) == ("failed", "I think")
    assert "said nothing for 0.3 s" in outcome.error


async def test_an_endless_turn_is_stopped(turn, scripted):
    outcome = await turn(
        scripted("""
        until_prompt()
        while True:
            text("more ")
            time.sleep(0.01)
        """),
        turn_seconds=0.5,
    )
    assert outcome.reason == "failed"
    assert "took longer than 0.5 s" in outcome.error
    assert outcome.text.startswith("more more")


async def test_an_agent_that_ignores_cancel_is_ended(turn, sink, scripted, living):
    cancel = asyncio.Event()
    launch = scripted("""
        until_prompt()
        text("on and on")
        import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(300)
        """)
    running = asyncio.create_task(turn(launch, cancel=cancel, cancel_seconds=0.2))
    await sink.until(lambda sink: bool(sink.bodies("text_delta")))
    cancel.set()
    outcome = await running
    assert (outcome.reason, outcome.text) == ("cancelled", "on and on")


async def test_a_flood_on_stderr_does_not_block_the_agent(turn, scripted):
    outcome = await turn(
        scripted("""
        prompt = until_prompt()
        sys.stderr.write("x" * 3_000_000)
        sys.stderr.flush()
        text("through")
        send(id=prompt, result={"stopReason": "end_turn"})
        """)
    )
    assert outcome.text == "through"


async def test_the_end_of_the_agents_log_explains_its_death_without_its_secrets(turn, scripted):
    launch = scripted(
        """
        until_prompt()
        sys.stderr.write("early\\n" * 9 + "bad key sk-12345\\n")
        sys.exit(7)
        """,
        environment={"THE_KEY": "sk-12345"},
        secrets=frozenset({"THE_KEY"}),
    )
    outcome = await turn(launch)
    assert "exit code 7" in outcome.error
    assert "bad key ***" in outcome.error


async def test_a_closed_stdout_ends_the_turn(turn, scripted, living):
    outcome = await turn(
        scripted("""
        until_prompt()
        text("last words")
        os.close(1)
        time.sleep(300)
        """)
    )
    assert (outcome.reason, outcome.text) == ("failed", "last words")
    assert "stopped unexpectedly" in outcome.error


async def test_a_child_that_keeps_the_pipe_does_not_hide_the_agents_death(turn, scripted, living):
    outcome = await turn(
        scripted("""
        until_prompt()
        subprocess.Popen(["sleep", "300"], start_new_session=True)
        os._exit(4)
        """)
    )
    assert "exit code 4" in outcome.error


async def test_a_line_of_20_megabytes_fails_the_turn_clearly(turn, scripted):
    outcome = await turn(
        scripted("""
        until_prompt()
        text("x" * 20_000_000)
        time.sleep(300)
        """)
    )
    assert outcome.reason == "failed"
    assert "line of more than 16 MiB" in outcome.error


@pytest.mark.parametrize(
    "noise",
    [
        'print("x" * 1_000_000, flush=True)',
        'send(method="_x/news", params="x" * 1_000_000)',
        'send(id=n, method="_x/ask", params="x" * 1_000_000); next(requests())',
        'send(id=f"r{n}", result="x" * 1_000_000)',
    ],
    ids=["garbage", "notifications", "requests", "answers to nothing"],
)
async def test_much_that_is_never_recorded_does_not_stop_the_reading(turn, scripted, noise):
    outcome = await turn(
        scripted(f"""
        prompt = until_prompt()
        for n in range(10):
            {noise}
        text("through")
        send(id=prompt, result={{"stopReason": "end_turn"}})
        """),
        idle_seconds=5,
    )
    assert (outcome.success, outcome.text) == (True, "through")


async def test_a_line_of_5_megabytes_becomes_several_messages(turn, sink, scripted):
    outcome = await turn(
        scripted("""
        prompt = until_prompt()
        text("x" * 5_000_000)
        send(id=prompt, result={"stopReason": "end_turn"})
        """)
    )
    assert outcome.success
    assert max(len(draft.content) for draft in sink.of("assistant_message")) <= 200_000
    assert sum(len(draft.content) for draft in sink.of("assistant_message")) + len(outcome.text) == 5_000_000


async def test_more_than_the_turns_bytes_fail_it(turn, scripted):
    outcome = await turn(
        scripted("""
        until_prompt()
        for _ in range(1000):
            text("x" * 10_000)
        time.sleep(300)
        """),
        wire_bytes=1 << 20,
    )
    assert "more than 1 MiB in one turn" in outcome.error


async def test_a_prompt_that_the_agent_never_reads_does_not_hang_us(turn, scripted):
    launch = scripted("""
        for request in requests():
            send(id=request["id"], result={"protocolVersion": 1, "sessionId": "s"})
            if request["method"] == "session/new":
                time.sleep(300)
        """)
    outcome = await turn(launch, "x" * 3_000_000, first_update_seconds=0.5)
    assert "said nothing" in outcome.error


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ('result={"protocolVersion": 9}', "version 9"),
        ('error={"code": -32000, "message": "Authentication required"}', "not signed in"),
        ('error="no"', "no"),
        ("result=5", "version None"),
    ],
)
async def test_a_bad_greeting_is_explained(turn, scripted, answer, text):
    outcome = await turn(scripted(f'send(id=next(requests())["id"], {answer}); time.sleep(300)'))
    assert outcome.reason == "failed"
    assert text in outcome.error


@pytest.mark.parametrize(
    ("response", "reason", "is_success"),
    [
        ({"stopReason": "end_turn"}, "end_turn", True),
        ({"stopReason": "max_tokens"}, "max_tokens", False),
        ({"stopReason": "max_turn_requests"}, "max_turn_requests", False),
        ({"stopReason": "refusal"}, "refusal", False),
        ({"stopReason": "tired"}, "failed", False),
        ({"stopReason": "cancelled"}, "cancelled", False),
        (None, "failed", False),
    ],
)
async def test_every_stop_reason_has_its_outcome(turn, scripted, response, reason, is_success):
    outcome = await turn(scripted(f"send(id=until_prompt(), result={response!r})"))
    assert (outcome.reason, outcome.success) == (reason, is_success)
    assert (outcome.error is None) == (reason in {"end_turn", "cancelled"})


async def test_an_error_hidden_beside_a_normal_end_fails_the_turn(turn, scripted):
    outcome = await turn(
        scripted("""
        prompt = until_prompt()
        update("session_info_update", _meta={"codex": {"error": {"message": "quota used up"}}})
        send(id=prompt, result={"stopReason": "end_turn"})
        """)
    )
    assert (outcome.success, outcome.reason) == (False, "failed")
    assert "quota used up" in outcome.error


async def test_late_updates_are_kept(turn, sink, scripted):
    await turn(
        scripted("""
        prompt = until_prompt()
        send(id=prompt, result={"stopReason": "end_turn"})
        sys.stdin.read()
        update("session_info_update", title="A late title")
        """)
    )
    assert sink.of("agent_event")[0].metadata["raw"]["title"] == "A late title"


async def test_a_question_in_the_agents_last_breath_is_closed(turn, sink, scripted):
    await turn(
        scripted("""
        prompt = until_prompt()
        send(id=prompt, result={"stopReason": "end_turn"})
        sys.stdin.read()
        send(id=5, method="session/request_permission", params={"toolCall": {"toolCallId": "t"}, "options": []})
        """)
    )
    opened = [draft.tool_call_id for draft in sink.of("tool_call")]
    assert sorted(opened) == sorted(draft.tool_call_id for draft in sink.of("tool_result"))
    assert len(opened) == 2
    assert sink.bodies("status") == []


async def test_a_sink_that_fails_ends_the_agent_and_is_heard(turn, sink, scripted, living, monkeypatch):
    async def answer(tool_call_id):
        raise LookupError("bus lost")

    monkeypatch.setattr(sink, "answer", answer)
    launch = scripted("""
        until_prompt()
        send(id=5, method="session/request_permission", params={"toolCall": {"toolCallId": "t"}, "options": []})
        time.sleep(300)
        """)
    with pytest.raises(LookupError, match="bus lost"):
        await turn(launch)


async def test_a_log_that_fails_ends_the_agent_and_is_heard(turn, sink, scripted, living, monkeypatch):
    async def record(drafts):
        raise LookupError("log lost")

    monkeypatch.setattr(sink, "record", record)
    launch = scripted("""
        until_prompt()
        update("brand_new_kind")
        time.sleep(300)
        """)
    with pytest.raises(LookupError, match="log lost"):
        await turn(launch)


async def test_the_model_is_set_where_the_agent_offers_one(turn, scripted):
    launch = scripted(
        """
        for request in requests():
            method = request["method"]
            if method == "session/set_config_option":
                chosen = request["params"]["configId"] + "=" + request["params"]["value"]
                send(id=request["id"], result={})
            elif method == "session/prompt":
                text(chosen)
                send(id=request["id"], result={"stopReason": "end_turn"})
            else:
                option = {"id": "m", "category": "model", "currentValue": "small"}
                send(id=request["id"], result={"protocolVersion": 1, "sessionId": "s", "configOptions": [option]})
        """,
        model="large",
    )
    outcome = await turn(launch)
    assert (outcome.text, outcome.model) == ("m=large", "large")


async def test_a_missing_program_and_a_missing_space_are_explained(turn, space, tmp_path, run_id):
    fields = {"run_id": run_id, "backend": "x", "home": tmp_path / "home"}
    outcome = await turn(Launch(command=("/no/such/agent",), space=space, **fields))
    assert "/no/such/agent" in outcome.error
    outcome = await turn(Launch(command=("true",), space=tmp_path / "gone", **fields))
    assert "gone" in outcome.error


async def test_limits_hold_for_the_agent(turn, scripted):
    outcome = await turn(
        scripted("""
        import resource
        prompt = until_prompt()
        text(str([resource.getrlimit(what)[0] for what in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE)]))
        send(id=prompt, result={"stopReason": "end_turn"})
        """)
    )
    assert outcome.text == f"[0, {1 << 30}]"


async def test_a_sweep_finds_what_a_killed_server_left(scripted, run_id, living):
    process = await spawn(scripted('subprocess.Popen(["sleep", "300"], start_new_session=True); time.sleep(300)'))
    await living.until(lambda pids: len(pids) == 2)
    assert await sweep(["another-run"]) == 0
    assert await sweep([run_id]) == 2
    await process.close()
    process.release()
