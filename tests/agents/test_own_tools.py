"""This server's own tools as the five real agents were seen to call them: known in the request, and granted unasked."""

from typing import Any, NamedTuple

import pytest

from server.agents.mapper import TurnMapper

ID = "call_0001"
ARGS = {"title": "paint the hull"}
OPTIONS = [
    {"optionId": "always", "name": "Always", "kind": "allow_always"},
    {"optionId": "once", "name": "Allow", "kind": "allow_once"},
    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
]


class Seen(NamedTuple):
    """What an agent sent about a call of create_task: its updates, then the call in its permission request."""

    updates: list[dict[str, Any]]
    asked: dict[str, Any]


def opening(**fields: Any) -> dict[str, Any]:
    return {"sessionUpdate": "tool_call", "toolCallId": ID, **fields}


def change(**fields: Any) -> dict[str, Any]:
    return {"sessionUpdate": "tool_call_update", "toolCallId": ID, **fields}


CLAUDE = "mcp__missionstream__create_task"
CLAUDE_META = {"claudeCode": {"toolName": CLAUDE}}
CODEX_ARGS = {"server": "missionstream", "tool": "create_task", "arguments": ARGS}
GROK = "missionstream__create_task"
GROK_META = {"x.ai/tool": {"version": 1, "name": "use_tool", "kind": "use_tool", "label": "Use Tool"}}
GROK_ARGS = {"tool_name": GROK, "tool_input": ARGS}

SEEN = {
    "claudecode": Seen(
        [
            opening(_meta=CLAUDE_META, rawInput={}, status="pending", title=CLAUDE, kind="other", content=[]),
            change(_meta=CLAUDE_META, rawInput=ARGS, title=CLAUDE, kind="other", content=[]),
        ],
        {"toolCallId": ID, "rawInput": ARGS, "title": CLAUDE, "kind": "other", "content": []},
    ),
    # Its request names the call and nothing else.
    "codex": Seen(
        [opening(kind="execute", title="mcp.missionstream.create_task", status="in_progress", rawInput=CODEX_ARGS)],
        {"toolCallId": ID, "kind": "execute", "status": "pending"},
    ),
    "gemini": Seen(
        [],
        {
            "toolCallId": ID,
            "status": "pending",
            "title": "create_task (missionstream MCP Server)",
            "content": [{"type": "content", "content": {"type": "text", "text": '{"title":"paint the hull"}'}}],
            "locations": [],
            "kind": "other",
        },
    ),
    "grok": Seen(
        [
            opening(title="use_tool", rawInput=GROK_ARGS, _meta=GROK_META),
            change(kind="other", title=GROK, rawInput={"variant": "UseTool", **GROK_ARGS}, _meta=GROK_META),
        ],
        {"toolCallId": ID, "kind": "other", "title": GROK, "rawInput": {"variant": "UseTool", **GROK_ARGS}},
    ),
    # It asks nobody; should it begin to, its call is known.
    "opencode": Seen(
        [opening(title="missionstream_create_task", kind="other", status="pending", rawInput={})],
        {"toolCallId": ID, "title": "missionstream_create_task", "kind": "other", "rawInput": ARGS},
    ),
}


def granted(seen: Seen) -> str | None:
    """The option that is chosen unasked; None where people are asked."""
    mapper = TurnMapper(lambda: "an-id")
    for update in seen.updates:
        mapper.update(update)
    question, _ = mapper.question({"toolCall": seen.asked, "options": OPTIONS}, "perm_1")
    return question.granted.id if question.granted else None


@pytest.mark.parametrize("backend", SEEN)
def test_a_real_agents_call_of_our_tool_is_granted_once(backend: str) -> None:
    assert granted(SEEN[backend]) == "once"


def test_no_call_of_our_tool_is_logged_as_a_command() -> None:
    names = {}
    for backend, seen in SEEN.items():
        mapper = TurnMapper(lambda: "an-id")
        drafts = [draft for update in seen.updates for draft in mapper.update(update)]
        drafts += mapper.question({"toolCall": seen.asked, "options": OPTIONS}, "perm_1")[1]
        names[backend] = next(draft.tool_name for draft in drafts if draft.type == "tool_call")
    assert names == {"claudecode": CLAUDE, "codex": CLAUDE, "gemini": "Tool", "grok": "Tool", "opencode": "Tool"}


def renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: renamed(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, old, new) for item in value]
    return value.replace(old, new) if isinstance(value, str) else value


@pytest.mark.parametrize(("old", "new"), [("missionstream", "missionstream2"), ("create_task", "create_tasks")])
@pytest.mark.parametrize("backend", SEEN)
def test_the_same_call_of_another_server_or_another_tool_is_asked_about(backend: str, old: str, new: str) -> None:
    seen = SEEN[backend]
    assert granted(Seen(renamed(seen.updates, old, new), renamed(seen.asked, old, new))) is None
