"""Tasks and progress of a control mission: what each wish leads to, and the bounds."""

from datetime import timedelta
from uuid import UUID

import pytest

from server.missions.control import ControlRules, Create, Mission
from server.missions.control.tasks import MAX_TASK_CHARACTERS, MAX_TASKS, UpdateTask
from server.missions.tasks import TASK_LIFECYCLE, AddTask, Progress, ReportProgress
from storage.rules import Command
from streams.errors import Conflict, MoveRefused, NotFound
from tests.unit.numbering import AT, numbered

RULES = ControlRules()


class Told:
    """A mission that was told commands, one a second."""

    def __init__(self, *commands: Command) -> None:
        self.types: list[str] = []
        self.state: Mission | None = None
        self.tell(Create(id=UUID(int=1), backend="demo", space_id=UUID(int=3)), *commands)

    def tell(self, *commands: Command) -> "Told":
        for command in commands:
            for draft in RULES.decide(self.state, command).drafts:
                number = len(self.types) + 1
                event = numbered(draft, number, workspace_id=UUID(int=2), stream_id=UUID(int=1))
                self.types.append(event.type)
                self.state = RULES.evolve(self.state, event)
        return self

    @property
    def mission(self) -> Mission:
        assert self.state is not None
        return self.state


def a_task(number: int = 1, **fields: str) -> AddTask:
    return AddTask(**{"task_id": f"t{number}", "title": f"task {number}", **fields})  # type: ignore[arg-type]


def test_a_new_task_is_pending_and_last() -> None:
    told = Told(a_task(1, description="first"), a_task(2))
    assert [(task.id, task.title, task.status, task.description) for task in told.mission.tasks] == [
        ("t1", "task 1", "pending", "first"),
        ("t2", "task 2", "pending", ""),
    ]
    assert told.mission.tasks[0].created_at == AT + timedelta(seconds=2)


@pytest.mark.parametrize("status", TASK_LIFECYCLE.transitions)
def test_a_task_takes_any_status_of_the_table(status: str) -> None:
    told = Told(a_task(), UpdateTask(task_id="t1", status="running"), UpdateTask(task_id="t1", status=status))
    [task] = told.mission.tasks
    assert task.status == status
    assert (task.is_running, task.is_completed) == (status == "running", status == "completed")


def test_an_update_changes_what_it_names_and_nothing_else() -> None:
    told = Told(a_task(1, description="why"), a_task(2), UpdateTask(task_id="t1", title="renamed"))
    first, second = told.mission.tasks
    assert (first.id, first.title, first.description, first.status) == ("t1", "renamed", "why", "pending")
    assert first.created_at < first.updated_at
    assert (second.title, second.created_at) == ("task 2", second.updated_at)


def test_a_description_can_be_emptied() -> None:
    told = Told(a_task(1, description="why"), UpdateTask(task_id="t1", description=""))
    assert told.mission.tasks[0].description == ""


def test_what_is_so_already_is_no_event() -> None:
    progress = ReportProgress(progress=Progress(3, 1, "paint"))
    told = Told(a_task(), progress)
    before = list(told.types)
    told.tell(UpdateTask(task_id="t1", title="task 1", status="pending"), progress)
    assert told.types == before


def test_progress_keeps_the_last_report_whole() -> None:
    told = Told(ReportProgress(progress=Progress(3, 1, "paint", 2)), ReportProgress(progress=Progress(4, 4)))
    assert told.types[1:] == ["progress", "progress"]
    assert told.mission.progress == Progress(4, 4, None, 0)
    assert RULES.facts(told.mission).progress == Progress(4, 4)


def test_a_task_that_is_not_there_is_not_found_and_a_strange_status_refused() -> None:
    told = Told(a_task())
    with pytest.raises(NotFound, match="Task t2 not found"):
        told.tell(UpdateTask(task_id="t2", status="running"))
    with pytest.raises(MoveRefused):
        told.tell(UpdateTask(task_id="t1", status="interrupted"))


def test_tasks_are_bounded_in_number() -> None:
    told = Told(*(a_task(number) for number in range(MAX_TASKS)))
    with pytest.raises(Conflict, match="at most 200 tasks"):
        told.tell(a_task(MAX_TASKS))
    told.tell(UpdateTask(task_id="t0", status="completed"))
    assert len(told.mission.tasks) == MAX_TASKS


def test_tasks_are_bounded_in_characters_together() -> None:
    half = "x" * (MAX_TASK_CHARACTERS // 2)
    told = Told(a_task(1, title="", description=half), a_task(2, title="", description=half))
    with pytest.raises(Conflict, match="characters"):
        told.tell(a_task(3))
    with pytest.raises(Conflict, match="characters"):
        told.tell(UpdateTask(task_id="t1", title="a"))
    told.tell(UpdateTask(task_id="t1", status="running"), UpdateTask(task_id="t2", description="short"), a_task(3))
    assert len(told.mission.tasks) == 3
