"""One tool call of an agent, put together from all that was sent about it, and its two events."""

import re
from typing import Any

import msgspec

from server.agents.content import (
    ARGS_BYTES,
    RESULT_BYTES,
    as_count,
    as_list,
    as_object,
    as_text,
    block_text,
    cap_text,
    json_text,
    plain,
)
from streams.event import Draft

UNDER_WAY = frozenset({"in_progress", "completed", "failed"})
ENDED = frozenset({"completed", "failed"})

_NAMES = {
    "execute": "Bash",
    "read": "Read",
    "edit": "Edit",
    "delete": "Delete",
    "move": "Move",
    "search": "Search",
    "fetch": "WebFetch",
    "think": "Think",
    "switch_mode": "SwitchMode",
}
_LABELS = {
    "execute": "Running",
    "read": "Reading",
    "edit": "Editing",
    "delete": "Deleting",
    "move": "Moving",
    "search": "Searching",
    "fetch": "Fetching",
    "think": "Thinking about",
}
_SUBJECTS = ("command", "path", "file_path", "filePath", "abs_path", "pattern", "query", "url")
_NAME_KEYS = ("toolName", "tool_name")
_STREAMS = ("terminal_output", "terminal_output_delta")
_OUTPUTS = (
    ("formatted_output",),
    ("aggregated_output",),
    ("stdout", "stderr"),
    ("output",),
    ("text",),
    ("message",),
    ("error",),
)
_EXITS = ("exit_code", "exitCode", "exit")
# One agent says the code in the first line of a failed command's output only.
_SAID_EXIT = re.compile(r"Exit code (\d{1,3})(?:\n|\Z)")
_STREAM_BYTES = 8 * RESULT_BYTES
_DIFF_BYTES = RESULT_BYTES // 4
_MAX_DIFFS = 20


