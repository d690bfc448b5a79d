"""How events look, without a terminal."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from missionstream_client import Event
from server.cli.render import INDENT, LOOKS, event_text, plain

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def shown(event_type: str, content: str = "", *, width: int = 80, **metadata: Any) -> str:
    tool = "Bash" if event_type.startswith("tool") else None
    event = Event(
        position=9, sequence=7, event_type=event_type, timestamp=AT, content=content, metadata=metadata, tool_name=tool
    )
    return event_text(event, width=width, zone=UTC).plain


@pytest.mark.parametrize(
    ("event_type", "content", "metadata", "line"),
    [
        ("mission_created", "tidy up", {"backend": "demo"}, "created   tidy up  (demo)"),
        ("mission_status_changed", "", {"status": "failed", "terminal_reason": "x"}, "status    failed  (x)"),
        ("user_message", "hello", {"queued": False}, "user      hello"),
        ("assistant_message", "hi", {"success": True}, "agent     hi"),
        ("tool_call", '{"command":"ls -la"}', {}, "tool      $ ls -la"),
        ("tool_call", '{"path":"a.txt"}', {}, "tool      Bash a.txt"),
        ("tool_call", "not json", {}, "tool      Bash not json"),
        ("tool_result", '"two words"', {"status": "completed"}, "result    two words"),
        ("tool_result", '{"a":[1]}', {"status": "completed"}, 'result    {"a": [1]}'),
        ("run_ended", "", {"reason": "end_turn", "usage": {"total_tokens": 5}}, "run ended end_turn, 5 tokens"),
        ("task_assigned", "", {"to": "mei"}, "task_assigned\n" + " " * INDENT + '{"to": "mei"}'),
        ("cancel_requested", "", {}, "cancel"),
    ],
)
def test_each_type_says_what_matters(event_type: str, content: str, metadata: dict[str, Any], line: str) -> None:
    assert shown(event_type, content, **metadata) == f"05:06:07      7  {line}"


def test_a_failed_tool_tells_its_exit_code_before_its_output() -> None:
    lines = shown("tool_result", '"no such file"', status="failed", exit_code=2).splitlines()
    assert [line[INDENT:] for line in lines] == ["failed, exit code 2", "no such file"]


def test_a_cut_off_answer_says_so() -> None:
    assert shown("assistant_message", "I had a", success=False).endswith("cut off here")


def test_a_question_shows_how_it_can_be_answered() -> None:
    asked = '{"questions":[{"question":"Allow: rm?","options":[{"label":"Allow"},{"label":"Reject"}]}]}'
    assert [line[INDENT:] for line in shown("tool_call", asked).splitlines()] == [
        "Allow: rm?",
        "waits for an answer: Allow, Reject",
    ]


def test_a_written_file_is_named_instead_of_its_text() -> None:
    content = '{"output":"","diff":[{"path":"a.txt","old_text":"","new_text":"much"}]}'
    assert shown("tool_result", content, status="completed").endswith("result    wrote a.txt")


def test_long_output_is_shortened_and_says_by_how_much() -> None:
    content = '"' + "\\n".join(f"line {n}" for n in range(100)) + '"'
    lines = shown("tool_result", content, status="completed").splitlines()
    assert len(lines) == 6
    assert lines[-1].strip() == "… 95 more lines"


def test_what_an_agent_says_cannot_steer_the_terminal() -> None:
    assert plain("\x1b[2Jred\x1b[0m\x1b]0;title\x07 \x9b31mx\u202e\rover\tx\x00") == "red 31mx\nover    x"


@given(
    st.sampled_from([*LOOKS, "other"]),
    st.text() | st.just('{"questions":[1,{"options":"x"}]}') | st.just('{"diff":[1],"output":3}'),
    st.dictionaries(st.text(), st.none() | st.text() | st.integers()),
)
def test_no_event_is_too_odd_to_be_shown(event_type: str, content: str, metadata: dict[str, Any]) -> None:
    text = shown(event_type, content, **{f"_{key}": value for key, value in metadata.items()})
    assert "\x1b" not in text
    for line in text.splitlines():
        assert len(line) <= 80
