"""How an event looks to people: one rich Text per event. Pure."""

import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from datetime import tzinfo
from typing import Any, NamedTuple

from rich.text import Text

from missionstream_client import Event

INDENT = 27
"""Columns before an event's body: the time, its sequence and the word for its type."""

_WORD = 9
_MIN_BODY = 30
_MAX_CALL_LINES = 3
_MAX_OUTPUT_LINES = 6
_MAX_TEXT_LINES = 60
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Part(NamedTuple):
    """Some lines of a body in one style; `limit` shortens them, `hang` indents all but the first."""

    text: str
    style: str = ""
    limit: int = _MAX_TEXT_LINES
    hang: int = 0


Body = Callable[[Event], Iterator[Part]]


class Look(NamedTuple):
    """The word for an event type, its colour, and what stands behind it."""

    word: str
    style: str
    body: Body


def plain(text: str) -> str:
    """Text that cannot steer a terminal: no escape sequences, no control or direction characters but the newline."""
    text = _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n").expandtabs(4))
    return _UNSEEN.sub("", text)


def shortened(lines: list[str], limit: int) -> list[str]:
    """At most `limit` lines, the last of which tells how many are missing."""
    if len(lines) <= limit:
        return lines
    return [*lines[: limit - 1], f"… {len(lines) - limit + 1} more lines"]


def event_text(event: Event, *, width: int = 100, zone: tzinfo | None = None) -> Text:
    """An event as lines of at most `width` columns: when, sequence, what, and the body indented below each other.

    Times are in `zone`, the reader's own unless given. Whatever the event holds, the text is safe to print.
    """
    look = LOOKS.get(event.event_type) or Look(plain(event.event_type).replace("\n", " "), "", _other)
    text = Text()
    text.append(f"{event.timestamp.astimezone(zone):%H:%M:%S}", style="dim")
    text.append(f" {event.sequence:>6}  ", style="dim")
    text.append(look.word.ljust(_WORD), style=look.style)
    lines = list(_lines(look.body(event), max(_MIN_BODY, width - INDENT)))
    column = INDENT if len(look.word) <= _WORD else None
    for number, (line, style) in enumerate(lines):
        if number or column is None:
            text.append("\n" + " " * INDENT)
        else:
            text.append(" ")
        text.append(line, style=style)
    text.rstrip()
    return text


def _lines(parts: Iterator[Part], width: int) -> Iterator[tuple[str, str]]:
    for part in parts:
        hang = " " * part.hang
        wrapped = [
            piece
            for line in plain(part.text).strip("\n").splitlines()
            for piece in textwrap.wrap(
                line, width, subsequent_indent=hang, drop_whitespace=False, replace_whitespace=False,
                break_on_hyphens=False,
            ) or [""]
        ]  # fmt: skip
        for line in shortened(wrapped, part.limit):
            yield line.rstrip(), part.style


# bodies


def _text(style: str = "") -> Body:
    def body(event: Event) -> Iterator[Part]:
        yield Part(event.content, style)

    return body


def _created(event: Event) -> Iterator[Part]:
    backend = event.metadata.get("backend")
    yield Part((event.content or "untitled") + (f"  ({backend})" if backend else ""), "bold")


def _status(event: Event) -> Iterator[Part]:
    status = str(event.metadata.get("status") or "")
    reason = event.metadata.get("terminal_reason")
    yield Part(status + (f"  ({reason})" if reason else ""), STATUS_STYLES.get(status, ""))
    if event.content:
        yield Part(event.content, "dim")


def _user(event: Event) -> Iterator[Part]:
    yield Part(event.content, "cyan")
    if event.metadata.get("queued"):
        yield Part("queued: the agent is busy", "dim")


def _assistant(event: Event) -> Iterator[Part]:
    yield Part(event.content)
    if event.metadata.get("success") is False:
        yield Part("cut off here", "yellow")


def _call(event: Event) -> Iterator[Part]:
    args = _decoded(event.content)
    fields = args if isinstance(args, dict) else {}
    if isinstance(fields.get("questions"), list):
        yield from _question(fields["questions"])
    elif isinstance(fields.get("command"), str):
        yield Part(f"$ {fields['command']}", "yellow", _MAX_CALL_LINES, hang=2)
    else:
        subject = next((fields[key] for key in _SUBJECTS if isinstance(fields.get(key), str)), None)
        shown = event.content if subject is None else subject
        yield Part(f"{event.tool_name or 'tool'} {shown}", "yellow", _MAX_CALL_LINES, hang=2)


_SUBJECTS = ("path", "file_path", "filePath", "pattern", "query", "url", "title")


def _question(questions: list[Any]) -> Iterator[Part]:
    for asked in questions:
        if not isinstance(asked, dict):
            continue
        yield Part(str(asked.get("question") or "a question"), "bold yellow")
        options = [option.get("label") for option in asked.get("options") or () if isinstance(option, dict)]
        if options:
            yield Part("waits for an answer: " + ", ".join(map(str, options)), "dim")


def _result(event: Event) -> Iterator[Part]:
    status, code = event.metadata.get("status"), event.metadata.get("exit_code")
    if status not in (None, "completed"):
        yield Part(str(status) + (f", exit code {code}" if code is not None else ""), "red")
    value = _decoded(event.content)
    output, diffs = value, []
    if isinstance(value, dict):
        diffs = [diff for diff in value.get("diff") or () if isinstance(diff, dict)]
        output = value.get("output", "") if diffs or set(value) == {"output"} else value
    shown = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    yield Part(shown, "dim", _MAX_OUTPUT_LINES)
    for diff in diffs:
        yield Part(f"wrote {diff.get('path', 'a file')}", "dim", 1)


def _ended(event: Event) -> Iterator[Part]:
    tokens = (event.metadata.get("usage") or {}).get("total_tokens")
    reason = str(event.metadata.get("reason") or "")
    yield Part(reason + (f", {tokens} tokens" if tokens else ""), "dim")


def _agent(event: Event) -> Iterator[Part]:
    kind, tokens = event.metadata.get("kind"), (event.metadata.get("tokens") or {}).get("total_tokens")
    yield Part(str(kind or event.content) + (f": {tokens} tokens" if tokens else ""), "dim", 1)


def _nothing(event: Event) -> Iterator[Part]:
    yield from ()


def _other(event: Event) -> Iterator[Part]:
    yield Part(event.content or (json.dumps(event.metadata, ensure_ascii=False) if event.metadata else ""), "", 3)


def _decoded(content: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content


STATUS_STYLES: Mapping[str, str] = {
    "active": "bold blue",
    "completed": "bold green",
    "failed": "bold red",
    "interrupted": "bold yellow",
}

LOOKS: Mapping[str, Look] = {
    "mission_created": Look("created", "bold", _created),
    "mission_status_changed": Look("status", "magenta", _status),
    "mission_title_changed": Look("title", "magenta", _text("bold")),
    "mission_deleted": Look("deleted", "red", _nothing),
    "user_message": Look("user", "bold cyan", _user),
    "assistant_message": Look("agent", "bold green", _assistant),
    "thinking": Look("thinking", "dim italic", _text("dim italic")),
    "tool_call": Look("tool", "bold yellow", _call),
    "tool_result": Look("result", "dim", _result),
    "error": Look("error", "bold red", _text("red")),
    "cancel_requested": Look("cancel", "bold yellow", _nothing),
    "messages_removed": Look("unqueued", "dim", _nothing),
    "run_ended": Look("run ended", "dim", _ended),
    "agent_event": Look("note", "dim", _agent),
    "erased": Look("erased", "dim", _nothing),
}
"""Event types without a row show their own name, and their content or metadata."""
