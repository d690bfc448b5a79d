"""What bounds a crew mission: numbers of tasks, sizes of texts, and what happens beyond them. Pure."""

from collections.abc import Mapping
from typing import Any

from server.missions.crew.commands import NewTask
from server.missions.crew.state import Mission, Task
from streams.errors import BadRequest, Conflict

MAX_TASKS = 5_000
MAX_TEXT_BYTES = 64 << 10
"""Of one title, description, plan, result …"""
MAX_MISSION_BYTES = 8 << 20
"""Of all texts and dependencies of a mission that people set."""
MAX_RESULT_BYTES = 8_000
"""Of a text that a run leaves on its task; the whole of it is in the log."""
MIN_RESULT_BYTES = 500
"""What a run may always leave, even on a mission that is full."""
MAX_TITLE_BYTES = 500
"""Of the title of a task that a LEAD plans."""
MAX_ITERATIONS = 50
MAX_ORDER = (1 << 31) - 1
MAX_TOKENS = 10**12
MAX_COST = 10**6
MAX_REWORKS = 10
"""How often a LEAD may send the work back before people have to decide."""

_MISSION_TEXTS = ("title", "description", "plan", "workflow_template")
_TASK_TEXTS = (
    "title", "description", "result_summary", "output_path", "error_message", "handoff_context", "evaluation_notes",
)  # fmt: skip
_DEPENDENCY_BYTES = 36
_MOST: Mapping[str, int] = {"order": MAX_ORDER, "token_count": MAX_TOKENS, "estimated_cost": MAX_COST}
_WIRE_NAMES = {"order": "task_order"}


def size_of(text: str | None) -> int:
    """The bytes of a text in UTF-8."""
    return 0 if not text else len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def mission_size(fields: Mapping[str, Any]) -> int:
    """The bytes of a mission's own texts."""
    return sum(size_of(fields.get(name)) for name in _MISSION_TEXTS)


def task_size(task: Task) -> int:
    """The bytes of a task's texts and dependencies."""
    texts = sum(size_of(getattr(task, name)) for name in _TASK_TEXTS)
    return texts + _DEPENDENCY_BYTES * len(task.depends_on)


def new_task_size(task: NewTask) -> int:
    """The bytes that a new task adds to its mission."""
    return size_of(task.title) + size_of(task.description) + _DEPENDENCY_BYTES * len(task.depends_on)


def check_fields(fields: Mapping[str, Any]) -> None:
    """BadRequest, naming the field and the bound, when a text is too long or a number too large."""
    for name, value in fields.items():
        if isinstance(value, str) and (size := size_of(value)) > MAX_TEXT_BYTES:
            raise BadRequest(
                f"{name} has {size} bytes, at most {MAX_TEXT_BYTES} are kept; shorten it, or put it into a file and name that"
            )
        if name == "depends_on" and len(value) > MAX_TASKS:
            raise BadRequest(f"depends_on names {len(value)} tasks, at most {MAX_TASKS} are kept; name each once")
        if name in _MOST and value is not None and not abs(value) <= _MOST[name]:
            raise BadRequest(f"{_WIRE_NAMES.get(name, name)} must be between -{_MOST[name]} and {_MOST[name]}")


def check_room(state: Mission, more: int, *, tasks: int = 0) -> None:
    """Conflict, with the way out, when a mission would hold too many tasks or too much text."""
    if state.total + tasks > MAX_TASKS:
        raise Conflict(f"a mission has at most {MAX_TASKS} tasks; make another mission for the rest")
    if more > 0 and state.size + more > MAX_MISSION_BYTES:
        raise Conflict(
            f"the texts of a mission have at most {MAX_MISSION_BYTES} bytes; shorten some descriptions or results"
        )


def kept(text: str | None, state: Mission) -> str | None:
    """What a task keeps of a run's text: 8,000 bytes and a mark, less on a mission that is full; None for nothing."""
    room = max(MIN_RESULT_BYTES, min(MAX_RESULT_BYTES, MAX_MISSION_BYTES - state.size))
    return cut(text, room) if text else None


def cut(text: str, room: int) -> str:
    """The beginning of a text, of at most `room` bytes, and a mark where it was cut."""
    size = size_of(text)
    if size <= room:
        return text
    return text.encode(errors="replace")[:room].decode(errors="ignore") + f"\n… [cut: {room} of {size} bytes]"
