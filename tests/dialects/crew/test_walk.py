"""Missions, tasks, copies and checkpoints over HTTP against a small model: whatever is wished, in whatever order."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.dialects.crew import ids
from server.missions.crew import LIFECYCLE, TASK_LIFECYCLE
from server.missions.crew.steps import Settle
from tests.dialects.crew.world import Crew, read
from tests.unit.crew.model import Model

pytestmark = pytest.mark.asyncio(loop_scope="module")
STATUSES, TASK_STATUSES = [*LIFECYCLE.transitions], [*TASK_LIFECYCLE.transitions]
MOST_MISSIONS, MOST_TASKS = 4, 8
VERBS = ("start", "restart", "resume")
FITTING = {
    "PLANNING": ("start",),
    "FAILED": ("restart", "resume"),
    "COMPLETED": ("restart",),
    "CANCELLED": ("restart",),
}


@dataclass
class Known:
    """A mission, what the model says of it, and its checkpoints; tasks are known by number."""

    id: str
    model: Model
    tasks: dict[int, str] = field(default_factory=dict)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)


class Step(NamedTuple):
    """A wish: its name, and numbers to choose with."""

    name: str
    a: int
    b: int
    c: int


class Walk:
    """Missions that are driven; each wish is granted, or refused and changes nothing, as the model says."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.missions: list[Known] = []
        self.numbers = iter(range(1_000_000))

    async def begin(self) -> None:
        self.missions.append(Known((await self.crew.mission())["id"], Model()))
        for number in range(3):
            await self.add(self.missions[0], Step("add", 0, number, 0))

    async def take(self, step: Step) -> None:
        known = self.missions[step.a % len(self.missions)]
        await WISHES[step.name](self, known, step)
        if known.model.is_engaged:  # as an engine would; one that is there may have done it
            await self.crew.command({"id": known.id}, Settle())
            known.model.settle()
        await self.compare(known)

    async def ask(self, known: Known, method: str, verb: str, body: Any = None) -> Any:
        return await self.crew.boss.ask(method, f"{self.crew.missions}/{known.id}{verb}", body)

    async def compare(self, known: Known) -> None:
        got, model = (await self.ask(known, "GET", "")).json, known.model
        assert got["status"] == model.status
        number_of = {identity: number for number, identity in known.tasks.items()}
        assert {
            number_of[task["id"]]: (task["status"], task["iteration"], _needs(task, number_of)) for task in got["tasks"]
        } == {number: (part.status, part.iteration, part.needs) for number, part in model.parts.items()}

    # people

    async def patch(self, known: Known, step: Step) -> None:
        allowed = sorted(LIFECYCLE.transitions[known.model.status])
        status = STATUSES[step.b % len(STATUSES)] if step.c % 4 == 0 or not allowed else allowed[step.b % len(allowed)]
        answer = await self.ask(known, "PATCH", "", {"status": status})
        assert (answer.status == 200) == known.model.edit(status), answer

    async def drive(self, known: Known, step: Step) -> None:
        fitting = FITTING.get(known.model.status, VERBS)
        verb = VERBS[step.b % 3] if step.c % 4 == 0 else fitting[step.b % len(fitting)]
        granted = getattr(known.model, verb)()
        answer = await self.ask(known, "POST", f"/{verb}")
        assert (answer.status == 200) == granted, answer

    async def add(self, known: Known, step: Step) -> None:
        if len(known.tasks) < MOST_TASKS:
            numbers = sorted(known.tasks)
            needs = tuple(dict.fromkeys(numbers[n % len(numbers)] for n in (step.b, step.c) if numbers and n % 3))
            number = next(self.numbers)
            body = {"title": f"task {number}", "depends_on": [known.tasks[needed] for needed in needs]}
            answer = await self.ask(known, "POST", "/tasks", body)
            assert (answer.status == 201) == known.model.add(number, needs, None, False), answer
            if answer.status == 201:
                known.tasks[number] = answer.json["id"]

    async def turn(self, known: Known, step: Step) -> None:
        if known.tasks:
            number = sorted(known.tasks)[step.b % len(known.tasks)]
            allowed = sorted(TASK_LIFECYCLE.transitions[known.model.parts[number].status])
            status = allowed[step.c % len(allowed)] if allowed else TASK_STATUSES[step.c % len(TASK_STATUSES)]
            answer = await self.ask(known, "PATCH", f"/tasks/{known.tasks[number]}", {"status": status})
            assert (answer.status == 200) == known.model.patch(number, status), answer

    async def rewire(self, known: Known, step: Step) -> None:
        if known.tasks:
            numbers = sorted(known.tasks)
            number, needed = numbers[step.b % len(numbers)], numbers[step.c % len(numbers)]
            body = {"depends_on": f'["{known.tasks[needed]}"]'}
            answer = await self.ask(known, "PATCH", f"/tasks/{known.tasks[number]}", body)
            assert (answer.status == 200) == known.model.rewire(number, (needed,)), answer

    # copies

    async def clone(self, known: Known, step: Step) -> None:
        if len(self.missions) < MOST_MISSIONS:
            made = (await self.ask(known, "POST", "/clone")).json["id"]
            await self.join(known, made, is_fork=False)

    async def fork(self, known: Known, step: Step) -> None:
        if known.checkpoints and len(self.missions) < MOST_MISSIONS:
            source = known.checkpoints[step.b % len(known.checkpoints)]
            fork = await self.crew.boss.post(f"/api/v1/checkpoints/{source['id']}/fork", None)
            copy = await self.join(known, fork["new_mission_id"], is_fork=True)
            bookmark = await self.crew.boss.get(f"/api/v1/checkpoints/{fork['new_checkpoint_id']}")
            assert (bookmark["fork_of"], bookmark["journal_cursor"]) == (source["id"], source["journal_cursor"])
            assert bookmark["state"]["pending_tasks"] == _unfinished(copy)
            copy.checkpoints.append(bookmark)

    async def join(self, known: Known, made: str, *, is_fork: bool) -> Known:
        copy = Known(made, known.model.cloned(is_fork=is_fork))
        titles = {f"task {number}": number for number in known.tasks}
        copy.tasks = {titles[task["title"]]: task["id"] for task in (await self.ask(copy, "GET", "")).json["tasks"]}
        self.missions.append(copy)
        await self.compare(copy)
        return copy

    # checkpoints

    async def bookmark(self, known: Known, step: Step) -> None:
        entries = await self.entries(known)
        answer = await self.crew.boss.ask("POST", f"/api/v1/missions/{known.id}/checkpoints", {"label": str(step.b)})
        assert (answer.status, bool(entries)) in ((201, True), (409, False)), answer
        if entries:
            made = answer.json
            assert made["journal_cursor"] >= entries[-1]
            assert made["state"]["pending_tasks"] == _unfinished(known)
            known.checkpoints.append(made)

    async def restore(self, known: Known, step: Step) -> None:
        if known.checkpoints:
            checkpoint = known.checkpoints[step.b % len(known.checkpoints)]
            newer = [entry for entry in await self.entries(known) if entry > checkpoint["journal_cursor"]]
            answer = await self.crew.boss.post(f"/api/v1/checkpoints/{checkpoint['id']}/restore", None, 200)
            assert answer["checkpoint"] == checkpoint
            assert answer["warn_divergence"][: len(newer)] == newer

    async def forget(self, known: Known, step: Step) -> None:
        if known.checkpoints:
            gone = known.checkpoints.pop(step.b % len(known.checkpoints))
            assert (await self.crew.boss.ask("DELETE", f"/api/v1/checkpoints/{gone['id']}")).status == 204
            for other in self.missions:
                for checkpoint in other.checkpoints:
                    if checkpoint.get("fork_of") == gone["id"]:
                        del checkpoint["fork_of"]
            listed = await self.crew.boss.get(f"/api/v1/missions/{known.id}/checkpoints")
            assert listed["checkpoints"] == sorted(known.checkpoints, key=lambda one: one["id"], reverse=True)

    async def entries(self, known: Known) -> list[str]:
        """The ids of the mission's entries, oldest first."""
        page = await self.crew.boss.get(f"/api/v1/journal?mission_id={known.id}&limit=500")
        return [entry["id"] for entry in page["entries"]][::-1]


