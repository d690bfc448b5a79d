"""What each policy lets an agent do unasked, by the kind of its tool and the options that it offers."""

import asyncio
from typing import Any

import pytest

from server.agents.permissions import ask, outcome
from server.agents.policy import POLICIES, covers, is_own_tool, policy_of
from server.agents.tools import ToolCall
from server.agents.turn import TurnLimits, run_turn
from streams.errors import Unprocessable

ONCE = {"optionId": "a", "name": "Yes", "kind": "allow_once"}
ALWAYS = {"optionId": "b", "name": "Always", "kind": "allow_always"}
NO = {"optionId": "c", "name": "No", "kind": "reject_once"}
# The ids say the opposite of the kinds: only the kinds count.
MISLEADING = [
    {"optionId": "allow_once", "name": "No", "kind": "reject_once"},
    {"optionId": "reject", "name": "Yes", "kind": "allow_once"},
]
READS = ("read", "search", "think")
OTHERS = ("fetch", "edit", "delete", "move", "execute", "switch_mode", "other", "a kind of tomorrow")


def granted(policy: Any, kind: str, options: list[dict[str, str]], **tool: Any) -> str | None:
    """The id of the option that the policy chooses, None when people are asked."""
    question = ask("perm_1", ToolCall(id="t", kind=kind, **tool), options, policy)
    return question.granted.id if question.granted else None


@pytest.mark.parametrize("kind", [*READS, *OTHERS])
def test_each_policy_allows_its_kinds_and_asks_about_the_others(kind: str) -> None:
    offered = [NO, ALWAYS, ONCE]
    assert granted("ask", kind, offered) is None
    assert granted("allow_reads", kind, offered) == ("a" if kind in READS else None)
    assert granted("allow_all", kind, offered) == "a"


@pytest.mark.parametrize(
    ("offered", "reads", "everything"),
    [
        ([ONCE, NO], "a", "a"),
        ([ALWAYS, NO], None, "b"),
        ([NO], None, None),
        ([], None, None),
        ([5, {"name": "Yes", "kind": "allow_once"}], None, None),
        (MISLEADING, "reject", "reject"),
    ],
)
def test_an_option_is_chosen_by_its_kind_and_for_ever_only_where_all_is_allowed(
    offered: Any, reads: str | None, everything: str | None
) -> None:
    assert granted("ask", "read", offered) is None
    assert granted("allow_reads", "read", offered) == reads
    assert granted("allow_all", "execute", offered) == everything


OWN: list[dict[str, Any]] = [
    {"name": "mcp__missionstream__report_progress", "kind": "other"},
    {"title": "mcp__missionstream__report_progress"},
    {"title": "missionstream_report_progress"},
    {"title": "missionstream__report_progress"},
    {"title": "mcp_missionstream_report_progress"},
    {"title": "report_progress (missionstream MCP Server)"},
    {"title": "Use a tool", "args": {"tool_name": "missionstream__report_progress", "input": {}}},
    {
        "title": "mcp.missionstream.report_progress",
        "kind": "execute",
        "args": {"server": "missionstream", "tool": "report_progress", "arguments": {"text": "x"}},
    },
]
NOT_OWN: list[dict[str, Any]] = [
    {"title": "missionstream_report_progress", "kind": "execute"},
    {"title": "missionstream_report_progress", "args": {"command": "missionstream_report_progress"}},
    {"title": "mcp.missionstream.run", "kind": "execute", "args": {"command": "mcp.missionstream.run"}},
    {
        "title": "mcp.missionstream.run",
        "kind": "execute",
        "args": {"command": "mcp.missionstream.run", "server": "missionstream", "tool": "run"},
    },
    {"title": "rm -rf /", "kind": "execute", "args": {"server": "missionstream", "tool": "run"}},
    {"title": "missionstream_report; rm -rf /"},
    {"title": "mcp__missionstreams__report"},
    {"title": "mcp__other__missionstream_report"},
    {"title": "report (other MCP Server)"},
    {"name": "mcp__other__x", "title": "rm", "args": {"tool_name": "missionstream"}},
    {"title": "missionstream"},
    {"title": "missionstream_evil_report_progress"},
    {"name": "mcp__missionstream__evil__report_progress", "kind": "other"},
    {"name": "mcp__missionstream__run", "kind": "other"},
    {"name": "mcp__shell__run", "args": {"script": "rm -rf .", "tool_name": "missionstream_report_progress"}},
]


