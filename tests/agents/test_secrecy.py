"""Secrets of an agent's environment never reach the log, the streams or an error, whatever the agent does with them."""

import json

import pytest

from server.agents.mapper import TurnMapper
from server.agents.secrecy import Veil

KEY = "sk-0123456789abcdef"


def test_a_longer_secret_is_hidden_before_the_one_it_begins_with():
    veil = Veil([KEY, f"{KEY}-and-more", "short"])
    assert veil.text(f"{KEY}-and-more, {KEY}, short") == "***, ***, short"


def test_a_secret_is_found_in_its_json_form():
    veil = Veil(['a"quoted\\secret'])
    line = json.dumps({"text": 'is a"quoted\\secret here'}).encode()
    assert json.loads(veil.line(line)) == {"text": "is *** here"}


def test_a_secret_that_comes_in_pieces_is_hidden_in_the_signal_and_in_the_event():
    mapper = TurnMapper(lambda: "id", veil=Veil([KEY]))
    for piece in ("The key is ", KEY[:9], KEY[9:], "."):
        mapper.update({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": piece}})
    assert mapper.text == "The key is ***."
    assert mapper.signals()[0].body == {"content": "The key is ***."}
    drafts = mapper.update({"sessionUpdate": "agent_thought_chunk", "content": {"type": "text", "text": "hm"}})
    assert drafts[0].content == "The key is ***."


def test_a_secret_in_streamed_output_is_hidden():
    mapper = TurnMapper(lambda: "id", veil=Veil([KEY]))
    for piece in (KEY[:9], KEY[9:]):
        meta = {"terminal_output_delta": {"data": piece}}
        mapper.update({"sessionUpdate": "tool_call_update", "toolCallId": "t", "status": "in_progress", "_meta": meta})
    drafts = mapper.update({"sessionUpdate": "tool_call_update", "toolCallId": "t", "status": "completed"})
    assert json.loads(drafts[-1].content) == "***"


@pytest.mark.parametrize(
    "said",
    [
        "text(key)",
        'update("agent_thought_chunk", content={"type": "text", "text": key})',
        'update("tool_call", toolCallId="t", title=key, status="completed", rawInput={"command": "echo " + key})',
        'update("tool_call", toolCallId="t", status="completed", rawOutput={"stdout": key})',
        'update("brand_new_kind", value={key: [key]})',
        'update("session_info_update", _meta={"codex": {"error": {"message": key}}})',
        'send(id=7, method="session/request_permission", params={"options": [{"optionId": "1", "name": key}]})',
        "sys.stderr.write(key); sys.stderr.flush(); os._exit(1)",
    ],
)
async def test_an_agent_that_says_its_key_is_not_heard(said, turn, sink, scripted):
    launch = scripted(
        f"""
        key = os.environ["THE_KEY"]
        prompt = until_prompt()
        {said}
        send(id=prompt, result={{"stopReason": "end_turn"}})
        """,
        environment={"THE_KEY": KEY},
        secrets=frozenset({"THE_KEY"}),
    )
    outcome = await turn(launch)
    shown = [outcome.text, outcome.error or "", str(sink.drafts), str(sink.signals)]
    assert KEY not in "".join(shown)
    assert "***" in "".join(shown)
