"""Control's encoding: each event as one server-sent event with the fields that its clients read."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from streams import sse
from streams.channels import Channel
from streams.event import Event, Signal, timestamp

_Fields = Callable[[Event, dict[str, Any]], dict[str, Any]]


def _json(content: str) -> Any:
    try:
        value = msgspec.json.decode(content)
    except (msgspec.MsgspecError, RecursionError):
        return content
    # Line breaks between JSON's tokens would end the data line, and with it the frame.
    return value if "\n" in content or "\r" in content else msgspec.Raw(content.encode())


def _user_message(event: Event, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": event.event_id, "content": event.content, "queued": data.get("queued", False)}


def _assistant_message(event: Event, data: dict[str, Any]) -> dict[str, Any]:
    fields = {
        "id": event.event_id or f"{event.stream_id}-{event.sequence}",
        "content": event.content,
        "success": data.get("success", True),
        "cost_cents": data.get("cost_cents", 0),
        "model": data.get("model"),
    }
    return fields | {name: data[name] for name in ("shared_files", "resumable", "usage") if data.get(name)}


def _thinking(event: Event, data: dict[str, Any]) -> dict[str, Any]:
    return {"content": event.content, "done": data.get("done", True)}


def _tool_call(event: Event, data: dict[str, Any]) -> dict[str, Any]:
    return {"tool_call_id": event.tool_call_id, "name": event.tool_name, "args": _json(event.content)}


def _tool_result(event: Event, data: dict[str, Any]) -> dict[str, Any]:
    return {"tool_call_id": event.tool_call_id, "name": event.tool_name, "result": _json(event.content)}


def _error(event: Event, data: dict[str, Any]) -> dict[str, Any]:
    return {"message": event.content} | ({"resumable": True} if data.get("resumable") else {})


def _mission_status_changed(event: Event, data: dict[str, Any]) -> dict[str, Any]:
    moved = {"status": data.get("phase", data.get("status")), "summary": event.content or None}
    return moved | {"kind_status": data["status"]} if "phase" in data else moved


def _mission_title_changed(event: Event, data: dict[str, Any]) -> dict[str, Any]:
    return {"title": event.content}


def _progress(event: Event, data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "current_subtask": event.content or None}


def _task(event: Event, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": {
            "id": data.get("task_id"),
            "title": event.content,
            "description": data.get("description"),
            "status": data.get("status"),
        }
    }


def _any_other(event: Event, data: dict[str, Any]) -> dict[str, Any]:
    return {"content": event.content, "metadata": msgspec.Raw(event.metadata.encode())}


_FIELDS: Mapping[str, _Fields] = {
    "user_message": _user_message,
    "assistant_message": _assistant_message,
    "thinking": _thinking,
    "tool_call": _tool_call,
    "tool_result": _tool_result,
    "error": _error,
    "mission_status_changed": _mission_status_changed,
    "mission_title_changed": _mission_title_changed,
    "progress": _progress,
    "task_created": _task,
    "task_updated": _task,
}


def fields_of(event: Event) -> dict[str, Any]:
    """The data of an event, as the event names of the contract's table have it."""
    fields = _FIELDS.get(event.type, _any_other)(event, event.data())
    if event.stream_id != event.workspace_id:
        fields["mission_id"] = str(event.stream_id)
    return {"type": event.type, **fields, "event_id": event.event_id, "timestamp": timestamp(event.at)}


class ControlFrames:
    """The control stream: every event gives exactly one frame."""

    is_whole = True
    lingers = True

    def __init__(self, channel: Channel, epoch: str) -> None:
        self._epoch = epoch

    def event(self, event: Event, prev: int) -> bytes:
        numbers = {"sequence": event.sequence, "position": event.position, "prev": prev}
        return sse.frame(event.type, fields_of(event) | numbers, f"{self._epoch}:{event.position}")

    def signal(self, signal: Signal) -> bytes:
        about: dict[str, Any] = {"type": signal.type, "after": signal.after}
        if signal.stream_id != signal.workspace_id:
            about["mission_id"] = str(signal.stream_id)
        if signal.run_id is not None:
            about["run_id"] = str(signal.run_id)
        return sse.frame(signal.type, {**signal.body, **about})

    def heartbeat(self, through: int, head: int) -> bytes:
        return sse.heartbeat(f"{self._epoch}:{through}", head)

    def notice(self, name: str, body: dict[str, Any]) -> bytes:
        return sse.frame(name, body)
