"""Anthropic's messages: a request read, a reply written as its stream of events or as one object."""

import json
from collections.abc import Iterator
from typing import Any

from tests.agents.model.script import USAGE, Asked, Offer, Said, Speech, pieces


def read(body: dict[str, Any]) -> Asked:
    """The request in terms of the script."""
    results: list[str] = []
    said: list[Said] = []
    for message in body["messages"]:
        said.append(Said(message["role"], _plain(message["content"])))
        if message["role"] == "assistant":
            results.clear()
            continue
        blocks = message["content"] if isinstance(message["content"], list) else ()
        results += [_plain(block.get("content")) for block in blocks if block["type"] == "tool_result"]
    tools = [tool for tool in body.get("tools") or () if "input_schema" in tool]
    return Asked(
        model=body["model"],
        offers=tuple(Offer(tool["name"], tool["input_schema"]) for tool in tools),
        results=tuple(results),
        said=tuple(said),
        is_streamed=bool(body.get("stream")),
    )


def stream(speech: Speech, asked: Asked) -> Iterator[tuple[str, Any]]:
    """The events of a streamed reply."""
    for event in _events(speech, asked):
        yield event["type"], event


def whole(speech: Speech, asked: Asked) -> dict[str, Any]:
    """The reply in one piece."""
    return {
        **_message(speech, asked),
        "content": [block for block, _, _ in _blocks(speech)],
        "stop_reason": _reason(speech),
    }


def _events(speech: Speech, asked: Asked) -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": _message(speech, asked)}
    for index, (block, key, deltas) in enumerate(_blocks(speech)):
        empty = {**block, key: {} if key == "input" else ""}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": _reason(speech), "stop_sequence": None},
        "usage": {"output_tokens": USAGE["output"]},
    }
    yield {"type": "message_stop"}


_Block = tuple[dict[str, Any], str, list[dict[str, Any]]]


def _blocks(speech: Speech) -> Iterator[_Block]:
    """Each content block, the key of what is streamed of it, and its deltas."""
    if speech.thought:
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(speech.thought)]
        signed = {"type": "signature_delta", "signature": "c2lnbmVk"}
        yield {"type": "thinking", "thinking": speech.thought, "signature": ""}, "thinking", [*deltas, signed]
    if speech.text:
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(speech.text)]
        yield {"type": "text", "text": speech.text}, "text", deltas
    if speech.call:
        encoded = json.dumps(speech.call.arguments)
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces(encoded)]
        block = {"type": "tool_use", "id": speech.call.id, "name": speech.call.name, "input": speech.call.arguments}
        yield block, "input", deltas


def _message(speech: Speech, asked: Asked) -> dict[str, Any]:
    return {
        "id": f"msg_{speech.number}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": USAGE["input"], "output_tokens": USAGE["output"]},
    }


def _reason(speech: Speech) -> str:
    return "tool_use" if speech.call else "end_turn"


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or ())
