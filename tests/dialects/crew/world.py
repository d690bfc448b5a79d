"""A crew with a lead and a worker, its missions and tasks in any status, and short ways to drive them over HTTP."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import uuid_utils.compat as uuids

from server.dialects.crew import ids
from server.missions.crew import KIND
from server.missions.crew.steps import Claim, EndTask
from storage.rules import Command
from tests.conftest import Serving
from tests.dialects.control.driving import Answer
from tests.dialects.crew.people import Person

WAYS: Mapping[str, tuple[str, ...]] = {
    "PLANNING": (),
    "IN_PROGRESS": ("IN_PROGRESS",),
    "REVIEW": ("IN_PROGRESS", "REVIEW"),
    "COMPLETED": ("IN_PROGRESS", "REVIEW", "COMPLETED"),
    "FAILED": ("IN_PROGRESS", "FAILED"),
    "CANCELLED": ("CANCELLED",),
}
"""How people bring a new mission into each status, without the engine."""
TASK_WAYS: Mapping[str, tuple[str, ...]] = {
    "PENDING": (),
    "BLOCKED": (),
    "IN_PROGRESS": ("IN_PROGRESS",),
    "COMPLETED": ("IN_PROGRESS", "COMPLETED"),
    "FAILED": ("IN_PROGRESS", "FAILED"),
    "SKIPPED": ("SKIPPED",),
}

UNKNOWN = ids.spell(UUID(int=404))


class Crew(NamedTuple):
    """A crew, its lead and another agent; nobody but people works on their tasks."""

    boss: Person
    shared: Serving
    id: str
    lead: str
    worker: str

    @property
    def missions(self) -> str:
        return f"/api/v1/crews/{self.id}/missions"

    def path(self, mission: Mapping[str, Any], task: Mapping[str, Any] | None = None) -> str:
        base = f"{self.missions}/{mission['id']}"
        return base if task is None else f"{base}/tasks/{task['id']}"

    async def mission(self, status: str = "PLANNING", **fields: Any) -> dict[str, Any]:
        """A new mission in a status, without tasks."""
        made = await self.boss.post(self.missions, {"title": "a boat", "lead_agent_id": self.lead, **fields})
        return await self.moved(made, *WAYS[status])

    async def moved(self, mission: dict[str, Any], *statuses: str) -> dict[str, Any]:
        """The mission after these statuses, one after the other."""
        for status in statuses:
            answer = await self.boss.ask("PATCH", self.path(mission), {"status": status})
            assert answer.status == 200, answer
            mission = answer.json
        return mission

    async def task(self, mission: Mapping[str, Any], status: str = "PENDING", **fields: Any) -> dict[str, Any]:
        """A new task in a status; BLOCKED waits for another new one. The mission must still take tasks."""
        if status == "BLOCKED" and "depends_on" not in fields:
            needed = await self.task(mission, title="needed first")
            fields["depends_on"] = [needed["id"]]
        made = await self.boss.post(self.path(mission) + "/tasks", {"title": "a task", **fields})
        return await self.turned(mission, made, *TASK_WAYS[status])

    async def turned(self, mission: Mapping[str, Any], task: dict[str, Any], *statuses: str) -> dict[str, Any]:
        for status in statuses:
            task = await self.patch(mission, task, status=status)
        return task

    async def patch(self, mission: Mapping[str, Any], task: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        answer = await self.boss.ask("PATCH", self.path(mission, task), fields)
        assert answer.status == 200, answer
        return answer.json  # type: ignore[no-any-return]

    async def get(self, mission: Mapping[str, Any]) -> dict[str, Any]:
        return await self.boss.get(self.path(mission))  # type: ignore[no-any-return]

    async def tasks(self, mission: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The tasks by their ids."""
        return {task["id"]: task for task in (await self.get(mission))["tasks"]}

    async def act(self, mission: Mapping[str, Any], verb: str, body: Any = None, **headers: str) -> Answer:
        return await self.boss.ask("POST", f"{self.path(mission)}/{verb}", body, **headers)

    # the engine's part, command by command

    async def command(self, mission: Mapping[str, Any], command: Command) -> Any:
        outcome = await self.shared.core.writers.execute(self.boss.workspace_id, uuid(mission), KIND, command)
        return outcome.state

    async def worked(self, mission: Mapping[str, Any], task: Mapping[str, Any], **end: Any) -> UUID:
        """An agent's run of a task of a started mission, to its end if `end` says how."""
        run = uuids.uuid7()
        await self.command(mission, Claim(task_id=uuid(task), agent_id=read(self.worker), run_id=run))
        if end:
            await self.command(mission, EndTask(task_id=uuid(task), run_id=run, **{"reason": "end_turn", **end}))
        return run

    async def awaiting(self, mission: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """A task of a started mission that an agent has finished, and that waits for an approval."""
        task = await self.task(mission, approval_required=True, **fields)
        await self.worked(mission, task, outcome="completed", result="done")
        return (await self.tasks(mission))[task["id"]]

    async def started(self, **fields: Any) -> dict[str, Any]:
        mission = await self.mission(**fields)
        assert (await self.act(mission, "start")).status == 200
        return mission


async def a_crew(shared: Serving, boss: Person) -> Crew:
    """A new crew whose agents are people."""
    crew = await boss.crew()
    lead = await boss.agent(crew_id=crew["id"], agent_role="LEAD", name="Lea", cli_adapter="NONE")
    worker = await boss.agent(crew_id=crew["id"], name="Bob", cli_adapter="NONE")
    return Crew(boss, shared, crew["id"], lead["id"], worker["id"])


def read(spelled: str) -> UUID:
    found = ids.read(spelled)
    assert found is not None
    return found


def uuid(thing: Mapping[str, Any]) -> UUID:
    """The id of an answer, as the core knows it."""
    return read(thing["id"])


def refusal(answer: Answer) -> tuple[int, str]:
    """Status and text of a refusal, which must say the same to every sort of client."""
    assert answer.json["error"] == answer.json["detail"] == answer.json["message"], answer
    return answer.status, answer.json["error"]
