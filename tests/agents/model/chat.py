"""OpenAI's chat completions: a request read, a reply written as its stream of chunks or as one object."""

import json
from collections.abc import Iterator
from typing import Any

from tests.agents.model.script import SPEAKERS, USAGE, Asked, Offer, Said, Speech, pieces

END = "[DONE]"


def read(body: dict[str, Any]) -> Asked:
    """The request in terms of the script."""
    functions = [tool["function"] for tool in body.get("tools") or () if tool.get("type") == "function"]
    results: list[str] = []
    for message in body["messages"]:
        if message["role"] == "assistant":
            results.clear()
        elif message["role"] == "tool":
            results.append(_plain(message["content"]))
    said = [Said(each["role"], _plain(each.get("content"))) for each in body["messages"] if each["role"] in SPEAKERS]
    return Asked(
        model=body["model"],
        offers=tuple(Offer(function["name"], function.get("parameters") or {}) for function in functions),
        results=tuple(results),
        said=tuple(said),
        is_streamed=bool(body.get("stream")),
    )


def stream(speech: Speech, asked: Asked) -> Iterator[tuple[None, Any]]:
    """The events of a streamed reply."""
    for delta in _deltas(speech):
        yield None, _chunk(speech, asked, delta)
    yield None, _chunk(speech, asked, {}, "tool_calls" if speech.call else "stop")
    yield None, {**_head(speech, asked, "chat.completion.chunk"), "choices": [], "usage": _usage()}
    yield None, END


def whole(speech: Speech, asked: Asked) -> dict[str, Any]:
    """The reply in one piece."""
    message: dict[str, Any] = {"role": "assistant", "content": speech.text}
    if speech.call:
        message["tool_calls"] = [_call(speech)]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if speech.call else "stop"}
    return {**_head(speech, asked, "chat.completion"), "choices": [choice], "usage": _usage()}


def _deltas(speech: Speech) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for piece in pieces(speech.thought):
        yield {"reasoning_content": piece}
    for piece in pieces(speech.text):
        yield {"content": piece}
    if speech.call:
        yield {"tool_calls": [{"index": 0, **_call(speech)}]}


def _call(speech: Speech) -> dict[str, Any]:
    assert speech.call is not None
    function = {"name": speech.call.name, "arguments": json.dumps(speech.call.arguments)}
    return {"id": speech.call.id, "type": "function", "function": function}


def _head(speech: Speech, asked: Asked, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{speech.number}", "object": kind, "created": 1_700_000_000, "model": asked.model}


def _chunk(speech: Speech, asked: Asked, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
    return {**_head(speech, asked, "chat.completion.chunk"), "choices": choices}


def _usage() -> dict[str, int]:
    total = USAGE["input"] + USAGE["output"]
    return {"prompt_tokens": USAGE["input"], "completion_tokens": USAGE["output"], "total_tokens": total}


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or ())