@pytest.mark.parametrize("tool", OWN)
@pytest.mark.parametrize("policy", POLICIES)
def test_this_servers_own_tools_are_allowed_however_a_backend_spells_them(policy: str, tool: dict[str, Any]) -> None:
    assert is_own_tool(ToolCall(id="t", **tool))
    question = ask("perm_1", ToolCall(id="t", **tool), [ALWAYS, ONCE, NO], policy)
    assert question.granted is not None
    assert policy == "allow_all" or question.granted.kind == "allow_once"
    assert policy == "allow_all" or ask("perm_1", ToolCall(id="t", **tool), [ALWAYS, NO], policy).granted is None
    assert question.draft.metadata["allowed_by"] == "own_tool"


@pytest.mark.parametrize("tool", NOT_OWN)
def test_what_only_looks_like_an_own_tool_is_asked_about(tool: dict[str, Any]) -> None:
    assert not is_own_tool(ToolCall(id="t", **tool))


def test_a_grant_is_an_event_that_says_who_allowed_what() -> None:
    question = ask("perm_1", ToolCall(id="t", kind="read", title="README.md"), [ONCE, NO], "allow_reads")
    assert (question.draft.type, question.draft.metadata) == (
        "agent_event",
        {
            "kind": "permission",
            "tool_call_id": "t",
            "tool_name": "Read",
            "tool_kind": "read",
            "option": "allow_once",
            "allowed_by": "policy",
            "policy": "allow_reads",
        },
    )
    assert outcome(question.granted) == {"outcome": {"outcome": "selected", "optionId": "a"}}


def test_a_request_about_no_call_is_granted_only_where_all_is_allowed() -> None:
    assert ask("perm_1", None, [ONCE], "allow_all").granted is not None
    assert ask("perm_1", None, [ONCE], "allow_reads").granted is None


def test_the_policies_are_ordered_by_what_they_allow() -> None:
    assert [[covers(policy, needed) for needed in POLICIES] for policy in POLICIES] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_an_unknown_policy_is_refused_with_the_list() -> None:
    assert policy_of("allow_reads") == "allow_reads"
    with pytest.raises(Unprocessable, match="'yolo'; one of ask, allow_reads, allow_all"):
        policy_of("yolo")


SCRIPT = "permit read the log\npermit execute the plan\nsay done"


async def test_a_policy_that_changes_counts_from_the_next_request_on(demo: Any, sink: Any) -> None:
    policy = ["ask"]
    running = asyncio.create_task(run_turn(demo, SCRIPT, sink, cancel=asyncio.Event(), policy=lambda: policy[0]))
    await sink.until(lambda sink: len(sink.asked) == 1)
    policy[0] = "allow_all"
    sink.answers.put_nowait("allow")
    assert (await running).text == "done"
    assert len(sink.asked) == 1
    [grant] = [draft for draft in sink.of("agent_event") if draft.metadata["kind"] == "permission"]
    assert (grant.metadata["tool_kind"], grant.metadata["policy"]) == ("execute", "allow_all")
    assert sink.results()[-1] == "Allowed (allow_once)"


async def test_no_clock_of_the_turn_runs_while_a_question_is_open(demo: Any, sink: Any) -> None:
    limits = TurnLimits(idle_seconds=2, turn_seconds=5, question_seconds=30)  # the start of an agent is part of it
    running = asyncio.create_task(run_turn(demo, "ask May I?\nsay done", sink, cancel=asyncio.Event(), limits=limits))
    await sink.until(lambda sink: len(sink.asked) == 1)
    _, pending = await asyncio.wait({running}, timeout=6)
    assert pending
    sink.answers.put_nowait("allow")
    ended = await running
    assert (ended.reason, ended.error) == ("end_turn", None)
