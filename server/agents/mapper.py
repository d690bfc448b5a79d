"""ACP updates of one turn -> event drafts and signals. Pure: no clock, no I/O, and no update makes it raise."""

from collections.abc import Callable
from typing import Any

import msgspec

from server.agents.budgets import use_body
from server.agents.content import as_list, as_object, as_text, block_text, capped_raw
from server.agents.permissions import Question, ask
from server.agents.policy import DEFAULT, Policy
from server.agents.secrecy import Veil
from server.agents.tools import ENDED, ToolCall
from server.agents.usage import Usage
from streams.event import Draft

MAX_TEXT = 200_000
"""Characters in one message event; longer texts go on in the next, so that none outgrows what the log holds."""

MAX_PLAN = 200


class SignalBody(msgspec.Struct, frozen=True):
    """A signal's type and whole current value."""

    type: str
    body: dict[str, Any]


class TurnMapper:
    """Follows one turn: feed it updates and permission requests, record the drafts that it returns, in order.

    Text and thoughts are joined until a boundary: the other kind, another message id, a tool call, a permission
    request, or the end. The text after the last boundary is never a draft: it is `text`, the turn's answer.
    `veil` hides secrets that came in pieces; `policy` tells, whenever asked, what the agent may do unasked.
    Every `tool_call` draft is followed by exactly one `tool_result` draft with its id, at the latest by `finish`.
    """

    def __init__(
        self,
        new_id: Callable[[], str],
        model: str | None = None,
        veil: Veil | None = None,
        policy: Callable[[], Policy] = lambda: DEFAULT,
    ) -> None:
        self.model = model
        self._policy = policy
        self._veil = veil or Veil()
        self.usage = Usage()
        self.fault: str | None = None
        self._trouble = ""
        self._new_id = new_id
        self._tools: dict[str, ToolCall] = {}
        self._closed_tools: set[str] = set()
        self._parts: list[str] = []
        self._length = 0
        self._part_kind = ""
        self._message_id: str | None = None
        self._signals: dict[str, dict[str, Any]] = {}
        self._has_news = False

    @property
    def text(self) -> str:
        """The assistant text since the last boundary."""
        return self._joined() if self._part_kind == "text" else ""

    def _joined(self) -> str:
        return self._veil.text("".join(self._parts))

    def update(self, update: Any) -> list[Draft]:
        """The drafts that one `session/update` gives, often none."""
        fields = as_object(update)
        kind = as_text(fields.get("sessionUpdate"))
        reader = _READERS.get(kind)
        if reader:
            return reader(self, fields)
        return [_agent_event({"kind": kind[:100] or "unknown", "raw": capped_raw(update)})]

    def question(self, params: Any, question_id: str) -> tuple[Question, list[Draft]]:
        """A permission request: its question, and the drafts up to and including its own."""
        fields = as_object(params)
        wanted = as_object(fields.get("toolCall"))
        drafts = self._flush()
        tool = self._sight(wanted)
        if tool:
            drafts += self._open(tool)
        question = ask(question_id, tool, fields.get("options"), self._policy())
        return question, [*drafts, question.draft]

    def reject(self, tool_call_id: str | None) -> None:
        """People said no to this call; some agents never mention it again."""
        if tool_call_id in self._tools:
            self._tools[tool_call_id].was_rejected = True

    def signals(self) -> list[SignalBody]:
        """The current values that changed since the last call, newest value only."""
        if self._has_news:
            value = self._joined()
            text = ("text_delta", {"content": value})
            thought = ("thinking", {"content": value.lstrip("\r\n"), "done": False})
            name, body = text if self._part_kind == "text" else thought
            self._signals[name] = body
        news = [SignalBody(name, body) for name, body in self._signals.items()]
        self._signals, self._has_news = {}, False
        return news

    def finish(self, status: str, response: Any = None) -> list[Draft]:
        """The last drafts: open thoughts, calls the agent never closed (as `status`), the usage."""
        drafts = self._flush() if self._part_kind == "thinking" else []
        for tool in list(self._tools.values()):
            drafts += self._open(tool)
            drafts.append(self._close(tool, status))
        self.usage.take_response(as_object(response))
        used = self.usage.metadata()
        return [*drafts, _agent_event(used)] if used else drafts

    def _message(self, fields: dict[str, Any]) -> list[Draft]:
        return self._append("text", fields)

    def _thought(self, fields: dict[str, Any]) -> list[Draft]:
        return self._append("thinking", fields)

    def _append(self, kind: str, fields: dict[str, Any]) -> list[Draft]:
        text = block_text(fields.get("content"))
        if not text:
            return []
        message_id = as_text(fields.get("messageId")) or None
        is_other = bool(message_id and self._message_id and message_id != self._message_id)
        drafts = self._flush() if kind != self._part_kind or is_other else []
        self._part_kind, self._message_id = kind, message_id or self._message_id
        for start in range(0, len(text), MAX_TEXT):
            piece = text[start : start + MAX_TEXT]
            if self._length + len(piece) > MAX_TEXT:
                drafts += self._flush()
                self._part_kind, self._message_id = kind, message_id
            self._parts.append(piece)
            self._length += len(piece)
        self._has_news = True
        return drafts

    def _flush(self) -> list[Draft]:
        """End the current text or thought; the event takes the place of its signal."""
        value, kind = self._joined(), self._part_kind
        self._parts, self._length, self._part_kind, self._message_id = [], 0, "", None
        self._has_news = False
        self._signals.pop("text_delta" if kind == "text" else "thinking", None)
        if not value.strip():
            return []
        if kind == "thinking":
            return [Draft(type="thinking", content=value.lstrip("\r\n"), metadata={"done": True})]
        metadata = {"success": True, "cost_cents": 0, "model": self.model}
        return [
            Draft(type="assistant_message", content=value, metadata=metadata, event_id=self._new_id()),
        ]

    def _tool(self, fields: dict[str, Any]) -> list[Draft]:
        drafts = self._flush()
        tool = self._sight(fields)
        if tool is None:
            return drafts
        if tool.is_due:
            drafts += self._open(tool)
        if tool.status in ENDED:
            drafts.append(self._close(tool, tool.status))
        return drafts

    def _sight(self, fields: dict[str, Any]) -> ToolCall | None:
        tool_id = as_text(fields.get("toolCallId"))
        if not tool_id or tool_id in self._closed_tools:
            return None
        tool = self._tools.setdefault(tool_id, ToolCall(id=tool_id))
        tool.merge(fields)
        return tool

    def _open(self, tool: ToolCall) -> list[Draft]:
        if tool.is_recorded:
            return []
        tool.is_recorded = True
        self._signals["mission_activity"] = {"label": tool.label, "tool_name": tool.tool_name}
        return [tool.opening()]

    def _close(self, tool: ToolCall, status: str) -> Draft:
        del self._tools[tool.id]
        self._closed_tools.add(tool.id)
        if tool.was_rejected and status != "completed":
            status = "rejected"
        result = tool.result(status)
        return msgspec.structs.replace(result, content=self._veil.text(result.content))

    def _plan(self, fields: dict[str, Any]) -> list[Draft]:
        entries = [as_object(entry) for entry in as_list(fields.get("entries"))[:MAX_PLAN]]
        steps = [{key: as_text(entry.get(key))[:500] for key in ("content", "priority", "status")} for entry in entries]
        current = next((step["content"] for step in steps if step["status"] == "in_progress"), None)
        self._signals["progress"] = {
            "total_subtasks": len(steps),
            "completed_subtasks": sum(step["status"] == "completed" for step in steps),
            "current_subtask": current,
            "depth": 0,
        }
        return [_agent_event({"kind": "plan", "entries": steps})]

    def _usage(self, fields: dict[str, Any]) -> list[Draft]:
        self.usage.take_update(fields)
        self._signals["usage"] = use_body(self.usage.use(self.model)) | {"context": self.usage.context}
        return []

    def _session_info(self, fields: dict[str, Any]) -> list[Draft]:
        codex = as_object(as_object(fields.get("_meta")).get("codex"))
        error = codex.get("error")
        if error and as_object(error).get("willRetry"):
            # No fault yet: most of what is tried again goes well. If not, only this said why.
            self._trouble = as_text(error.get("additionalDetails")) or as_text(error.get("message"))
        elif error:
            self.fault = as_text(as_object(error).get("message")) or as_text(error) or str(capped_raw(error))
        elif "systemError" in (codex.get("threadStatus"), as_object(codex.get("threadStatus")).get("type")):
            self.fault = self.fault or self._trouble or "system error"
        return [_agent_event({"kind": "session_info", "raw": capped_raw(fields)})]

    def _nothing(self, fields: dict[str, Any]) -> list[Draft]:
        return []


def _agent_event(metadata: dict[str, Any]) -> Draft:
    return Draft(type="agent_event", metadata=metadata)


_READERS: dict[str, Callable[[TurnMapper, dict[str, Any]], list[Draft]]] = {
    "agent_message_chunk": TurnMapper._message,
    "agent_thought_chunk": TurnMapper._thought,
    "tool_call": TurnMapper._tool,
    "tool_call_update": TurnMapper._tool,
    "plan": TurnMapper._plan,
    "usage_update": TurnMapper._usage,
    "session_info_update": TurnMapper._session_info,
    # Our own prompt sent back, and the agent's menu of slash commands: nothing happened.
    "user_message_chunk": TurnMapper._nothing,
    "available_commands_update": TurnMapper._nothing,
}
