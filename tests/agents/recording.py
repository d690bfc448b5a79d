"""Recording what passes between the server and an agent, made neutral so that it can stand in the repository."""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from server.agents.acp_transport import AgentTransport

_MENUS = ("availableCommands", "availableModels", "tools")
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_NAMED_ID = re.compile(r"\b(ses|msg|prt|per|evt|usr)_[0-9a-zA-Z]{16,}\b")
_TIME = re.compile(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_MILLISECONDS = re.compile(r"\b1[789]\d{11}\b")


class Recorder:
    """Remembers both directions of one turn's wire. Its `transport` takes the place of the server's own."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self._started = time.monotonic()

    def note(self, sender: str, message: dict[str, Any]) -> None:
        """Remember a message of "agent" or "client", with the milliseconds since the recording began."""
        at = round((time.monotonic() - self._started) * 1000)
        self.entries.append({"from": sender, "at": at, "message": _brief(message)})

    def transport(self, *arguments: Any, **bounds: Any) -> AgentTransport:
        """The server's own transport, overheard."""
        return _Overheard(self, *arguments, **bounds)

    def text(self, places: Mapping[str, str]) -> str:
        """The recording as JSON lines; `places` maps texts of this machine to neutral ones."""
        lines = (json.dumps(entry, separators=(",", ":"), ensure_ascii=False) for entry in self.entries)
        return neutral("".join(f"{line}\n" for line in lines), places)


def _brief(value: Any) -> Any:
    """The message without the long menus of commands, tools and models, of which two entries show the form."""
    if isinstance(value, dict):
        return {
            key: _brief(item[:2] if key in _MENUS and isinstance(item, list) else item) for key, item in value.items()
        }
    return [_brief(item) for item in value] if isinstance(value, list) else value


class _Overheard(AgentTransport):
    def __init__(self, recorder: Recorder, *arguments: Any, **bounds: Any) -> None:
        super().__init__(*arguments, **bounds)
        self._recorder = recorder

    async def send(self, message: dict[str, Any]) -> None:
        self._recorder.note("client", message)
        await super().send(message)

    async def receive(self) -> dict[str, Any] | None:
        message = await super().receive()
        if message is not None:
            self._recorder.note("agent", message)
        return message


def places_of(folders: Mapping[Path, str], texts: Mapping[str, str]) -> dict[str, str]:
    """Replacements for folders in the spellings that agents use for them, longest first, and for other texts."""
    spelled: dict[str, str] = dict(texts)
    for folder, name in folders.items():
        spelled |= {str(folder): name, quote(str(folder), safe=""): quote(name, safe="")}
        spelled[re.sub(r"[/_.]", "-", str(folder))] = name.replace("/", "-")
    return dict(sorted(spelled.items(), key=lambda pair: -len(pair[0])))


def neutral(text: str, places: Mapping[str, str]) -> str:
    """The text without what differs from run to run: places, ids (numbered by their first sight), times."""
    for here, anywhere in places.items():
        text = text.replace(here, anywhere)
    uuids: dict[str, str] = {}
    ids: dict[str, str] = {}
    text = _UUID.sub(lambda m: uuids.setdefault(m[0], f"00000000-0000-4000-8000-{len(uuids) + 1:012}"), text)
    text = _NAMED_ID.sub(lambda m: ids.setdefault(m[0], f"{m[1]}_{len(ids) + 1:04}"), text)
    return _MILLISECONDS.sub("1700000000000", _TIME.sub("2026-01-01T00:00:00.000Z", text))
