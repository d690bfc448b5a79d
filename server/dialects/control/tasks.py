"""Control's progress and tasks of a mission: what its agent, or another program, says of the work's parts."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

import msgspec
from aiohttp import web

from server.body import identity, read
from server.core import Core, core, principal
from server.dialects.control.answers import raw, reply
from server.dialects.control.executing import execute
from server.dialects.control.reading import facts_of
from server.keys import key_of
from server.missions.control.tasks import task_of
from server.missions.tasks import TASK_LIFECYCLE, Progress, Task
from storage import agents
from storage.ids import new_id
from storage.missions import MissionRow
from streams.errors import BadRequest, Unprocessable
from streams.event import timestamp

MAX_TITLE_CHARACTERS = 200
Count = Annotated[int, msgspec.Meta(ge=0, le=10_000)]
Depth = Annotated[int, msgspec.Meta(ge=0, le=100)]
Line = Annotated[str, msgspec.Meta(max_length=MAX_TITLE_CHARACTERS)]
Description = Annotated[str, msgspec.Meta(max_length=4_000)]


class ReportProgress(msgspec.Struct):
    total_subtasks: Count
    completed_subtasks: Count
    current_subtask: Line | None = None
    depth: Depth = 0


class CreateTask(msgspec.Struct):
    title: Line
    description: Description | None = None
    depends_on: Annotated[list[Line], msgspec.Meta(max_length=200)] = []
    """Of a mission that a crew works: the ids or titles of tasks that must be completed before."""
    assigned_agent: Line | None = None
    """Of such a mission: the slug of an agent of the crew."""


class UpdateTask(msgspec.Struct):
    title: Line | None = None
    description: Description | None = None
    status: str | None = None


async def report_progress(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/progress"""
    body = await read(request, ReportProgress)
    if body.completed_subtasks > body.total_subtasks:
        raise Unprocessable("completed_subtasks cannot be more than total_subtasks")
    current = (body.current_subtask or "").strip() or None
    progress = Progress(body.total_subtasks, body.completed_subtasks, current, body.depth)
    return await _do(request, "report_progress", body, lambda state: progress, progress=progress)


async def list_tasks(request: web.Request) -> web.Response:
    """GET /api/control/missions/:id/tasks: oldest first."""
    services = core(request)
    row = await services.missions.whole(principal(request).workspace_id, identity(request))
    return reply([task_body(task) for task in facts_of(services, row).tasks])


async def create_task(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/tasks: a pending one; 409 when there are too many."""
    services, who = core(request), principal(request)
    body, task_id = await read(request, CreateTask), str(new_id())
    row = await services.missions.get(who.workspace_id, identity(request))
    facts = services.kinds[row.kind].facts
    return await _do(
        request,
        "create_task",
        body,
        lambda state: task_body(next(task for task in facts(state).tasks if task.id == task_id)),
        task_id=task_id,
        title=_title(body.title),
        description=(body.description or "").strip(),
        depends_on=tuple(body.depends_on),
        agent_id=await _agent_named(services, row, body.assigned_agent),
        run_id=None if who.mission_id is None else who.user_id,
    )


async def _agent_named(services: Core, row: MissionRow, slug: str | None) -> UUID | None:
    """The agent of the mission's crew; BadRequest, naming those that there are, for any other."""
    if not slug:
        return None
    crew = (
        [] if row.crew_id is None else await agents.listed(services.database, row.workspace_id, row.crew_id, limit=500)
    )
    found = next((agent.id for agent in crew if agent.slug == slug.removeprefix("@")), None)
    if found is None:
        known = ", ".join(agent.slug for agent in crew) or "nobody"
        raise BadRequest(f"assigned_agent is not in the mission's crew; it has: {known}")
    return found


async def update_task(request: web.Request) -> web.Response:
    """PATCH /api/control/missions/:id/tasks/:task_id: what is given replaces; 404 for a task that is not there."""
    body, task_id = await read(request, UpdateTask), str(identity(request, "task_id"))
    if body.status is not None and body.status not in TASK_LIFECYCLE.phases:
        raise Unprocessable(f"unknown status {body.status[:40]!r}; one of {', '.join(TASK_LIFECYCLE.phases)}")
    return await _do(
        request,
        "update_task",
        [task_id, body],
        lambda state: task_body(task_of(state, task_id)),
        task_id=task_id,
        title=None if body.title is None else _title(body.title),
        description=None if body.description is None else body.description.strip(),
        status=body.status,
    )


async def _do(request: web.Request, verb: str, meant: Any, answer: Callable[[Any], Any], **fields: Any) -> web.Response:
    """Execute a command; a repeated key gets the first answer."""
    mission_id = identity(request)
    key = key_of(request, f"control.{verb}:{mission_id}", meant)
    outcome = await execute(request, mission_id, verb, answer=answer, key=key, **fields)
    return raw(outcome.answer.encode())


def _title(text: str) -> str:
    title = text.strip()
    if not title:
        raise BadRequest(f"a task's title has 1 to {MAX_TITLE_CHARACTERS} characters")
    return title


def task_body(task: Task) -> dict[str, Any]:
    """The Task object."""
    return {
        "id": task.id,
        "title": task.title,
        "description": task.description,
        "status": task.status,
        "created_at": timestamp(task.created_at),
        "updated_at": timestamp(task.updated_at),
    }
