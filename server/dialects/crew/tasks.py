"""The tasks of crew missions: create, patch, approve."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from aiohttp import web
from msgspec import UNSET, UnsetType

from server.core import core, principal
from server.dialects.crew import ids, wire
from server.dialects.crew.answers import raw, reply
from server.dialects.crew.body import read
from server.dialects.crew.executing import execute, mission_of, new_id, once
from server.missions.crew import Mission
from server.missions.crew.commands import CreateTask, Decide, UpdateTask
from server.missions.crew.tasks import check_takes_tasks
from storage import crewmissions
from storage.rules import Statement
from streams.errors import BadRequest

NO_TASK = "Task not found"
NO_AGENT = "assigned agent not found"


@once(201)
async def create_task(request: web.Request) -> web.Response:
    """POST …/tasks: PENDING, or BLOCKED while a dependency is not COMPLETED."""
    mission_id, found = await mission_of(request)
    check_takes_tasks(found.status)
    body, who = await read(request, wire.CreateTask), principal(request)
    agent_id, statements = _assigned(who.workspace_id, body.assigned_agent_id)
    agent = await core(request).crew_missions.called(who.workspace_id, agent_id)
    wish = CreateTask(
        id=new_id(),
        title=body.title,
        description=body.description,
        agent_id=agent_id,
        order=body.task_order,
        depends_on=wire.references(body.depends_on),
        max_iterations=body.max_iterations,
        approval_required=body.approval_required,
        by=who.actor,
    )

    def answer(state: Mission) -> Any:
        return wire.task(mission_id, state.tasks[wish.id], agent)

    return raw((await execute(request, mission_id, wish, answer, statements=statements)).answer, status=201)


async def update_task(request: web.Request) -> web.Response:
    """PATCH …/tasks/{taskId}: fields, and the status where the table has the edge; in any status of the mission."""
    body, who = await read(request, wire.EditTask), principal(request)
    mission_id, _ = await mission_of(request, NO_TASK)
    named = None if isinstance(body.assigned_agent_id, UnsetType) else body.assigned_agent_id
    agent_id, statements = _assigned(who.workspace_id, named)
    wish = UpdateTask(
        id=_id(request),
        title=body.title,
        description=body.description,
        agent_id=UNSET if agent_id is None else agent_id,
        status=body.status,
        depends_on=UNSET if isinstance(body.depends_on, UnsetType) else wire.references_in(body.depends_on),
        result_summary=body.result_summary,
        error_message=body.error_message,
        output_path=body.output_path,
        token_count=body.token_count,
        estimated_cost=body.estimated_cost,
        by=who.actor,
    )
    outcome = await execute(request, mission_id, wish, statements=statements, missing=NO_TASK)
    return await _shown(request, outcome.state, wish.id)


@once(200)
async def approve_task(request: web.Request) -> web.Response:
    """POST …/tasks/{taskId}/approve: a person's answer to a task that is AWAITING_APPROVAL."""
    body, who = await read(request, wire.Approve), principal(request)
    mission_id, _ = await mission_of(request, NO_TASK)
    task_id = _id(request)
    agent = await core(request).crew_missions.agent_of(who.workspace_id, mission_id, task_id)
    wish = Decide(task_id=task_id, approved=body.approved, user=ids.spell(who.user_id), notes=body.notes, by=who.actor)

    def answer(decided: Mission) -> Any:
        return wire.task(mission_id, decided.tasks[task_id], agent)

    return raw((await execute(request, mission_id, wish, answer, missing=NO_TASK)).answer)


def _id(request: web.Request) -> UUID:
    return ids.known(request.match_info["taskId"])


def _assigned(workspace_id: UUID, named: str | None) -> tuple[UUID | None, Sequence[Statement]]:
    """The agent that a request names, and the question whether it is there, asked where the task is stored."""
    if named is None:
        return None, ()
    agent_id = ids.known(named)
    return agent_id, (crewmissions.agent_of_workspace(workspace_id, agent_id, BadRequest(NO_AGENT)),)


async def _shown(request: web.Request, state: Mission, task_id: UUID) -> web.Response:
    task = state.tasks[task_id]
    agent = await core(request).crew_missions.called(principal(request).workspace_id, task.agent_id)
    return reply(wire.task(state.id, task, agent))
