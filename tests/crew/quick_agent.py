"""An ACP agent in plain Python that starts at once: the demo agent's part in a crew, without its space and its tools."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from server.agents.demo.crew import brief_of, steps_of


def send(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def update(kind: str, /, **fields: Any) -> None:
    send(method="session/update", params={"sessionId": "s", "update": {"sessionUpdate": kind, **fields}})


def requests() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def ask(title: str) -> bool:
    """Ask people, and wait for what they say."""
    options = [
        {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
        {"optionId": "no", "name": "Reject", "kind": "reject_once"},
    ]
    call = {"toolCallId": "call", "title": title, "kind": "edit", "status": "pending"}
    send(id=1_000, method="session/request_permission", params={"sessionId": "s", "toolCall": call, "options": options})
    for request in requests():
        if request.get("id") == 1_000:
            return bool(request["result"]["outcome"].get("optionId") == "yes")
        if request.get("method") == "session/cancel":
            return False
    return False


def serve() -> None:
    for request in requests():
        method, number = request.get("method"), request.get("id")
        if method == "initialize":
            send(id=number, result={"protocolVersion": 1, "agentCapabilities": {}})
        elif method == "session/new":
            send(id=number, result={"sessionId": "s"})
        elif method == "session/prompt":
            error = turn("\n".join(block["text"] for block in request["params"]["prompt"]))
            if error is None:
                send(id=number, result={"stopReason": "end_turn"})
            else:
                send(id=number, error={"code": -32603, "message": error})


def turn(message: str) -> str | None:
    brief = brief_of(message)
    assert brief is not None, message
    if "echo brief" in brief.lines:
        update("agent_message_chunk", content={"type": "text", "text": message})
    if "verdict: sleep" in brief.lines and brief.purpose == "review":
        time.sleep(60)
    for step in steps_of(brief):
        if step.verb == "fail":
            return step.rest
        if step.verb == "sleep":
            time.sleep(float(step.rest))
        elif step.verb == "say":
            update("agent_message_chunk", content={"type": "text", "text": step.rest})
        elif step.verb == "ask":
            update("agent_message_chunk", content={"type": "text", "text": "allowed" if ask(step.rest) else "rejected"})
        elif step.verb == "propose":
            lines = step.rest.splitlines()
            update("plan", entries=[{"content": line, "priority": "medium", "status": "pending"} for line in lines])
    if "then more" in brief.lines:
        for number in range(12):
            update("tool_call", toolCallId=f"more{number}", title="look", kind="other", status="completed")
            update("agent_message_chunk", content={"type": "text", "text": "Bye."})
    return None


serve()
