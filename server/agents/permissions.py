"""An agent's permission request as a question to people, and their answer as one of its options."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from server.agents.content import as_list, as_object, as_text, json_text
from server.agents.policy import DEFAULT, Policy, Reason, allowed, option_kinds
from server.agents.tools import ToolCall
from streams.event import Draft

TOOL_NAME = "AskUserQuestion"
CANCELLED: dict[str, Any] = {"outcome": {"outcome": "cancelled"}}

_KINDS = ("allow_once", "allow_always", "reject_once", "reject_always")
_WORDS = {
    "allow": ("allow_once", "allow_always"),
    "yes": ("allow_once", "allow_always"),
    "approve": ("allow_once", "allow_always"),
    "reject": ("reject_once", "reject_always"),
    "deny": ("reject_once", "reject_always"),
    "no": ("reject_once", "reject_always"),
}
_ECHOES = frozenset({"questions", "question", "options", "header"})
_MAX_DEPTH = 8


class Option(msgspec.Struct, frozen=True):
    """One way to answer: `id` is the agent's own word, `label` what people see, `kind` what it means."""

    id: str
    label: str
    kind: str


class Question(msgspec.Struct, frozen=True):
    """A permission request: `id` is the tool call that asks people, unless the policy has `granted` an option already.

    `draft` is what the log shows of it: the tool call that asks, or the event that tells of the grant.
    """

    id: str
    options: tuple[Option, ...]
    draft: Draft
    tool_call_id: str | None
    granted: Option | None = None

    def closing(self, status: str, result: str) -> Draft:
        """The `tool_result` for a question that nobody answered; loses to an answer that came first."""
        return closing(self.id, status, result)


def closing(question_id: str, status: str, result: str) -> Draft:
    """The `tool_result` for a question that nobody answered, by the question's id."""
    return Draft(
        type="tool_result",
        content=json_text(result, 4096)[0],
        metadata={"status": status, "exit_code": None, "truncated": False},
        tool_call_id=question_id,
        tool_name=TOOL_NAME,
        dedupe_key=f"answer:{question_id}",
    )


def ask(question_id: str, tool: ToolCall | None, options: Any, policy: Policy = DEFAULT) -> Question:
    """The question for a permission request with these (raw) options about this tool call.

    The policy grants it where it allows the call and the agent offers an option of a fitting kind.
    """
    choices = _options(options)
    known = tool or ToolCall(id="")
    reason = allowed(policy, known)
    granted = _of_kinds(choices, option_kinds(policy, reason)) if reason else None
    if reason and granted:
        return Question(question_id, choices, _grant(known, policy, reason, granted), known.id or None, granted)
    subject = tool.title or tool.subject if tool else "the next step"
    asked = {
        "question": subject if subject.endswith("?") else f"Allow: {subject}?",
        "header": "Permission",
        "options": [{"label": choice.label} for choice in choices],
        "multiSelect": False,
    }
    tool_call_id = tool.id if tool else None
    content, _ = json_text({"questions": [asked], "for_tool_call_id": tool_call_id}, 64 << 10)
    draft = Draft(
        type="tool_call",
        content=content,
        metadata={"title": asked["question"], "kind": "question"},
        tool_call_id=question_id,
        tool_name=TOOL_NAME,
    )
    return Question(question_id, choices, draft, tool_call_id)


def _grant(tool: ToolCall, policy: Policy, reason: Reason, option: Option) -> Draft:
    metadata = {
        "kind": "permission",
        "tool_call_id": tool.id or None,
        "tool_name": tool.tool_name,
        "tool_kind": tool.kind,
        "option": option.kind,
        "allowed_by": reason,
        "policy": policy,
    }
    return Draft(type="agent_event", metadata=metadata)


def _options(raw: Any) -> tuple[Option, ...]:
    choices: list[Option] = []
    for fields in map(as_object, as_list(raw)):
        option_id, kind = fields.get("optionId"), as_text(fields.get("kind"))
        if not isinstance(option_id, str):
            continue
        label = as_text(fields.get("name")).strip()[:200] or kind.replace("_", " ") or as_text(option_id)
        if any(choice.label == label for choice in choices):
            label = f"{label} ({kind.replace('_', ' ')})"
        choices.append(Option(option_id, label, kind))
    return tuple(choices)


def choose(options: Sequence[Option], answer: Any) -> Option | None:
    """The option that an answer means: a label, a kind, or an object that holds one; else the rejection."""
    for said in _strings(answer, _MAX_DEPTH):
        word = said.strip().casefold()
        labelled = [option for option in options if option.label.casefold() == word]
        if labelled:
            return min(labelled, key=_reach)
        chosen = _of_kinds(options, _WORDS.get(word, (word,)))
        if chosen:
            return chosen
    return rejection(options)


def rejection(options: Sequence[Option]) -> Option | None:
    """The option that says no and binds nobody later; None when the agent offers none."""
    return _of_kinds(options, ("reject_once", "reject_always"))


def is_allowing(option: Option | None) -> bool:
    """True when the chosen option lets the agent go on with what it asked for."""
    return option is not None and option.kind.startswith("allow")


def outcome(option: Option | None) -> dict[str, Any]:
    """The reply to `session/request_permission`."""
    return {"outcome": {"outcome": "selected", "optionId": option.id}} if option else CANCELLED


def _of_kinds(options: Sequence[Option], kinds: Sequence[str]) -> Option | None:
    return next((option for kind in kinds for option in options if option.kind == kind), None)


def _reach(option: Option) -> int:
    return _KINDS.index(option.kind) if option.kind in _KINDS else len(_KINDS)


def _strings(answer: Any, depth: int) -> Iterator[str]:
    # Clients may send the question back with its answer: the labels in that echo choose nothing.
    if isinstance(answer, str):
        yield answer
    elif depth and isinstance(answer, dict):
        for key, value in answer.items():
            if key not in _ECHOES:
                yield from _strings(value, depth - 1)
    elif depth and isinstance(answer, list):
        for value in answer:
            yield from _strings(value, depth - 1)
