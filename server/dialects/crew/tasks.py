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
from server.dialects.crew.executing import execute, mission_of, once
from server.missions.crew import Mission
from server.missions.crew.commands import CreateTask, Decide, UpdateTask
from server.missions.crew.tasks import check_takes_tasks
from storage import crewmissions
from storage.ids import new_id
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
    wish = _new(body, by=who.actor)
    agent = await core(request).crew_missions.called(who.workspace_id, wish.agent_id)

    def answer(state: Mission) -> Any:
        return wire.task(mission_id, state.tasks[wish.id], agent)

    outcome = await execute(request, mission_id, wish, answer, statements=_assigned(who.workspace_id, wish.agent_id))
    return raw(outcome.answer, status=201)


async def update_task(request: web.Request) -> web.Response:
    """PATCH …/tasks/{taskId}: fields, and the status where the table has the edge; in any status of the mission."""
    body, who = await read(request, wire.EditTask), principal(request)
    mission_id, _ = await mission_of(request, NO_TASK)
    wish = _change(body, _id(request), by=who.actor)
    statements = _assigned(who.workspace_id, wish.agent_id)
    state = (await execute(request, mission_id, wish, statements=statements, missing=NO_TASK)).state
    task = state.tasks[wish.id]
    agent = await core(request).crew_missions.called(who.workspace_id, task.agent_id)
    return reply(wire.task(mission_id, task, agent))


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


def _new(body: wire.CreateTask, *, by: str) -> CreateTask:
    return CreateTask(
        id=new_id(),
        title=body.title,
        description=body.description,
        agent_id=None if body.assigned_agent_id is None else ids.known(body.assigned_agent_id),
        order=body.task_order,
        depends_on=wire.references(body.depends_on),
        max_iterations=body.max_iterations,
        approval_required=body.approval_required,
        by=by,
    )


def _change(body: wire.EditTask, task_id: UUID, *, by: str) -> UpdateTask:
    return UpdateTask(
        id=task_id,
        title=body.title,
        description=body.description,
        agent_id=UNSET if isinstance(body.assigned_agent_id, UnsetType) else ids.known(body.assigned_agent_id),
        status=body.status,
        depends_on=UNSET if isinstance(body.depends_on, UnsetType) else wire.references_in(body.depends_on),
        result_summary=body.result_summary,
        error_message=body.error_message,
        output_path=body.output_path,
        token_count=body.token_count,
        estimated_cost=body.estimated_cost,
        by=by,
    )


def _assigned(workspace_id: UUID, agent_id: UUID | UnsetType | None) -> Sequence[Statement]:
    """The question whether an agent that is named is there, asked where the task is stored."""
    if not isinstance(agent_id, UUID):
        return ()
    return (crewmissions.agent_of_workspace(workspace_id, agent_id, BadRequest(NO_AGENT)),)
