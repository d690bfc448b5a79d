"""Events, the durable numbered facts, drafts of them, and signals, the transient current values."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from streams.errors import BadRequest

MAX_DEPTH = 32
MAX_CONTENT_BYTES = 1 << 20
MAX_METADATA_BYTES = 256 << 10
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An event that has no number yet.

    `event_id` is what clients see; `dedupe_key` makes the draft unique in its stream (a repeat gets the numbers of the
    first). `to_workspace` puts it into the workspace's own stream instead of the mission's.
    """

    type: str
    content: str = ""
    metadata: dict[str, Any] = {}
    event_id: str | None = None
    dedupe_key: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    actor: str | None = None
    to_workspace: bool = False


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A stored fact: `sequence` is its place in its stream, `position` its place in the workspace, both gapless."""

    workspace_id: UUID
    position: int
    stream_id: UUID
    sequence: int
    type: str
    at: datetime
    actor: str | None = None
    crew_id: UUID | None = None
    team_id: UUID | None = None
    event_id: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    content: str = ""
    metadata: str = "{}"
    """JSON text exactly as stored, so that a re-read frame equals the published one byte for byte."""

    def data(self) -> dict[str, Any]:
        """The metadata, decoded."""
        decoded: dict[str, Any] = msgspec.json.decode(self.metadata)
        return decoded


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A transient current value: whole (never a fragment), conflated, without a number.

    `after` is the mission's sequence when it was made; a signal that arrives after its run's end is dropped.
    """

    workspace_id: UUID
    stream_id: UUID
    type: str
    after: int
    body: dict[str, Any]
    run_id: UUID | None = None


def cleaned(draft: Draft) -> Draft:
    """The draft with every string storable; BadRequest when its metadata nests too deep."""
    texts = (draft.content, draft.event_id, draft.dedupe_key, draft.tool_call_id, draft.tool_name)
    if not draft.metadata and all(map(_is_storable, texts)):
        return draft
    return Draft(
        type=draft.type,
        content=clean_text(draft.content),
        metadata=clean_value(draft.metadata),
        event_id=draft.event_id and clean_text(draft.event_id),
        dedupe_key=draft.dedupe_key and clean_text(draft.dedupe_key),
        tool_call_id=draft.tool_call_id and clean_text(draft.tool_call_id),
        tool_name=draft.tool_name and clean_text(draft.tool_name),
        actor=draft.actor,
        to_workspace=draft.to_workspace,
    )


def _is_storable(text: str | None) -> bool:
    if not text:
        return True
    return "\0" not in text if text.isascii() else _UNSTORABLE.search(text) is None


def clean_text(text: str) -> str:
    """Replace what PostgreSQL and JSON readers cannot hold (NUL, lone surrogates) by U+FFFD."""
    return text if _is_storable(text) else _UNSTORABLE.sub("\ufffd", text)


def clean_value(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Clean every string of a JSON value; BadRequest when it nests deeper than `depth` or is no JSON value."""
    if depth < 0:
        raise BadRequest(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(str(key)): clean_value(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_value(item, depth - 1) for item in value]
    return value


def check_depth(value: Any, depth: int = MAX_DEPTH) -> None:
    """BadRequest when a JSON value nests deeper than `depth`."""
    if depth < 0:
        raise BadRequest(f"nested deeper than {MAX_DEPTH} levels")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_depth(item, depth - 1)


_LATIN = {code: f"\\u{code:04x}" for code in range(0x80, 0x100)}
_HAS_LATIN = re.compile("[\x80-\xff]")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
"""What `backslashreplace` does not write as \\uXXXX."""


def _as_pair(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return f"\\u{units[0]:02x}{units[1]:02x}\\u{units[2]:02x}{units[3]:02x}"


_encoder = msgspec.json.Encoder()


def ascii_json(value: Any) -> bytes:
    """One line of pure ASCII JSON (some readers decode byte by byte); non-ASCII becomes \\uXXXX."""
    encoded = _encoder.encode(value)
    if encoded.isascii():
        return encoded
    text = encoded.decode()
    if _HAS_LATIN.search(text):
        text = text.translate(_LATIN)
    return _ASTRAL.sub(_as_pair, text).encode("ascii", "backslashreplace")


def timestamp(at: datetime) -> str:
    """`YYYY-MM-DDTHH:MM:SS.mmmZ`, in UTC."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
