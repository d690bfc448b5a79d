"""Calling a tool of the session's MCP servers for the demo agent: a real server process, a real call."""

import json
from collections.abc import Sequence
from typing import Any

from acp.schema import McpServerStdio

TOOL_SECONDS = 60.0


async def call_tool(servers: Sequence[McpServerStdio], name: str, arguments: str) -> tuple[str, bool]:
    """Start the session's first MCP server, call its tool with arguments in JSON, and end it again.

    Gives the answer's text and whether it is an error. ValueError without a server, or for arguments that are no object.
    """
    if not servers:
        raise ValueError("this session was given no MCP server")
    given = _object(arguments)
    # Imported late: it takes most of a second, and few turns need it.
    from mcp import Client, StdioServerParameters

    server = servers[0]
    process = StdioServerParameters(
        command=server.command, args=list(server.args), env={entry.name: entry.value for entry in server.env}
    )
    async with Client(process) as client:
        answer = await client.call_tool(name, given, read_timeout_seconds=TOOL_SECONDS)
    texts = [content.text for content in answer.content if content.type == "text"]
    return "\n".join(texts), bool(answer.is_error)


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text) if text.strip() else {}
    if not isinstance(value, dict):
        raise ValueError("a tool's arguments are a JSON object")
    return value