WISHES: Mapping[str, Callable[[Walk, Known, Step], Awaitable[None]]] = {
    name: getattr(Walk, name)
    for name in ("patch", "drive", "add", "turn", "rewire", "clone", "fork", "bookmark", "restore", "forget")
}
OFTEN = [*WISHES, "add", "add", "turn", "turn", "turn", "drive", "drive", "patch", "patch", "bookmark"]


def _needs(task: Mapping[str, Any], number_of: Mapping[str, int]) -> tuple[int, ...]:
    text = task["depends_on"].strip("[]")
    return tuple(number_of[part.strip('"')] for part in text.split(",")) if text else ()


def _unfinished(known: Known) -> list[str]:
    open_ = [read(known.tasks[number]) for number, part in known.model.parts.items() if part.status != "COMPLETED"]
    return [ids.spell(task_id) for task_id in sorted(open_)]


async def test_whatever_is_wished_in_whatever_order_is_as_the_model_says(crew: Crew) -> None:
    loop = asyncio.get_running_loop()
    taken: list[str] = []

    async def walked(steps: Sequence[tuple[str, int, int, int]]) -> None:
        walk = Walk(crew)
        await walk.begin()
        for step in steps:
            await walk.take(Step(*step))
            taken.append(step[0])

    number = st.integers(0, 60)

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.sampled_from(OFTEN), number, number, number), min_size=25, max_size=60))
    def walk(steps: Sequence[tuple[str, int, int, int]]) -> None:
        asyncio.run_coroutine_threadsafe(walked(steps), loop).result(120)

    await loop.run_in_executor(None, walk)
    assert set(taken) == set(WISHES)
