"""One crew mission's events, numbered as the writer would, and short ways to make and command it."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from server.agents.budgets import Use
from server.missions.crew import CrewRules, Mission, Task
from server.missions.crew.commands import Create, CreateTask, Reference, Start, UpdateTask
from server.missions.crew.steps import Claim, EndTask
from storage.rules import Command, Decision
from streams.event import Draft, Event, cleaned
from tests.unit.numbering import numbered

RULES = CrewRules()
ID, WORKSPACE, CREW, LEAD, WORKER = (UUID(int=number) for number in range(1, 6))

USE = Use(input=80, output=20, cost_micros=150_000, source="reported")
"""What a run has used."""


def a_task(number: int) -> UUID:
    return UUID(int=1_000 + number)


def a_run(number: int) -> UUID:
    return UUID(int=1_000_000 + number)


def refer(*numbers: int) -> tuple[Reference, ...]:
    return tuple(Reference(str(a_task(number)), a_task(number)) for number in numbers)


class Stream:
    """A mission that is commanded; each event comes a second after the one before it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.current: Mission | None = None
        self.runs = 0

    @property
    def state(self) -> Mission:
        assert self.current is not None
        return self.current

    def execute(self, command: Command) -> list[Event]:
        """Decide and fold; the new events. What decide raises leaves everything as it was."""
        decision: Decision = RULES.decide(self.current, command)
        events = [self._event(draft) for draft in map(cleaned, decision.drafts) if not draft.to_workspace]
        self.current = RULES.evolve_all(self.current, [event for event in events if event.type in RULES.state_events])
        return events

    def append(self, draft: Draft) -> Event:
        event = self._event(draft)
        if event.type in RULES.state_events:
            self.current = RULES.evolve(self.current, event)
        return event

    def _event(self, draft: Draft) -> Event:
        number = len(self.events) + 1
        event = numbered(draft, number, workspace_id=WORKSPACE, stream_id=ID)
        self.events.append(event)
        return event

    # people

    def create(self, **fields: Any) -> "Stream":
        self.execute(Create(id=ID, crew_id=CREW, lead_agent_id=LEAD, **{"title": "build a boat", **fields}))
        return self

    def add(self, number: int, *needs: int, **fields: Any) -> list[Event]:
        """A task that depends on others, by their numbers."""
        wanted = {"title": f"task {number}", "depends_on": refer(*needs), **fields}
        return self.execute(CreateTask(id=a_task(number), **wanted))

    def patch(self, number: int, *statuses: str, **fields: Any) -> list[Event]:
        """PATCH a task: its fields, or its statuses one after the other."""
        if not statuses:
            return self.execute(UpdateTask(id=a_task(number), **fields))
        return [
            event
            for status in statuses
            for event in self.execute(UpdateTask(id=a_task(number), status=status, **fields))
        ]

    def start(self) -> list[Event]:
        return self.execute(Start())

    # the engine

    def claim(self, number: int) -> UUID:
        self.runs += 1
        self.execute(Claim(task_id=a_task(number), agent_id=WORKER, run_id=a_run(self.runs)))
        return a_run(self.runs)

    def end(self, number: int, *, claims: bool = True, **fields: Any) -> list[Event]:
        """Claim a task and end its run: completed, unless an error is given."""
        run_id = self.claim(number) if claims else self.task(number).run_id
        outcome = "failed" if "error" in fields else "completed"
        ending = {"outcome": outcome, "reason": "end_turn", **fields}
        return self.execute(EndTask(task_id=a_task(number), run_id=run_id or a_run(0), **ending))

    # looking

    def task(self, number: int) -> Task:
        return self.state.tasks[a_task(number)]

    @property
    def statuses(self) -> dict[int, str]:
        return {task.id.int - 1_000: task.status for task in self.state.tasks.values()}


def worked(*needs: tuple[int, ...], **fields: object) -> Stream:
    """A started mission of tasks 1, 2, 3 …, each with its dependencies."""
    stream = Stream().create()
    for number, needed in enumerate(needs, 1):
        stream.add(number, *needed, **fields)
    stream.start()
    return stream


def folded(events: Iterable[Event]) -> Mission | None:
    """The state that the log alone gives."""
    state: Mission | None = None
    for event in events:
        if event.type in RULES.state_events:
            state = RULES.evolve(state, event)
    return state


def stored_and_read(state: Mission) -> Mission:
    """The state as it comes back from a row of the mission and a row for each task."""
    header, parts = RULES.split(state)
    document = msgspec.json.decode(msgspec.json.encode(header), type=RULES.state_type)
    rows = {
        task_id: msgspec.json.decode(msgspec.json.encode(task), type=RULES.part_type) for task_id, task in parts.items()
    }
    return RULES.join(document, dict(reversed(rows.items())))


def said(events: Sequence[Event]) -> list[tuple[str, ...]]:
    """Events in short: a type, the task's number, the status, the cause."""
    return [_short(event) for event in events]


def _short(event: Event) -> tuple[str, ...]:
    data = event.data()
    number = str(UUID(data["task_id"]).int - 1_000) if "task_id" in data else ""
    words = (event.type, number, data.get("status", ""), data.get("cause", ""))
    return tuple(word for word in words if word)
