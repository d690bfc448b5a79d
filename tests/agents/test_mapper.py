"""The mapper: each ACP shape gives its drafts and signals, and no update sequence breaks its promises."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.agents.mapper import MAX_TEXT, TurnMapper
from streams.event import MAX_CONTENT_BYTES, MAX_METADATA_BYTES, Draft, ascii_json, clean_value


def mapper() -> TurnMapper:
    numbers = itertools.count(1)
    return TurnMapper(lambda: f"id-{next(numbers)}", "model-1")


def play(updates: list[dict[str, Any]]) -> tuple[TurnMapper, list[Draft]]:
    one = mapper()
    drafts = [draft for update in updates for draft in one.update(update)]
    return one, drafts + one.finish("unknown")


def say(text: str, **fields: Any) -> dict[str, Any]:
    return {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}, **fields}


def muse(text: str) -> dict[str, Any]:
    return {"sessionUpdate": "agent_thought_chunk", "content": {"type": "text", "text": text}}


def tool(id: str = "t1", **fields: Any) -> dict[str, Any]:
    return {"sessionUpdate": "tool_call", "toolCallId": id, **fields}


def more(id: str = "t1", **fields: Any) -> dict[str, Any]:
    return {"sessionUpdate": "tool_call_update", "toolCallId": id, **fields}


def blocks(text: str) -> list[dict[str, Any]]:
    return [{"type": "content", "content": {"type": "text", "text": text}}]


DONE = more(status="completed", content=blocks("out"))


@pytest.mark.parametrize(
    ("updates", "types", "text"),
    [
        ([say("a"), say("b")], [], "ab"),
        ([muse("hm"), say("a")], ["thinking"], "a"),
        ([say("a"), muse("hm")], ["assistant_message", "thinking"], ""),
        ([say("a", messageId="1"), say("b", messageId="2")], ["assistant_message"], "b"),
        ([say("a", messageId="1"), say("b")], [], "ab"),
        ([say("", messageId="0"), say("a", messageId="1")], [], "a"),
        ([say("a"), tool(), DONE, say("b")], ["assistant_message", "tool_call", "tool_result"], "b"),
        ([say("\n"), tool(), DONE], ["tool_call", "tool_result"], ""),
        ([tool(status="pending")], ["tool_call", "tool_result"], ""),
        ([more(status="failed")], ["tool_call", "tool_result"], ""),
        ([tool(), DONE, DONE, tool()], ["tool_call", "tool_result"], ""),
        ([{"sessionUpdate": "user_message_chunk"}, {"sessionUpdate": "available_commands_update"}], [], ""),
        ([{"sessionUpdate": "odd"}, {}, None, 5], ["agent_event"] * 4, ""),
    ],
)
def test_updates_become_events_at_their_boundaries(updates, types, text):
    one, drafts = play(updates)
    assert [draft.type for draft in drafts] == types
    assert one.text == text


def test_a_pending_call_waits_for_its_arguments():
    one = mapper()
    assert one.update(tool(title="bash", kind="execute", status="pending", rawInput={})) == []
    opened = one.update(more(title="List", status="in_progress", rawInput={"command": "ls"}))
    assert [(draft.tool_name, json.loads(draft.content)) for draft in opened] == [("Bash", {"command": "ls"})]
    assert opened[0].metadata == {"title": "List", "kind": "execute"}
    assert one.signals()[0].body == {"label": "Running: ls", "tool_name": "Bash"}


@pytest.mark.parametrize(
    ("update", "result", "exit_code"),
    [
        ({"content": blocks("plain")}, "plain", None),
        ({"content": blocks("```console\n\x1b[31mred\x1b[0m\n```")}, "red", None),
        ({"rawOutput": {"output": [104, 105], "exit_code": 3}}, "hi", 3),
        ({"rawOutput": {"output": "hi", "metadata": {"exit": 4}}}, "hi", 4),
        ({"rawOutput": {"stdout": "a", "stderr": "b"}}, "a\nb", None),
        ({"rawOutput": [{"type": "text", "text": "hi"}]}, "hi", None),
        ({"rawOutput": {"matches": 3}}, {"matches": 3}, None),
        ({"rawOutput": {"output": [], "output_for_prompt": "", "exit_code": 0}}, "", 0),
        ({"rawOutput": "Exit code 3\nhello"}, "Exit code 3\nhello", 3),
        ({"rawOutput": "Exit codes are 3 digits"}, "Exit codes are 3 digits", None),
        ({"content": blocks("shown"), "rawOutput": {"output": "raw", "exit_code": True}}, "shown", None),
        (
            {"_meta": {"terminal_output_delta": {"data": "tick"}, "terminal_exit": {"exit_code": 1}}},
            "ticktick",
            1,
        ),
        (
            {"content": [{"type": "diff", "path": "a", "oldText": None, "newText": "x"}]},
            {"output": "", "diff": [{"path": "a", "old_text": "", "new_text": "x"}]},
            None,
        ),
    ],
)
def test_output_is_found_where_each_agent_puts_it(update, result, exit_code):
    _, drafts = play([tool(status="in_progress", **update), more(status="completed", **update)])
    assert json.loads(drafts[1].content) == result
    assert drafts[1].metadata == {"status": "completed", "exit_code": exit_code, "truncated": False}


def test_what_describes_a_call_before_it_is_under_way_is_not_its_output():
    one = mapper()
    described = {"toolCallId": "t1", "status": "pending", "content": blocks("[in the folder /space]")}
    one.question({"toolCall": described, "options": []}, "perm_1")
    drafts = one.finish("cancelled")
    assert [(draft.metadata["status"], json.loads(draft.content)) for draft in drafts] == [("cancelled", "")]


def test_a_call_that_is_cut_off_has_no_exit_code():
    _, drafts = play([tool(status="in_progress", rawOutput={"output": "so far", "exit_code": 0})])
    assert json.loads(drafts[-1].content) == "so far"
    assert drafts[-1].metadata["exit_code"] is None


DIFF = {"type": "diff", "path": "a", "oldText": "", "newText": "x"}


@pytest.mark.parametrize(
    ("is_rejected", "result"),
    [(False, {"output": "Written", "diff": [{"path": "a", "old_text": "", "new_text": "x"}]}), (True, "Written")],
)
def test_the_diff_of_a_permission_request_is_kept_unless_people_say_no(is_rejected, result):
    one = mapper()
    one.question({"toolCall": {"toolCallId": "t1", "kind": "edit", "content": [DIFF]}, "options": []}, "perm_1")
    if is_rejected:
        one.reject("t1")
    drafts = one.update(more(status="failed", content=blocks("Written")))
    assert json.loads(drafts[-1].content) == result
    assert drafts[-1].metadata["status"] == ("rejected" if is_rejected else "failed")


def codex(**fields: Any) -> dict[str, Any]:
    return {"sessionUpdate": "session_info_update", "_meta": {"codex": fields}}


RETRY = codex(error={"message": "Reconnecting... 1/2", "additionalDetails": "High demand", "willRetry": True})


@pytest.mark.parametrize(
    ("updates", "fault"),
    [
        ([RETRY, say("It went well.")], None),
        ([RETRY, codex(threadStatus={"type": "systemError"})], "High demand"),
        ([codex(threadStatus={"type": "systemError"})], "system error"),
        ([RETRY, codex(error={"message": "Gave up"}), codex(threadStatus={"type": "systemError"})], "Gave up"),
        ([codex(threadStatus={"type": "idle"})], None),
    ],
)
def test_only_an_error_that_is_not_tried_again_is_a_fault(updates, fault):
    one, _ = play(updates)
    assert one.fault == fault


def test_a_huge_output_is_cut_in_the_middle_and_says_so():
    _, drafts = play([more(status="completed", content=blocks("a" + "x" * 3_000_000 + "z"))])
    output = json.loads(drafts[1].content)
    assert len(output) <= 32 << 10
    assert (output[0], output[-1]) == ("a", "z")
    assert drafts[1].metadata["truncated"] is True


def test_huge_arguments_stay_an_object():
    _, drafts = play([tool(status="in_progress", rawInput={"path": "a", "content": "x" * 3_000_000})])
    args = json.loads(drafts[0].content)
    assert args["path"] == "a"
    assert len(drafts[0].content) <= 64 << 10
    assert drafts[0].metadata["truncated"] is True


def test_a_call_first_seen_in_its_permission_request_is_opened_by_it():
    one = mapper()
    one.update(say("May I?"))
    params = {
        "toolCall": {"toolCallId": "t1", "title": "rm -r build", "kind": "execute"},
        "options": [{"optionId": "p", "name": "Allow", "kind": "allow_once"}],
    }
    question, drafts = one.question(params, "perm_1")
    assert [draft.type for draft in drafts] == ["assistant_message", "tool_call", "tool_call"]
    assert json.loads(drafts[1].content) == {"command": "rm -r build"}
    assert json.loads(drafts[2].content) == {
        "questions": [
            {
                "question": "Allow: rm -r build?",
                "header": "Permission",
                "options": [{"label": "Allow"}],
                "multiSelect": False,
            }
        ],
        "for_tool_call_id": "t1",
    }
    one.reject(question.tool_call_id)
    assert [draft.metadata["status"] for draft in one.finish("unknown")] == ["rejected"]


def test_open_calls_and_thoughts_end_with_the_turn():
    one = mapper()
    one.update(tool("t1", status="in_progress"))
    one.update(tool("t2"))
    one.update(muse("\n\nhm"))
    drafts = one.finish("cancelled")
    assert [draft.type for draft in drafts] == ["thinking", "tool_result", "tool_call", "tool_result"]
    assert drafts[0].content == "hm"
    assert [draft.metadata["status"] for draft in drafts if draft.type == "tool_result"] == ["cancelled"] * 2


def test_signals_are_whole_and_gone_once_the_event_takes_their_place():
    one = mapper()
    one.update(muse("I "))
    one.update(muse("think"))
    assert [(s.type, s.body) for s in one.signals()] == [("thinking", {"content": "I think", "done": False})]
    assert one.signals() == []
    one.update(say("a"))
    one.update(say("b"))
    assert [(s.type, s.body) for s in one.signals()] == [("text_delta", {"content": "ab"})]
    one.update(say("c"))
    one.update(tool())
    assert one.signals() == []


def test_only_tokens_are_counted():
    one = mapper()
    one.finish("unknown", {"_meta": {"usage": {"inputTokens": 3, "totalTokens": 4, "apiDurationMs": 9, "numTurns": 2}}})
    assert one.usage.tokens == {"input_tokens": 3, "total_tokens": 4}


def test_usage_is_one_event_at_the_end():
    one = mapper()
    for amount in (0.01, 0.0249):
        cost = {"amount": amount, "currency": "USD"}
        assert one.update({"sessionUpdate": "usage_update", "used": 10, "size": 100, "cost": cost}) == []
    drafts = one.finish("unknown", {"usage": {"inputTokens": 7, "outputTokens": 2, "weird": "x"}})
    assert [draft.metadata for draft in drafts] == [
        {
            "kind": "usage",
            "tokens": {"input_tokens": 7, "output_tokens": 2},
            "context": {"used": 10, "size": 100},
            "cost": {"amount": 0.0249, "currency": "USD"},
        }
    ]
    assert (one.usage.use(None).cost_micros, one.usage.use(None).tokens) == (24_900, 9)


@pytest.mark.parametrize(
    "response",
    [
        {"usage": {"inputTokens": 3}},
        {"_meta": {"usage": {"inputTokens": 3}}},
        {"_meta": {"quota": {"token_count": {"input_tokens": 3}}}},
    ],
)
def test_tokens_are_found_where_each_agent_puts_them(response):
    one = mapper()
    one.finish("unknown", response)
    assert one.usage.tokens == {"input_tokens": 3}


WORDS = st.text(min_size=1, max_size=20).map(lambda text: "w" + text)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(
    [
        *("agent_message_chunk", "agent_thought_chunk", "tool_call", "tool_call_update", "plan"),
        *("usage_update", "session_info_update", "current_mode_update", "nonsense"),
    ]
)
FIELDS = st.sampled_from(
    [
        *("content", "title", "kind", "status", "rawInput", "rawOutput", "locations", "_meta"),
        *("entries", "cost", "used", "size", "messageId"),
    ]
)
WILD = st.builds(
    lambda kind, tool_id, fields: {**fields, "sessionUpdate": kind, "toolCallId": tool_id},
    KINDS | ANYTHING,
    st.sampled_from(["a", "b", "c"]) | ANYTHING,
    st.dictionaries(FIELDS, ANYTHING, max_size=5),
)
SANE = st.one_of(
    st.builds(say, WORDS),
    st.builds(lambda text, message: say(text, messageId=message), WORDS, st.sampled_from("xyz")),
    st.builds(muse, WORDS),
    st.builds(tool, st.sampled_from("abc"), title=WORDS, rawInput=ANYTHING),
    st.builds(more, st.sampled_from("abc"), status=st.sampled_from(["pending", "in_progress", "completed", "failed"])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(SANE | WILD | ANYTHING, max_size=25), ANYTHING, ANYTHING)
def test_any_updates_give_storable_drafts_with_every_call_closed_once(updates, request, response):
    one = mapper()
    drafts: list[Draft] = []
    for update in updates:
        drafts += one.update(update)
        for signal in one.signals():
            ascii_json(clean_value(signal.body))
    question, opening = one.question(request, "perm_1")
    drafts += [*opening, question.closing("cancelled", "Cancelled"), *one.finish("unknown", response)]
    opened = [draft.tool_call_id for draft in drafts if draft.type == "tool_call"]
    closed = [draft.tool_call_id for draft in drafts if draft.type == "tool_result"]
    assert len(set(opened)) == len(opened)
    assert sorted(opened) == sorted(closed)
    places = {draft.tool_call_id: place for place, draft in enumerate(drafts) if draft.type == "tool_call"}
    assert all(places[draft.tool_call_id] < place for place, draft in enumerate(drafts) if draft.type == "tool_result")
    for draft in drafts:
        assert len(draft.content.encode()) <= MAX_CONTENT_BYTES
        assert len(ascii_json(clean_value(draft.metadata))) <= MAX_METADATA_BYTES
        if draft.type in {"tool_call", "tool_result"}:
            json.loads(draft.content)


@settings(max_examples=100, deadline=None)
@given(st.lists(SANE, max_size=25))
def test_no_text_is_lost_or_reordered(updates):
    one, drafts = play(updates)
    for kind, events in (("agent_message_chunk", "assistant_message"), ("agent_thought_chunk", "thinking")):
        said = "".join(u["content"]["text"] for u in updates if u["sessionUpdate"] == kind)
        kept = "".join(draft.content for draft in drafts if draft.type == events)
        kept += one.text if events == "assistant_message" else ""
        assert kept == said.replace("\0", "\ufffd")


def test_text_beyond_one_event_goes_on_in_the_next():
    one, drafts = play([say("x" * (MAX_TEXT - 1)), say("yy"), say("z" * MAX_TEXT)])
    assert [len(draft.content) for draft in drafts] == [MAX_TEXT - 1, 2]
    assert one.text == "z" * MAX_TEXT
