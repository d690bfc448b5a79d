"""What an agent may do unasked: a mission's permission policy, applied to one tool call. Pure."""

import re
from typing import Literal, get_args

from server.agents.content import as_object, as_text
from server.agents.tools import ToolCall
from streams.errors import Unprocessable

Policy = Literal["ask", "allow_reads", "allow_all"]
Reason = Literal["policy", "own_tool"]

POLICIES: tuple[Policy, ...] = get_args(Policy)
DEFAULT: Policy = "ask"
OWN_SERVER = "missionstream"
"""The name under which agents know the tools that this server itself offers them."""

# A fetch is not among them: the address that an agent asks for can carry away what it has read.
_READS = frozenset({"read", "search", "think"})
_ONCE = ("allow_once",)
_ALLOWING = ("allow_once", "allow_always")

OWN_TOOLS = ("report_progress", "list_tasks", "create_task", "update_task", "create_child_mission", "read_events")

# As the backends spell a tool of an MCP server, in the names that they give or in titles of calls of no special kind.
# The tools are named one by one: another server may have a name that begins like ours.
_TOOL = f"(?:{'|'.join(OWN_TOOLS)})"
_OWN_NAME = re.compile(rf"(?:mcp__{OWN_SERVER}__|mcp_{OWN_SERVER}_|{OWN_SERVER}__?){_TOOL}")
_OWN_TITLE = re.compile(rf"{_OWN_NAME.pattern}|{_TOOL} \({OWN_SERVER} MCP Server\)")
_WRAPPERS = frozenset({"", "use_tool"})
"""The tool by which one backend calls all tools of MCP servers; some give no name at all."""


def policy_of(word: str) -> Policy:
    """The policy that a word names; Unprocessable, listing them, for any other."""
    for policy in POLICIES:
        if word == policy:
            return policy
    raise Unprocessable(f"unknown permission_policy {word[:40]!r}; one of {', '.join(POLICIES)}")


def covers(policy: Policy, needed: Policy) -> bool:
    """True when the policy lets an agent do unasked whatever `needed` lets it do."""
    return POLICIES.index(policy) >= POLICIES.index(needed)


def allowed(policy: Policy, tool: ToolCall) -> Reason | None:
    """Why this call needs no question, or None: people are asked. What an agent says of its call is believed."""
    if is_own_tool(tool):
        return "own_tool"
    return "policy" if policy == "allow_all" or (policy == "allow_reads" and tool.kind in _READS) else None


def option_kinds(policy: Policy, reason: Reason) -> tuple[str, ...]:
    """The kinds of option that may be chosen, the better one first.

    What is allowed for ever outlives a change of the policy: only where everything is allowed anyway.
    """
    return _ALLOWING if policy == "allow_all" else _ONCE


def is_own_tool(tool: ToolCall) -> bool:
    """True for a tool of this server's own MCP server, whichever backend calls it.

    A title counts only where it cannot be the text of a command: a program may have any name.
    """
    if _OWN_NAME.fullmatch(tool.name):
        return True
    args = as_object(tool.args)
    if args.get("server") == OWN_SERVER and "command" not in args:
        # One backend reports them as commands, with the server and the tool beside the arguments.
        named = as_text(args.get("tool"))
        return named in OWN_TOOLS and tool.title == f"mcp.{OWN_SERVER}.{named}"
    if tool.kind != "other" or "command" in args:
        return False
    if tool.name not in _WRAPPERS:
        return False  # the arguments are the model's: another tool's say nothing of which tool it is
    return bool(_OWN_TITLE.fullmatch(tool.title) or _OWN_NAME.fullmatch(as_text(args.get("tool_name"))))
