"""OpenAI's responses: a request read, a reply written as its stream of events or as one object."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tests.agents.model.script import SPEAKERS, USAGE, Asked, Offer, Said, Speech, pieces

_OF_MODEL = ("function_call", "reasoning")


def read(body: dict[str, Any]) -> Asked:
    """The request in terms of the script."""
    given = body.get("input")
    results: list[str] = []
    for item in given if isinstance(given, list) else ():
        if item.get("type") in _OF_MODEL or item.get("role") == "assistant":
            results.clear()
        elif item.get("type") == "function_call_output":
            results.append(item["output"] if isinstance(item["output"], str) else json.dumps(item["output"]))
    said = [
        Said(item["role"], "".join(part.get("text", "") for part in item["content"]))
        for item in (given if isinstance(given, list) else ())
        if item.get("role") in SPEAKERS and isinstance(item.get("content"), list)
    ]
    return Asked(
        model=body["model"],
        offers=tuple(_offers(body.get("tools") or ())),
        results=tuple(results),
        said=tuple(said),
        is_streamed=bool(body.get("stream")),
    )


def _offers(tools: Iterable[dict[str, Any]], namespace: str | None = None) -> Iterator[Offer]:
    """The functions; those of an MCP server come in a namespace of their own."""
    for tool in tools:
        if tool.get("type") == "namespace":
            yield from _offers(tool.get("tools") or (), tool["name"])
        elif tool.get("type") == "function":
            yield Offer(tool["name"], tool.get("parameters") or {}, namespace)


def stream(speech: Speech, asked: Asked) -> Iterator[tuple[str, Any]]:
    """The events of a streamed reply."""
    for number, event in enumerate(_events(speech, asked)):
        yield event["type"], {**event, "sequence_number": number}


def whole(speech: Speech, asked: Asked) -> dict[str, Any]:
    """The reply in one piece."""
    return _response(speech, asked, "completed")


def _events(speech: Speech, asked: Asked) -> Iterator[dict[str, Any]]:
    yield {"type": "response.created", "response": _response(speech, asked, "in_progress")}
    items = _items(speech)
    for index, item in enumerate(items):
        place = {"item_id": item["id"], "output_index": index}
        opened = {**item, "status": "in_progress", **_EMPTY[item["type"]]}
        yield {"type": "response.output_item.added", "output_index": index, "item": opened}
        for event in _PARTS[item["type"]](item):
            yield {**event, **place}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": _response(speech, asked, "completed")}


def _items(speech: Speech) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if speech.thought:
        items.append(
            {
                "type": "reasoning",
                "id": f"rs_{speech.number}",
                "summary": [{"type": "summary_text", "text": speech.thought}],
            }
        )
    if speech.text:
        content = [{"type": "output_text", "text": speech.text, "annotations": []}]
        items.append(
            {
                "type": "message",
                "id": f"msg_{speech.number}",
                "role": "assistant",
                "status": "completed",
                "content": content,
            }
        )
    if speech.call:
        items.append(
            {
                "type": "function_call",
                "id": f"fc_{speech.number}",
                "call_id": speech.call.id,
                "name": speech.call.name,
                **({"namespace": speech.call.namespace} if speech.call.namespace else {}),
                "arguments": json.dumps(speech.call.arguments),
                "status": "completed",
            }
        )
    return items


def _reasoning(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    part = item["summary"][0]
    at = {"summary_index": 0}
    yield {"type": "response.reasoning_summary_part.added", "part": {**part, "text": ""}, **at}
    for piece in pieces(part["text"]):
        yield {"type": "response.reasoning_summary_text.delta", "delta": piece, **at}
    yield {"type": "response.reasoning_summary_text.done", "text": part["text"], **at}
    yield {"type": "response.reasoning_summary_part.done", "part": part, **at}


def _message(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    part = item["content"][0]
    at = {"content_index": 0}
    yield {"type": "response.content_part.added", "part": {**part, "text": ""}, **at}
    for piece in pieces(part["text"]):
        yield {"type": "response.output_text.delta", "delta": piece, **at}
    yield {"type": "response.output_text.done", "text": part["text"], **at}
    yield {"type": "response.content_part.done", "part": part, **at}


def _call(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for piece in pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", "delta": piece}
    yield {"type": "response.function_call_arguments.done", "arguments": item["arguments"]}


_PARTS = {"reasoning": _reasoning, "message": _message, "function_call": _call}
_EMPTY: dict[str, dict[str, Any]] = {
    "reasoning": {"summary": []},
    "message": {"content": []},
    "function_call": {"arguments": ""},
}


def _response(speech: Speech, asked: Asked, status: str) -> dict[str, Any]:
    response: dict[str, Any] = {
        "id": f"resp_{speech.number}",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "model": asked.model,
        "output": _items(speech) if status == "completed" else [],
    }
    if status == "completed":
        response["usage"] = {
            "input_tokens": USAGE["input"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": USAGE["output"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": USAGE["input"] + USAGE["output"],
        }
    return response
