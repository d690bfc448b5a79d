"""What an agent of a crew is told: to plan a mission, to do a task, to review the work. Pure."""

from collections.abc import Iterable, Sequence

from server.missions.crew.limits import cut, size_of
from server.missions.crew.state import Mission, Task, in_order
from server.runs.crew import handoff, plans, verdict
from server.runs.crew.blocks import defused
from server.runs.crew.roster import Roster, Worker

MAX_BYTES = 32 << 10
MAX_TEXT_BYTES = 6 << 10
"""Of one description, plan or prompt that people wrote."""
MAX_RESULT_BYTES = 4_000
"""Of the result of a task that left no hand-off."""
_MARK_BYTES = 64
"""What a mark of what was cut, and the signs of quoting, take at most beside a text."""

HEAD = "Missionstream crew brief:"
"""Begins every brief; the purpose follows."""
TASK_HEADING, MISSION_HEADING = "## Task", "## Mission"
_MARKERS = (handoff.NAME, verdict.NAME)
"""Whose blocks only the agent itself may write: in what others wrote they mark nothing, not even where it is repeated."""
_BUILDS_ON = "## What it builds on"
_RESULTS = "## Results"
_CREW = "## Your crew"
_MADE = "## Planned already"
_NOT_AGAIN = "You were cut off. These tasks are there; do not make them again, and add what is missing:"


