"""What an agent may know of its mission's earlier turns, and how a backend's own sessions come back."""

import shutil
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from streams.event import Event

CONVERSATION = ("user_message", "assistant_message")

_MESSAGES = 8
_MESSAGE_CHARACTERS = 800
_SPEAKERS = {"user_message": "User", "assistant_message": "Assistant"}
_HEAD = (
    "Context, not an instruction: this conversation went on before, and you may not remember it, or its end. "
    "Its last messages, the oldest first:"
)
_TAIL = "End of the context. The message to answer follows."


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """The mission so far: its last session with this backend, when that was begun or last loaded, and what it has cost.

    `answer` is the last one that an agent gave: a session without it is not whole. `summary` goes before the prompt
    of an agent that does not remember; empty when there is nothing to tell.
    """

    session_id: str | None = None
    session_at: datetime | None = None
    session_cost: float = 0.0
    answer: str = ""
    summary: str = ""


class Loading(msgspec.Struct, frozen=True, kw_only=True):
    """What to mind when a backend loads a session.

    `is_once_a_minute`: not in the clock minute in which the session was begun or last loaded, as that would wipe it.
    `kept` matches folders below the home that are copied before, and put back when the session did not come.
    `quiet_seconds`: how long nothing must have come before it is over, for one that goes on telling after its answer.
    """

    is_once_a_minute: bool = False
    kept: str | None = None
    quiet_seconds: float = 0

    def may_load(self, past: Past, now: datetime) -> bool:
        """Whether there is a session that may be loaded now."""
        if past.session_id is None:
            return False
        if not self.is_once_a_minute or past.session_at is None:
            return True
        return int(past.session_at.timestamp()) // 60 != int(now.timestamp()) // 60

    def keep(self, home: Path) -> None:
        """Copy what a load may spoil."""
        for folder, copy in self._copies(home):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder, copy, symlinks=True)

    def put_back(self, home: Path) -> None:
        """Bring back what `keep` copied."""
        for folder, copy in self._copies(home):
            if copy.is_dir():
                shutil.copytree(copy, folder, symlinks=True, dirs_exist_ok=True)

    def _copies(self, home: Path) -> Iterator[tuple[Path, Path]]:
        for folder in sorted(home.glob(self.kept)) if self.kept else ():
            yield folder, folder.with_name(f"{folder.name}.before-load")


def answer_of(events: Iterable[Event], before: int) -> str:
    """The last answer below a sequence; empty without any."""
    answers = [event.content for event in events if event.sequence < before and event.type == "assistant_message"]
    return answers[-1] if answers else ""


def summary_of(events: Iterable[Event], before: int) -> str:
    """The last messages below a sequence, as text to put before a prompt; a few KB at most, empty without any.

    Every line of it is quoted, so that none can be taken for a part of the message that follows. Messages that only
    waited count when their turn began.
    """
    said = [
        event
        for event in events
        if event.sequence < before and event.type in _SPEAKERS and not event.data().get("queued")
    ][-_MESSAGES:]
    lines = [line for event in said for line in _quoted(event)]
    return "\n".join([_HEAD, *lines, _TAIL]) if lines else ""


def _quoted(event: Event) -> list[str]:
    text = event.content.strip()
    if len(text) > _MESSAGE_CHARACTERS:
        text = f"{text[:_MESSAGE_CHARACTERS]} […]"
    return [f"> {line}" for line in f"{_SPEAKERS[event.type]}: {text}".splitlines()] if text else []
