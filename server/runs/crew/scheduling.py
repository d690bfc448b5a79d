"""What the engine does next on a crew mission: from its state, its roster and the time to commands. Pure."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from server.missions.crew.state import Mission, Task
from server.missions.crew.steps import (
    AnnounceUnplanned,
    AnnounceWaiting,
    BeginPlanning,
    BeginReview,
    Claim,
    FailTask,
    TimeOut,
)
from server.runs.crew.roster import Roster, Worker
from storage.rules import Command

NOT_IN_CREW = "the assigned agent is not, or no longer, in the mission's crew"
NO_LEAD = "the crew has no LEAD to plan the mission: give it one, or add tasks"
NOBODY = "No agent assigned and auto-assignment failed: the crew has no agents"


class Next(NamedTuple):
    """Commands to execute in this order; which of them begin a run is `begins`.

    `is_starved`: something more could begin if there were a slot. `wake_at`: look again then, whatever happens.
    """

    commands: tuple[Command, ...] = ()
    is_starved: bool = False
    wake_at: datetime | None = None


def begins(command: Command) -> bool:
    """Whether a command begins a run, and so needs a slot."""
    return isinstance(command, Claim | BeginPlanning | BeginReview)


def next_steps(
    mission: Mission,
    roster: Roster,
    *,
    now: datetime,
    slots: int,
    new_id: Callable[[], UUID],
    tripped: Callable[[UUID], str | None] = lambda agent_id: None,
) -> Next:
    """What to do now. `slots` is how many more runs this server takes, `tripped` why an agent gets nothing more to do.

    A mission that is over, or that nobody engaged, gives nothing. Settling is not decided here: the rules do (Settle).
    """
    if not mission.is_engaged:
        return Next()
    if mission.status == "REVIEW":
        return _review(mission, roster, slots, new_id)
    if not mission.is_worked or mission.engaged_at is None:
        return Next()
    deadline = mission.engaged_at + timedelta(seconds=roster.timeout_seconds)
    if deadline <= now:
        return Next((TimeOut(engaged_at=mission.engaged_at),))
    if mission.run is not None:
        return Next(wake_at=deadline)
    lead = _lead(mission, roster)
    is_theirs = lead is not None and lead.is_passive  # people plan, and say themselves when tasks begin
    work = _plan if not mission.total or (mission.is_half_planned and not is_theirs) else _tasks
    return work(mission, roster, slots, new_id, tripped)._replace(wake_at=deadline)


def _lead(mission: Mission, roster: Roster) -> Worker | None:
    """The mission's LEAD; the crew's where that has left the crew, or leads it no more."""
    named = roster.agents.get(mission.lead_agent_id)
    if named is not None and named.is_lead:
        return named
    return next((worker for worker in roster.agents.values() if worker.is_lead), named)


def _leads(mission: Mission, roster: Roster) -> Worker | None:
    """The LEAD, if it leads by itself."""
    lead = _lead(mission, roster)
    return None if lead is None or lead.backend is None or lead.is_passive else lead


def _plan(
    mission: Mission,
    roster: Roster,
    slots: int,
    new_id: Callable[[], UUID],
    tripped: Callable[[UUID], str | None],
) -> Next:
    if mission.has_planned:
        return Next()
    lead = _leads(mission, roster)
    if lead is None:
        return Next(tuple(_unplanned(mission, _lead(mission, roster))))
    if slots < 1:
        return Next(is_starved=True)
    return Next((BeginPlanning(run_id=new_id(), agent_id=lead.id),))


def _unplanned(mission: Mission, lead: Worker | None) -> list[Command]:
    """Say once why nobody plans; a passive LEAD is a wish of people, who need not be told."""
    if lead is not None and lead.is_passive:
        return []
    reason, agent_id = (NO_LEAD, None) if lead is None else (lead.manual, lead.id)
    return [] if mission.waiting == reason else [AnnounceUnplanned(reason=reason, agent_id=agent_id)]


def _review(mission: Mission, roster: Roster, slots: int, new_id: Callable[[], UUID]) -> Next:
    lead = _leads(mission, roster)
    if lead is None or mission.run is not None or mission.review is not None:
        return Next()
    if not mission.total or mission.open_tasks:  # nothing was done, or a person stopped it in mid-work
        return Next()
    if slots < 1:
        return Next(is_starved=True)
    return Next((BeginReview(run_id=new_id(), agent_id=lead.id),))


def _tasks(
    mission: Mission,
    roster: Roster,
    slots: int,
    new_id: Callable[[], UUID],
    tripped: Callable[[UUID], str | None],
) -> Next:
    if not mission.graph.ready:
        return Next()
    running = sum(1 for task in mission.tasks.values() if task.run_id is not None)
    room = roster.max_parallel_tasks - running
    loads: dict[UUID, int] | None = None
    commands: list[Command] = []
    is_starved = False
    for task in mission.ready:
        if task.agent_id is None:
            loads = _loads(mission) if loads is None else loads
            worker = least_loaded(roster, loads)
            fault = NOBODY
        else:
            worker = roster.agents.get(task.agent_id)
            fault = NOT_IN_CREW
        if worker is None:
            commands.append(FailTask(task_id=task.id, error=fault, agent_id=task.agent_id))
        elif worker.backend is None:
            commands += _announcement(task, worker)
        elif (why := tripped(worker.id)) is not None:
            commands.append(FailTask(task_id=task.id, error=why, agent_id=task.agent_id))
        elif room < 1:
            continue
        elif slots < 1:
            is_starved = True
        else:
            commands.append(Claim(task_id=task.id, agent_id=worker.id, run_id=new_id()))
            room, slots = room - 1, slots - 1
            if loads is not None and task.agent_id is None:
                loads[worker.id] = loads.get(worker.id, 0) + 1
    return Next(tuple(commands), is_starved)


def _announcement(task: Task, worker: Worker) -> list[Command]:
    if task.waiting == worker.manual:
        return []
    return [AnnounceWaiting(task_id=task.id, reason=worker.manual, agent_id=worker.id)]


def _loads(mission: Mission) -> dict[UUID, int]:
    """How many tasks of the mission each agent has, in whatever status."""
    loads: dict[UUID, int] = {}
    for task in mission.tasks.values():
        if task.agent_id is not None:
            loads[task.agent_id] = loads.get(task.agent_id, 0) + 1
    return loads


def least_loaded(roster: Roster, loads: Mapping[UUID, int]) -> Worker | None:
    """Who gets a task that nobody was given: the agent with the fewest tasks of the mission, by name where they are even.

    The LEAD only when there is nobody else. An agent that works by itself comes before one whose tasks people do: with
    such a one the task would wait for ever though somebody could do it.
    """
    workers = sorted(
        roster.agents.values(),
        key=lambda worker: (worker.backend is None, worker.is_lead, loads.get(worker.id, 0), worker.name, worker.slug),
    )
    return workers[0] if workers else None
