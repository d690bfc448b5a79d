"""What was said in the demo agent's sessions, kept below its home so that a later process can go on with them."""

import json
import os
import uuid
from pathlib import Path
from typing import Literal, NamedTuple

Speaker = Literal["user", "agent"]


class Line(NamedTuple):
    """One message, or all that the agent said to it."""

    speaker: Speaker
    text: str


class Transcript:
    """One session's messages. Each is written when it is known; a file cut off in a line is read up to there."""

    def __init__(self, file: Path, lines: list[Line]) -> None:
        self.lines = lines
        self._file = file

    @classmethod
    def new(cls, session_id: str) -> "Transcript":
        return cls(_file(session_id), [])

    @classmethod
    def read(cls, session_id: str) -> "Transcript | None":
        """The session's transcript; None for one that never was, or a name that is no session's."""
        try:
            file = _file(str(uuid.UUID(session_id)))
            text = file.read_text()
        except (ValueError, OSError):
            return None
        lines = []
        for row in text.splitlines():
            try:
                lines.append(Line(*json.loads(row)))
            except (ValueError, TypeError):
                break
        return cls(file, lines)

    def add(self, speaker: Speaker, text: str) -> None:
        self.lines.append(Line(speaker, text))
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as opened:
            opened.write(json.dumps([speaker, text]) + "\n")

    @property
    def heard(self) -> int:
        """How many messages there were, the one that is being answered included."""
        return sum(line.speaker == "user" for line in self.lines)


def _file(session_id: str) -> Path:
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return Path(data) / "missionstream-demo" / f"{session_id}.jsonl"
