"""Gemini's generateContent: a request read, a reply written as its stream of responses or as one."""

from collections.abc import Iterator
from typing import Any

from tests.agents.model.script import USAGE, Asked, Offer, Said, Speech, pieces


def read(body: dict[str, Any]) -> Asked:
    """The request in terms of the script; whether it is streamed stands in the address."""
    results: list[str] = []
    said: list[Said] = []
    for content in body.get("contents") or ():
        speaker = "assistant" if content.get("role") == "model" else "user"
        said += [Said(speaker, part["text"]) for part in content.get("parts") or () if part.get("text")]
        if content.get("role") == "model":
            results.clear()
            continue
        answers = [part["functionResponse"] for part in content.get("parts") or () if "functionResponse" in part]
        results += [str(answer.get("response")) for answer in answers]
    declared = [each for tool in body.get("tools") or () for each in tool.get("functionDeclarations") or ()]
    return Asked(
        model="",
        offers=tuple(Offer(each["name"], _schema(each)) for each in declared),
        results=tuple(results),
        said=tuple(said),
    )


def stream(speech: Speech, asked: Asked) -> Iterator[tuple[None, Any]]:
    """The events of a streamed reply."""
    for part in _parts(speech):
        yield None, _response([part])
    yield None, {**_response([{"text": ""}], "STOP"), "usageMetadata": _usage()}


def whole(speech: Speech, asked: Asked) -> dict[str, Any]:
    """The reply in one piece."""
    return {**_response(list(_parts(speech)), "STOP"), "usageMetadata": _usage()}


def _parts(speech: Speech) -> Iterator[dict[str, Any]]:
    if speech.thought:
        yield {"text": f"**{speech.thought}**", "thought": True}
    for piece in pieces(speech.text):
        yield {"text": piece}
    if speech.call:
        call = {"id": speech.call.id, "name": speech.call.name, "args": speech.call.arguments}
        yield {"functionCall": call, "thoughtSignature": "c2lnbmVk"}


def _response(parts: list[dict[str, Any]], reason: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": parts}}
    return {"candidates": [candidate | ({"finishReason": reason} if reason else {})]}


def _usage() -> dict[str, int]:
    total = USAGE["input"] + USAGE["output"]
    return {"promptTokenCount": USAGE["input"], "candidatesTokenCount": USAGE["output"], "totalTokenCount": total}


def _schema(declared: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = declared.get("parametersJsonSchema") or declared.get("parameters") or {}
    return found