def planning(mission: Mission, roster: Roster, lead: Worker) -> str:
    """The brief of the LEAD that plans; anew, when its planning was lost, with the tasks that it had made."""
    before = [
        f"{HEAD} plan",
        _role(lead, roster, "You lead it. Plan this mission; do not do the work yourself."),
        *_mission(mission),
    ]
    crew = [f"@{worker.slug}: {_who(worker)}" for worker in roster.agents.values() if worker.id != lead.id]
    made = [f"> {_plain(' '.join(task.title.split()), 200)} ({task.id})" for task in in_order(mission.tasks.values())]
    how = (
        "## How to plan\n"
        "Break the mission into tasks that one agent can do in one go. Make each with the tool create_task: its title, a "
        "description that says all its agent must know, depends_on with the ids of tasks that must be completed before, "
        "and assigned_agent with a slug of your crew, or without one for whoever has least to do.\n"
        "If you have no such tool, keep a plan (your list of steps) instead: each of its entries becomes a task, in this "
        f"notation:\n{plans.HOW}"
    )
    room = MAX_BYTES - size_of(_joined(*before, how)) - 4
    there = [_listed(f"{_MADE}\n{_NOT_AGAIN}", made, room // 2)] if made else []
    room -= size_of(_joined(*there)) + 4
    alone = "There is nobody else: its tasks will be yours."
    return _joined(*before, *there, _listed(_CREW, crew or [alone], room), how)


def _listed(heading: str, lines: Sequence[str], room: int) -> str:
    """A list, of at most `room` bytes with its heading."""
    room -= size_of(heading) + 2
    shown: list[str] = []
    for left in range(len(lines), 0, -1):
        line = lines[len(lines) - left]
        room -= size_of(line) + 1
        if room < _MARK_BYTES:
            shown.append(f"({left} more, for which there is no room)")
            break
        shown.append(line)
    return "\n".join([heading, *shown])


def task(mission: Mission, roster: Roster, worker: Worker, this: Task, failure: str | None = None) -> str:
    """The brief of an agent that does a task; `failure` is why the attempt before failed."""
    attempt = f"This is attempt {this.iteration}" + (f" of {this.max_iterations}." if this.max_iterations else ".")
    return _filled(
        [
            f"{HEAD} task",
            _role(worker, roster, f"Do the task below, and nothing else of the mission. {attempt}"),
            *_mission(mission),
            f"{TASK_HEADING}\n{_entitled(this.title, this.description)}",
        ],
        _BUILDS_ON,
        [*_failed_before(failure), *_sources(mission, this), *_complaints(mission, this)],
        [f"## How to end\n{handoff.HOW}"],
    )


def review(mission: Mission, roster: Roster, lead: Worker) -> str:
    """The brief of the LEAD that reviews."""
    return _filled(
        [
            f"{HEAD} review",
            _role(
                lead,
                roster,
                f"You lead it. All its tasks are done: review the work. This is review {mission.reworks + 1}.",
            ),
            *_mission(mission),
        ],
        _RESULTS,
        [_result(task, f"{task.title} [{task.status}]") for task in in_order(mission.tasks.values())],
        [
            "## How to judge\nCompare the results with the mission, and look into the files where you need to. Do not mend "
            "anything yourself: name the tasks to do again, or new ones.",
            verdict.HOW,
            f"The notation of a new task:\n{plans.HOW}",
        ],
    )


def _role(worker: Worker, roster: Roster, what: str) -> str:
    prompt = f"\n{cut(worker.system_prompt, MAX_TEXT_BYTES)}" if worker.system_prompt else ""
    crew = f" of the crew {roster.name}" if roster.name else ""
    return f"You are {_who(worker)}{crew}. {what}{prompt}"


def _who(worker: Worker) -> str:
    return cut(f"{worker.name}, {worker.role_title}" if worker.role_title else worker.name, 1_000)


def _mission(mission: Mission) -> list[str]:
    parts = [f"{MISSION_HEADING}\n{_entitled(mission.title, mission.description)}"]
    if mission.plan:
        parts.append(f"## Plan\n{_plain(mission.plan, MAX_TEXT_BYTES)}")
    return parts


def _entitled(title: str, description: str | None) -> str:
    text = _plain(title, 500)
    return f"{text}\n\n{_plain(description, MAX_TEXT_BYTES)}" if description else text


def _plain(text: str, room: int) -> str:
    return _cut(defused(text, _MARKERS), room)


def _cut(text: str, room: int) -> str:
    """The beginning of a defused text: a cut may leave of a harmless line just what marks a block."""
    return defused(cut(text, room), _MARKERS)


class _Said:
    """What somebody else said: a title, and a text that is cut as the room allows."""

    def __init__(self, title: str, text: str) -> None:
        self.title = f"### {_plain(' '.join(title.split()), 200)}"
        self.text = defused(text, _MARKERS)

    def within(self, room: int) -> str:
        quoted = "\n".join(f"> {line}" for line in self.text.splitlines())
        return f"{self.title}\n{_cut(quoted, max(0, room))}"


def _sources(mission: Mission, this: Task) -> list[_Said]:
    """What the direct dependencies left."""
    needed = dict.fromkeys(this.depends_on)
    return [_result(mission.tasks[task_id], mission.tasks[task_id].title) for task_id in needed]


def _result(task: Task, title: str) -> _Said:
    text = task.handoff_context or cut(task.result_summary or task.error_message or "", MAX_RESULT_BYTES)
    return _Said(title, text or "(it left no words)")


def _failed_before(failure: str | None) -> list[_Said]:
    return [_Said("The attempt before this one failed", cut(failure, MAX_RESULT_BYTES))] if failure else []


def _complaints(mission: Mission, this: Task) -> list[_Said]:
    """Why tasks that build on this one failed: it was begun again for their sake."""
    waiting = [mission.tasks[task_id] for task_id in mission.graph.dependents.get(this.id, ())]
    return [
        _Said(f"{task.title} failed on what this task left before", cut(task.error_message, MAX_RESULT_BYTES))
        for task in in_order(waiting)
        if task.error_message and not task.is_ended
    ]


def _filled(before: Sequence[str], heading: str, said: Sequence[_Said], after: Sequence[str]) -> str:
    """A brief in which others' words have what room is left, shared evenly; those that need less leave it to the rest."""
    if not said:
        return _joined(*before, *after)
    room = MAX_BYTES - size_of(_joined(*before, heading, *after))
    shown: list[str] = []
    for left in range(len(said), 0, -1):
        part = said[len(said) - left]
        share = room // left - size_of(part.title) - _MARK_BYTES
        if share < 0:
            shown.append(f"({left} more, for which there is no room)")
            break
        shown.append(part.within(share))
        room -= size_of(shown[-1]) + 2
    return _joined(*before, "\n\n".join([heading, *shown]), *after)


def _joined(*parts: str) -> str:
    return "\n\n".join(_sound(parts))


def _sound(parts: Iterable[str]) -> list[str]:
    return [part.strip() for part in parts if part.strip()]