class ToolCall(msgspec.Struct, kw_only=True):
    """What is known of a tool call. Later updates fill in and replace; the empty ones some agents send do not."""

    id: str
    title: str = ""
    kind: str = "other"
    name: str = ""
    status: str = ""
    args: Any = None
    location: str = ""
    content: list[Any] = []
    raw_output: Any = None
    streamed: str = ""
    stream_cut: bool = False
    exit_code: int | None = None
    sights: int = 0
    is_recorded: bool = False
    was_rejected: bool = False

    def merge(self, update: dict[str, Any]) -> None:
        """Take over whatever a `tool_call`, a `tool_call_update` or a permission request says."""
        self.sights += 1
        self.title = as_text(update.get("title"))[:500] or self.title
        self.kind = as_text(update.get("kind")) or self.kind
        self.status = as_text(update.get("status")) or self.status
        self.args = update.get("rawInput") or self.args
        content = as_list(update.get("content"))
        self.content = self._shown(content) if content else self.content
        locations = as_list(update.get("locations"))
        self.location = as_text(as_object(locations[0]).get("path")) if locations else self.location
        if update.get("rawOutput") is not None:
            self.raw_output = update["rawOutput"]
        self._merge_meta(as_object(update.get("_meta")))

    def _shown(self, content: list[Any]) -> list[Any]:
        """What of the content is of the result: before a call is under way, texts only describe it.

        Some agents show a diff in their permission request alone: it stays until another one comes.
        """
        kept = _diffs(content) or _diffs(self.content)
        texts = [item for item in content if as_object(item).get("type") != "diff"]
        return kept + texts if self.status in UNDER_WAY else kept

    def _merge_meta(self, meta: dict[str, Any]) -> None:
        for layer in (meta, *map(as_object, meta.values())):
            for key in _NAME_KEYS:
                self.name = as_text(layer.get(key))[:100] or self.name
        for key in _STREAMS:
            self.streamed += as_text(as_object(meta.get(key)).get("data"))
        if len(self.streamed) > _STREAM_BYTES:
            self.streamed, cut = cap_text(self.streamed, _STREAM_BYTES // 2)
            self.stream_cut = self.stream_cut or cut
        code = _first_count(as_object(meta.get("terminal_exit")))
        self.exit_code = self.exit_code if code is None else code

    @property
    def is_due(self) -> bool:
        """True once the call is worth an event; the first sight of a pending one often lacks its arguments."""
        return self.sights > 1 or self.status in UNDER_WAY

    @property
    def tool_name(self) -> str:
        """The tool's own name where the agent gives one, else the common name of its kind."""
        return self.name or self._mcp_name() or _NAMES.get(self.kind, "Tool")

    def _mcp_name(self) -> str:
        """The name of an MCP server's tool that comes as a command, as the one agent that names them all would."""
        args = as_object(self.args)
        server, tool = as_text(args.get("server")), as_text(args.get("tool"))
        return f"mcp__{server}__{tool}"[:100] if tool and self.title == f"mcp.{server}.{tool}" else ""

    @property
    def subject(self) -> str:
        """What the tool works on, in a line: a command, a path, a query, or the title."""
        args = as_object(self.args)
        found = next((as_text(args[key]) for key in _SUBJECTS if as_text(args.get(key))), "")
        lines = (found or self.location or self.title or self.tool_name).strip().splitlines()
        return lines[0][:200] if lines else self.tool_name

    @property
    def label(self) -> str:
        """What a person is told that the agent is doing."""
        return f"{_LABELS.get(self.kind, 'Using')}: {self.subject}"

    def opening(self) -> Draft:
        """The `tool_call` event."""
        content, truncated = json_text(self._arguments(), ARGS_BYTES)
        metadata: dict[str, Any] = {"title": self.title, "kind": self.kind}
        if truncated:
            metadata["truncated"] = True
        return Draft(
            type="tool_call",
            content=content,
            metadata=metadata,
            tool_call_id=self.id,
            tool_name=self.tool_name,
        )

    def result(self, status: str) -> Draft:
        """The `tool_result` event, with `status` completed, failed, cancelled, rejected or unknown."""
        value, truncated = self._output(has_effect=status != "rejected")
        content, trimmed = json_text(value, 8 * RESULT_BYTES)
        return Draft(
            type="tool_result",
            content=content,
            metadata={
                "status": status,
                "exit_code": self._exit_code() if status in ENDED else None,
                "truncated": truncated or trimmed or self.stream_cut,
            },
            tool_call_id=self.id,
            tool_name=self.tool_name,
        )

    def _arguments(self) -> Any:
        if self.args is not None:
            return self.args
        if self.kind == "execute" and self.title:
            return {"command": self.title}
        if self.location:
            return {"path": self.location}
        return {"title": self.title} if self.title else {}

    def _output(self, *, has_effect: bool) -> tuple[Any, bool]:
        items = [as_object(item) for item in self.content]
        texts = [block_text(item.get("content")) for item in items if item.get("type") == "content"]
        text = "\n".join(filter(None, texts)) or self.streamed or raw_text(self.raw_output)
        diffs = _diffs(items) if has_effect else []
        if not text and not diffs and self.raw_output is not None and not _is_silent(self.raw_output):
            encoded, truncated = json_text(self.raw_output, RESULT_BYTES)
            return msgspec.json.decode(encoded), truncated
        output, truncated = cap_text(plain(text), RESULT_BYTES)
        if not diffs:
            return output, truncated
        return {"output": output, "diff": [_diff(item) for item in diffs[:_MAX_DIFFS]]}, truncated

    def _exit_code(self) -> int | None:
        if self.exit_code is not None:
            return self.exit_code
        raw = as_object(self.raw_output)
        code = _first_count(raw)
        code = _first_count(as_object(raw.get("metadata"))) if code is None else code
        said = _SAID_EXIT.match(as_text(self.raw_output))
        return int(said[1]) if code is None and said else code


def _diff(item: dict[str, Any]) -> dict[str, str]:
    return {
        "path": as_text(item.get("path")),
        "old_text": cap_text(as_text(item.get("oldText")), _DIFF_BYTES)[0],
        "new_text": cap_text(as_text(item.get("newText")), _DIFF_BYTES)[0],
    }


def _diffs(content: list[Any]) -> list[Any]:
    return [item for item in content if as_object(item).get("type") == "diff"]


def _is_silent(raw: Any) -> bool:
    """True for an output whose place is there but empty."""
    return any(raw.get(key) in ("", []) for keys in _OUTPUTS for key in keys) if isinstance(raw, dict) else not raw


def _first_count(fields: dict[str, Any]) -> int | None:
    counts = (as_count(fields.get(key)) for key in _EXITS)
    return next((count for count in counts if count is not None), None)


def raw_text(raw: Any) -> str:
    """The text in an agent's own form of output, whichever of the known places it lies in."""
    if not isinstance(raw, dict):
        return _leaf_text(raw)
    texts = ("\n".join(filter(None, (_leaf_text(raw.get(key)) for key in keys))) for keys in _OUTPUTS)
    return next(filter(None, texts), "")


def _leaf_text(value: Any) -> str:
    if isinstance(value, list):
        # One agent sends its output as an array of byte numbers.
        if value and all(isinstance(item, int) and 0 <= item < 256 for item in value):
            return as_text(bytes(value).decode(errors="replace"))
        return "\n".join(filter(None, map(block_text, value)))
    return as_text(value)
