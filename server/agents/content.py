"""Reading what agents send, whatever its shape: text of content blocks, and caps that keep values storable."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from streams.event import clean_text

RESULT_BYTES = 32 << 10
ARGS_BYTES = 64 << 10
RAW_BYTES = 8 << 10
CUT = "\n… (cut) …\n"

_MAX_ITEMS = 1000
_MAX_DEPTH = 16
_INT64 = range(-(2**63), 2**63)
_FENCE = re.compile(r"\A\s*```[\w-]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def as_object(value: Any) -> dict[str, Any]:
    """The value when it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """The value when it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """The value, storable, when it is a string, else an empty one."""
    return clean_text(value) if isinstance(value, str) else ""


def as_count(value: Any) -> int | None:
    """The value when it is a whole number that JSON readers can hold (true and false are none)."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value in _INT64 else None


def _resource_text(block: Mapping[str, Any]) -> str:
    resource = as_object(block.get("resource"))
    return as_text(resource.get("text")) or as_text(resource.get("uri"))


_BLOCKS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "text": lambda block: as_text(block.get("text")),
    "resource_link": lambda block: as_text(block.get("uri")),
    "resource": _resource_text,
    "image": lambda block: "[image]",
    "audio": lambda block: "[audio]",
}


def block_text(block: Any) -> str:
    """The text that stands for one ACP content block; empty for anything unknown."""
    fields = as_object(block)
    kind = fields.get("type")
    reader = _BLOCKS.get(kind) if isinstance(kind, str) else None
    return reader(fields) if reader else ""


def plain(text: str) -> str:
    """Terminal output as people read it: without the code fence around it and without control sequences."""
    fenced = _FENCE.match(text)
    return _ANSI.sub("", fenced.group(1) if fenced else text)


def cap_text(text: str, limit_bytes: int) -> tuple[str, bool]:
    """The text, its middle cut out when it is longer than `limit_bytes` of UTF-8, and whether it was."""
    if len(text) * 4 <= limit_bytes:
        return text, False
    encoded = text.encode()
    if len(encoded) <= limit_bytes:
        return text, False
    half = max(0, limit_bytes - len(CUT.encode())) // 2
    head = encoded[:half].decode(errors="ignore")
    tail = encoded[len(encoded) - half :].decode(errors="ignore")
    return head + CUT + tail, True


def storable(value: Any, text_bytes: int = RESULT_BYTES, depth: int = _MAX_DEPTH) -> Any:
    """A JSON value that every reader can hold: clean strings, 64-bit numbers, bounded depth and lists."""
    if isinstance(value, str):
        return cap_text(clean_text(value), text_bytes)[0]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if value in _INT64 else float(value) if abs(value) < 10**300 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth <= 0:
        return "…"
    if isinstance(value, dict):
        items = list(value.items())[:_MAX_ITEMS]
        return {as_text(str(key))[:200]: storable(item, text_bytes, depth - 1) for key, item in items}
    if isinstance(value, list | tuple):
        return [storable(item, text_bytes, depth - 1) for item in value[:_MAX_ITEMS]]
    return None


def json_text(value: Any, limit_bytes: int) -> tuple[str, bool]:
    """One line of JSON for the value, and whether something was left out to stay near `limit_bytes`.

    Long strings are cut first, so that an object stays an object; only when that is not enough does the JSON
    text itself become one cut string.
    """
    whole = msgspec.json.encode(storable(value, text_bytes=1 << 30))
    if len(whole) <= limit_bytes:
        return whole.decode(), _left_out(value)
    trimmed = msgspec.json.encode(storable(value, text_bytes=limit_bytes // 8))
    if len(trimmed) <= limit_bytes:
        return trimmed.decode(), True
    return msgspec.json.encode(cap_text(whole.decode(), limit_bytes)[0]).decode(), True


def _left_out(value: Any) -> bool:
    return isinstance(value, dict | list) and len(value) > _MAX_ITEMS


def capped_raw(value: Any) -> Any:
    """The value itself when small, else its beginning and end as text: enough for a person to look into."""
    text, truncated = json_text(value, RAW_BYTES)
    return msgspec.json.decode(text) if not truncated else cap_text(text, RAW_BYTES)[0]
