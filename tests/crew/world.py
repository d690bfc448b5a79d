"""A workspace's crews and missions for tests: made by the writer, followed in the log."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import uuid_utils.compat as uuids
from aiohttp import ClientSession

from server.missions.crew import KIND, Mission, Task
from server.missions.crew.commands import Create, CreateTask, Reference, Start, UpdateTask
from server.missions.crew.steps import Settle
from server.missions.kinds import NO_SPACE
from storage import agents, crews
from storage.agents import AgentRow
from storage.crews import CrewRow
from storage.rules import Command, Outcome, Statement
from streams.event import Draft, Event
from tests.conftest import Serving
from tests.system.node import marked_processes

ROOT = Path(__file__).resolve().parents[2]
QUICK_AGENT = f"{sys.executable} -P {ROOT}/tests/crew/quick_agent.py"
TYPES = (
    "mission_created", "mission_status_changed", "mission_edited", "task_created", "task_updated",
    "task_status_changed", "tasks_reset", "run_started", "run_ended", "task_waiting", "mission_waiting", "review_recorded",
    "confidence_low", "assistant_message", "error", "agent_event", "tool_call", "tool_result",
)  # fmt: skip


class World:
    """One crew with its LEAD and agents, in the owner's workspace of a server."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.workspace_id = serving.workspace_id
        self.crew_id: UUID = uuids.uuid7()
        self.agents: dict[str, AgentRow] = {}

    async def change(self, statement: Statement, type: str, **data: Any) -> None:
        """Rows of the roster, with the event that tells of them."""
        draft = Draft(type=type, metadata={name: str(value) for name, value in data.items()})
        await self.serving.core.writers.change(self.workspace_id, [statement], [draft])

    async def crew(self, **settings: Any) -> None:
        now = datetime.now(UTC)
        row = CrewRow(
            **{
                "id": self.crew_id, "workspace_id": self.workspace_id, "name": "Crew", "slug": f"crew-{self.crew_id}",
                "max_parallel_tasks": 3, "mission_timeout_seconds": 7_200, "auto_accept_review": False,
                "space_id": NO_SPACE, "created_at": now, "updated_at": now, **settings,
            }
        )  # fmt: skip
        await self.change(crews.created(row), "crew.created", id=row.id)

    async def agent(self, name: str, adapter: str = "DEMO", *, is_lead: bool = False, **fields: Any) -> UUID:
        now = datetime.now(UTC)
        row = AgentRow(
            **{
                "id": uuids.uuid7(), "workspace_id": self.workspace_id, "crew_id": self.crew_id, "name": name,
                "slug": name.lower(), "agent_role": "LEAD" if is_lead else "AGENT",
                "lead_mode": "active" if is_lead else None, "cli_adapter": adapter, "tool_profile": "CODING",
                "timeout_seconds": 1_800, "memory_enabled": False, "created_at": now, "updated_at": now, **fields,
            }
        )  # fmt: skip
        await self.change(agents.created(row), "agent.created", id=row.id)
        self.agents[name] = row
        return row.id

    async def turn(self, name: str, **fields: Any) -> None:
        """Change an agent."""
        before = self.agents[name]
        after = msgspec.structs.replace(before, **fields, updated_at=datetime.now(UTC))
        await self.change(agents.updated(after, before.updated_at), "agent.updated", id=before.id)
        self.agents[name] = after

    async def adjust(self, **settings: Any) -> None:
        """Change the crew."""
        before = await crews.one(self.serving.core.database, self.workspace_id, self.crew_id)
        after = msgspec.structs.replace(before, **settings, updated_at=datetime.now(UTC))
        await self.change(crews.updated(after, before.updated_at), "crew.updated", id=self.crew_id)

    def http(self) -> ClientSession:
        """The owner's session."""
        return ClientSession(self.serving.url, headers=self.serving.headers)

    async def start(self, mission_id: UUID) -> Outcome:
        return await self.execute(mission_id, Start())

    def processes(self) -> list[int]:
        """The living processes of this server's agents."""
        homes = str(self.serving.core.settings.data_dir)
        marked = marked_processes("MISSIONSTREAM_RUN_ID=")
        return [process.pid for process in marked if process.environment.get("HOME", "").startswith(homes)]

    async def until_working(self, count: int) -> None:
        """Wait until so many agents have got their task, and are at it."""
        async with asyncio.timeout(30):
            while sum(bool(turn.session.id) for turn in self.serving.core.runs.turns.values()) < count:
                await asyncio.sleep(0.02)

    async def execute(self, mission_id: UUID, command: Command) -> Outcome:
        return await self.serving.core.writers.execute(self.workspace_id, mission_id, KIND, command)

    async def mission(
        self, description: str | None = None, *tasks: CreateTask, title: str = "Sail", lead: str = "Lead"
    ) -> UUID:
        mission_id: UUID = uuids.uuid7()
        made = Create(
            id=mission_id,
            crew_id=self.crew_id,
            lead_agent_id=self.agents[lead].id,
            title=title,
            description=description,
        )
        await self.execute(mission_id, made)
        for task in tasks:
            await self.execute(mission_id, task)
        return mission_id

    async def started(self, description: str | None = None, *tasks: CreateTask, **fields: Any) -> UUID:
        mission_id = await self.mission(description, *tasks, **fields)
        await self.execute(mission_id, Start())
        return mission_id

    async def patch(self, mission_id: UUID, title: str, **fields: Any) -> Outcome:
        """Change a task, as people do."""
        return await self.execute(mission_id, UpdateTask(id=(await self.task(mission_id, title)).id, **fields))

    async def events(self, mission_id: UUID, *types: str) -> list[Event]:
        found = await self.serving.core.log.newest(
            self.workspace_id, mission_id, types or TYPES, limit=5_000, max_bytes=1 << 26
        )
        return sorted(found, key=lambda event: event.sequence)

    async def state(self, mission_id: UUID) -> Mission:
        """The mission as its events fold it, which changes nothing."""
        rules: Any = self.serving.core.kinds[KIND]
        state = None
        for event in await self.events(mission_id):
            if event.type in rules.state_events:
                state = rules.evolve(state, event)
        assert state is not None
        return state  # type: ignore[no-any-return]

    async def task(self, mission_id: UUID, title: str) -> Task:
        state = await self.state(mission_id)
        return next(task for task in state.tasks.values() if task.title == title)

    async def statuses(self, mission_id: UUID) -> dict[str, str]:
        return {task.title: task.status for task in (await self.state(mission_id)).tasks.values()}

    async def until(self, mission_id: UUID, is_true: Callable[[Mission], Any], seconds: float = 60) -> Mission:
        """Wait for the mission to be as wanted."""
        async with asyncio.timeout(seconds):
            while True:
                state = await self.state(mission_id)
                if is_true(state):
                    return state
                await asyncio.sleep(0.02)

    async def until_event(self, mission_id: UUID, type: str, **fields: str) -> None:
        """Wait for an event of this type with these fields."""
        await self.until_true(
            lambda: self.events(mission_id, type),
            lambda found: any(all(getattr(event, n) == v for n, v in fields.items()) for event in found),
        )

    async def until_true(
        self, ask: Callable[[], Awaitable[Any]], is_true: Callable[[Any], object], seconds: float = 30
    ) -> None:
        """Ask until the answer is as wanted."""
        async with asyncio.timeout(seconds):
            while not is_true(await ask()):
                await asyncio.sleep(0.02)

    async def until_status(self, mission_id: UUID, *statuses: str, seconds: float = 60) -> Mission:
        return await self.until(mission_id, lambda state: state.status in statuses, seconds)

    async def rested(self, mission_id: UUID) -> None:
        """Wait until the engine has looked at the mission, and does nothing more for now."""
        name = f"crew mission {mission_id}"
        async with asyncio.timeout(20):
            while any(task.get_name() == name for task in asyncio.all_tasks()):
                await asyncio.sleep(0.02)

    async def settled(self) -> None:
        """Wait until no turn runs and the engine rests."""
        core = self.serving.core
        async with asyncio.timeout(20):
            while core.runs.turns:
                await asyncio.sleep(0.02)


def a_task(title: str, *needs: CreateTask, description: str | None = None, **fields: Any) -> CreateTask:
    """A task that waits for others."""
    return CreateTask(
        id=uuids.uuid7(),
        title=title,
        description=description,
        depends_on=tuple(Reference(str(needed.id), needed.id) for needed in needs),
        **fields,
    )


def moves(events: Sequence[Event], task_id: UUID) -> list[tuple[str, str]]:
    """The statuses of a task, each with its cause."""
    found: list[tuple[str, str]] = []
    for event in events:
        data: Mapping[str, Any] = event.data()
        if event.type == "task_status_changed" and data["task_id"] == str(task_id):
            found.append((data["status"], data["cause"]))
    return found


__all__ = ["QUICK_AGENT", "Settle", "World", "a_task", "moves"]
