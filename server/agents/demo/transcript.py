"""What was said in the demo agent's sessions, kept below its home so that a later process can go on with them."""

import json
import os
import uuid
from pathlib import Path
from typing import Literal, NamedTuple

Speaker = Literal["user", "agent"]
_COST = "cents"


class Line(NamedTuple):
    """One message, or all that the agent said to it."""

    speaker: Speaker
    text: str


class Transcript:
    """One session's messages, and the cents that it has cost. Each is written when it is known; a file cut off in a line
    is read up to there."""

    def __init__(self, file: Path, lines: list[Line], cents: float = 0.0) -> None:
        self.lines = lines
        self.cents = cents
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
        lines, cents = [], 0.0
        for row in text.splitlines():
            try:
                what, value = json.loads(row)
                if what == _COST:
                    cents = float(value)
                else:
                    lines.append(Line(what, value))
            except (ValueError, TypeError):
                break
        return cls(file, lines, cents)

    def add(self, speaker: Speaker, text: str) -> None:
        self.lines.append(Line(speaker, text))
        self._write(speaker, text)

    def spend(self, cents: float) -> None:
        """Count what the session costs, over all its processes."""
        self.cents += cents
        self._write(_COST, self.cents)

    def _write(self, what: str, value: str | float) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as opened:
            opened.write(json.dumps([what, value]) + "\n")

    @property
    def heard(self) -> int:
        """How many messages there were, the one that is being answered included."""
        return sum(line.speaker == "user" for line in self.lines)


def _file(session_id: str) -> Path:
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return Path(data) / "missionstream-demo" / f"{session_id}.jsonl"
