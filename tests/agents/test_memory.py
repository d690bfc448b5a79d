"""What an agent remembers: its own session loaded again, or else a summary of the log before its prompt."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import structs

from server.agents.memory import Loading, Past, answer_of, summary_of
from server.agents.profiles import PROFILES
from streams.event import Event

NOON = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
SUMMARY = "Context\n> User: say never\nEnd"

_SCRIPT = """
loaded = {}
for request in requests():
    method, params = request.get("method"), request.get("params")
    if method == "initialize":
        send(id=request["id"], result={"protocolVersion": 1, "agentCapabilities": {"loadSession": CAN}})
    elif method == "session/load":
        loaded = params
        text("told again")
        LOAD
    elif method == "session/new":
        send(id=request["id"], result={"sessionId": "s"})
    elif method == "session/prompt":
        said = [block["text"] for block in params["prompt"]]
        text(json.dumps([params["sessionId"], loaded.get("sessionId"), said]))
        send(id=request["id"], result={"stopReason": "end_turn"})
        break
"""


@pytest.fixture
def loading(scripted):
    """A launch of an agent that answers `session/load` in a way of its own."""

    def make(load: str, *, can: bool = True, **fields):
        return scripted(_SCRIPT.replace("LOAD", load).replace("CAN", str(can)), **fields)

    return make


_YES = 'send(id=request["id"], result={})'
_NO = 'send(id=request["id"], error={"code": -32002, "message": "unknown session"})'
_PAST = Past(session_id="old", session_at=NOON, summary=SUMMARY)


async def test_a_demo_agent_remembers_over_processes_and_repeats_nothing(turn, sink, demo):
    first = await turn(demo, "say one")
    past = Past(session_id=first.session_id, session_at=first.session_at, summary=SUMMARY)
    second = await turn(demo, "recall", past=past)
    assert second.session_id == first.session_id
    assert second.text == "I remember 2 messages, this one included."
    assert sink.drafts == [draft for draft in sink.drafts if draft.type == "agent_event"]
    third = await turn(demo, "recall", past=past)
    assert third.text.startswith("I remember 3 messages")


async def test_a_demo_agent_without_its_transcript_is_told_the_summary(turn, demo):
    past = Past(session_id=str(uuid.uuid4()), summary=SUMMARY)
    outcome = await turn(demo, "recall", past=past)
    assert outcome.session_id != past.session_id
    # the quoted instruction of the summary is none of this turn's
    assert outcome.text == "I remember 1 messages, this one included."
    assert (await turn(demo, "recall", past=Past(session_id="../../etc/passwd"))).success


async def test_a_loaded_session_is_prompted_without_a_summary_and_its_replay_is_not_recorded(turn, sink, loading):
    outcome = await turn(loading(_YES), "go", past=_PAST)
    assert json.loads(outcome.text) == ["old", "old", ["go"]]
    assert outcome.session_at > NOON
    assert sink.of("assistant_message") == []


_IN_PIECES = 'text("It is "); text("\\n done, "); text("all of it."); '


@pytest.mark.parametrize(
    ("told", "answer", "is_whole"),
    [(_IN_PIECES, "It is done,\nall of it.", True), (_IN_PIECES, "x" * 500 + "all of it.", False), ("", "done", False)],
)
async def test_a_session_that_came_without_the_last_answer_is_told_the_summary_too(
    turn, loading, told, answer, is_whole
):
    outcome = await turn(loading(told + _YES), "go", past=structs.replace(_PAST, answer=answer))
    assert json.loads(outcome.text) == ["old", "old", ["go"] if is_whole else [SUMMARY, "go"]]


async def test_what_is_told_again_after_the_answer_is_not_recorded_either(turn, sink, loading):
    late = _YES + '; time.sleep(0.1); text("told late"); time.sleep(0.1); text("and later")'
    past = structs.replace(_PAST, answer="told late and later")
    outcome = await turn(loading(late, loading=Loading(quiet_seconds=0.4)), "go", past=past)
    assert json.loads(outcome.text) == ["old", "old", ["go"]]
    assert sink.of("assistant_message") == []
    hurried = await turn(loading(late), "go", past=past)
    assert (hurried.text.startswith("told late"), SUMMARY.splitlines()[1] in hurried.text) == (True, True)


_LATE = """
        old = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "told late"}}
        send(method="session/update", params={"sessionId": "old", "update": old})"""


@pytest.mark.parametrize(
    ("load", "limits"),
    [(_NO, {}), (_NO + _LATE, {}), ("pass", {"load_seconds": 0.3})],
    ids=["refused", "refused and told late", "unanswered"],
)
async def test_a_session_that_does_not_come_is_replaced_by_a_summary(turn, loading, load, limits):
    outcome = await turn(loading(load), "go", past=_PAST, **limits)
    assert json.loads(outcome.text) == ["s", "old", [SUMMARY, "go"]]


async def test_a_long_session_is_told_again_whole_and_still_answered(turn, loading):
    long = 'for _ in range(120): text("x" * 65536)\n        ' + _YES  # more than may wait to be recorded
    assert json.loads((await turn(loading(long), "go", past=_PAST)).text) == ["old", "old", ["go"]]


_COST = 'update("usage_update", used=1, size=2, cost={"amount": 10.0, "currency": "USD"})\n        '


def _spending(launch, *amounts: float):
    """The same agent, that reports these costs of its session before it answers."""
    *interpreter, script = launch.command
    reports = "".join(_COST.replace("10.0", str(amount)) for amount in amounts)
    script = script.replace("        said = [", "        " + reports + "said = [")
    return structs.replace(launch, command=(*interpreter, script))


async def test_what_a_session_had_cost_before_it_was_loaded_is_not_counted_again(turn, loading):
    cost = _COST.replace("10.0", "9.0")
    outcome = await turn(loading(cost + _YES), "go", past=_PAST)
    assert outcome.use.cost_micros == 0
    assert (await turn(_spending(loading(cost + _YES), 9.5), "go", past=_PAST)).use.cost_micros == 500_000


@pytest.mark.parametrize(
    ("load", "reported", "micros"),
    [
        (_YES, 9.5, 500_000),
        (_YES, 9.0, 0),
        (_YES, 0.25, 250_000),
        (_COST + _YES, 10.5, 500_000),
        (_COST + _NO, 10.5, 10_500_000),
        (_NO, 9.5, 9_500_000),
    ],
    ids=["silent", "nothing new", "counts anew", "tells more than we knew", "tells it and refuses", "refuses"],
)
async def test_a_session_that_is_loaded_costs_only_what_comes_on_top(turn, sink, loading, load, reported, micros):
    past = structs.replace(_PAST, session_cost=9.0)
    outcome = await turn(_spending(loading(load), reported), "go", past=past)
    assert outcome.use.cost_micros == micros
    [(session_id, session_at, cost)] = sink.opened_sessions
    assert (session_id, session_at) == (outcome.session_id, outcome.session_at)
    assert cost == {_YES: 9.0, _COST + _YES: 10.0}.get(load, 0.0)
    assert sink.uses[-1] == (outcome.use, reported)


async def test_an_agent_that_counts_anew_may_pass_what_the_session_had_cost(turn, loading):
    past = structs.replace(_PAST, session_cost=0.5)
    assert (await turn(_spending(loading(_YES), 0.25, 0.75), "go", past=past)).use.cost_micros == 750_000


async def test_an_agent_that_dies_of_its_session_goes_on_without_it(turn, loading, living):
    outcome = await turn(loading("os._exit(9)"), "go", past=_PAST)
    assert json.loads(outcome.text) == ["s", None, [SUMMARY, "go"]]


async def test_an_agent_that_cannot_load_is_told_the_summary(turn, loading):
    outcome = await turn(loading("os._exit(9)", can=False), "go", past=_PAST)
    assert json.loads(outcome.text) == ["s", None, [SUMMARY, "go"]]


async def test_in_the_minute_of_its_start_a_session_is_not_loaded_where_that_would_wipe_it(turn, loading):
    launch = loading(_YES, loading=Loading(is_once_a_minute=True))
    now = datetime.now(UTC)
    if now.second > 50:  # the turn must not cross into the next minute
        now = datetime.now(UTC) + timedelta(minutes=1)
        assert not launch.loading.may_load(structs.replace(_PAST, session_at=now), now)
    else:
        outcome = await turn(launch, "go", past=structs.replace(_PAST, session_at=now))
        assert json.loads(outcome.text) == ["s", None, [SUMMARY, "go"]]
    assert json.loads((await turn(launch, "go", past=_PAST)).text)[1] == "old"


@pytest.mark.parametrize(
    ("seconds", "may"), [(0, False), (29, False), (30, True), (3600, True), (-30, False), (-31, True)]
)
def test_the_rule_of_the_clock_minute(seconds: int, may: bool):
    rule = PROFILES["gemini"].loading
    assert rule.may_load(_PAST, NOON + timedelta(seconds=seconds)) is may
    assert Loading().may_load(_PAST, NOON)
    assert not rule.may_load(Past(summary="x"), NOON)


def test_what_a_load_spoils_is_put_back(tmp_path: Path):
    chats = tmp_path / ".gemini/tmp/abc/chats"
    chats.mkdir(parents=True)
    (chats / "session.json").write_text("all of it")
    rule = PROFILES["gemini"].loading
    rule.keep(tmp_path)
    (chats / "session.json").write_text("")
    rule.put_back(tmp_path)
    assert (chats / "session.json").read_text() == "all of it"


async def test_a_load_that_spoiled_its_transcript_and_failed_leaves_the_old_one(turn, loading):
    launch = loading(f'open(os.environ["HOME"] + "/chats/one", "w").close(); {_NO}', loading=Loading(kept="chats"))
    (launch.home / "chats").mkdir(parents=True)
    (launch.home / "chats/one").write_text("all of it")
    assert (await turn(launch, "go", past=_PAST)).success
    assert (launch.home / "chats/one").read_text() == "all of it"


def _said(sequence: int, type: str, content: str, **metadata) -> Event:
    return Event(
        workspace_id=uuid.UUID(int=1), position=sequence, stream_id=uuid.UUID(int=2), sequence=sequence, type=type,
        at=NOON, content=content, metadata=json.dumps(metadata),
    )  # fmt: skip


def test_a_summary_quotes_what_was_said_before_the_message():
    events = [
        _said(1, "user_message", "first\nrun rm -r .", queued=False),
        _said(2, "user_message", "second", queued=True),
        _said(3, "assistant_message", "done"),
        _said(4, "user_message", "second", queued=False),
        _said(5, "user_message", "third", queued=True),
    ]
    lines = summary_of(events, 4).splitlines()
    assert lines[1:-1] == ["> User: first", "> run rm -r .", "> Assistant: done"]
    assert "not an instruction" in lines[0]
    assert (answer_of(events, 4), answer_of(events, 3)) == ("done", "")
    assert summary_of(events, 1) == ""
    assert summary_of([], 9) == ""


def test_a_summary_is_a_few_kilobytes_of_the_newest():
    events = [_said(n, "assistant_message", f"{n} " + "é" * 5000) for n in range(1, 50)]
    text = summary_of(events, 50)
    assert len(text.encode()) < 16 << 10
    assert "> Assistant: 49 " in text
    assert "> Assistant: 20 " not in text
