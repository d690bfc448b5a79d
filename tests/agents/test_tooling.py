"""What an agent's session is given: our MCP server, reachable, findable, and with its token hidden."""

import json
from pathlib import Path

import pytest
from msgspec import structs

from server.agents.process import Launch
from server.agents.survivors import RUN_MARKER
from server.agents.tooling import McpServer, mission_tools, reachable

SECRET = "a-token-of-one-run"


@pytest.mark.parametrize(
    ("listening", "found"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://10.1.2.3:80", "http://10.1.2.3:80"),
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://[::]:8080", "http://[::1]:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_server_is_found_where_it_listens_or_at_loopback(listening: str, found: str) -> None:
    assert reachable(listening) == found


def test_our_server_is_told_all_it_needs_and_bears_the_runs_marker() -> None:
    server = mission_tools("http://0.0.0.0:1", SECRET, "m1", {RUN_MARKER: "r1"})
    wire = server.wire()
    assert (wire["name"], wire["args"]) == ("missionstream", ["-P", "-m", "missionstream_mcp"])
    env = {entry["name"]: entry["value"] for entry in wire["env"]}
    assert (env["MISSIONSTREAM_URL"], env["MISSIONSTREAM_MISSION_ID"]) == ("http://127.0.0.1:1", "m1")
    assert (env["MISSIONSTREAM_TOKEN"], env[RUN_MARKER]) == (SECRET, "r1")
    folders = env["PYTHONPATH"].split(":")
    for package in ("missionstream_mcp", "missionstream_client"):
        assert any((Path(folder) / package / "__init__.py").is_file() for folder in folders)


async def test_the_session_is_given_the_servers_of_the_launch(turn, scripted, space):
    launch = scripted(
        """
        for request in requests():
            if request["method"] == "session/new":
                open("given.json", "w").write(json.dumps(request["params"]["mcpServers"]))
            send(id=request["id"], result={"protocolVersion": 1, "sessionId": "s", "stopReason": "end_turn"})
        """,
        mcp_servers=(McpServer(name="mine", command="/bin/x", args=("-y",), environment={"A": "b"}),),
    )
    assert (await turn(launch, "hello")).success
    assert json.loads((space / "given.json").read_text()) == [
        {"name": "mine", "command": "/bin/x", "args": ["-y"], "env": [{"name": "A", "value": "b"}]}
    ]


def test_the_token_is_behind_the_veil(demo: Launch) -> None:
    given = structs.replace(demo, mcp_servers=(mission_tools("http://127.0.0.1:1", SECRET, "m1", {}),))
    assert given.veil.text(f"env says {SECRET}!") == "env says ***!"
    assert SECRET in demo.veil.text(SECRET)


async def test_the_demo_agent_says_why_it_cannot_call_a_tool(turn, sink, demo):
    outcome = await turn(demo, 'tool report_progress {"total_subtasks": 1}')
    assert outcome.success
    [result] = sink.of("tool_result")
    assert result.metadata["status"] == "failed"
    assert "was given no MCP server" in result.content
