"""Crew's missions: the lists, create, get, patch and delete."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from uuid import UUID

from aiohttp import web

from server.body import word
from server.core import core, principal
from server.crews import forms
from server.dialects.crew import ids, wire
from server.dialects.crew.answers import no_content, raw, reply, reply_list
from server.dialects.crew.body import read
from server.dialects.crew.executing import execute, mission_of, once
from server.dialects.crew.guard import NO_MISSION
from server.dialects.crew.paging import page_of
from server.missions.crew import Mission
from server.missions.crew.commands import Create, Delete, Edit
from storage import checkpoints, crewmissions
from storage.crewmissions import ShownMission
from storage.ids import new_id
from storage.rules import Statement
from streams.errors import BadRequest, NotFound

NO_LEAD, NO_LEADER = "lead agent not found in crew", "agent must have LEAD role"
_DEFAULT, _MOST = 20, 100
_PIECE_BYTES = 4 << 20
_TASK_BYTES = 2_000
"""What a task's answer takes beside its texts, roughly."""


async def list_missions(request: web.Request) -> web.StreamResponse:
    """GET /api/v1/missions: of the whole workspace, newest first; with their tasks if `include_tasks=true`."""
    shown = await _page(request)
    if request.query.get("include_tasks") == "true":
        return await reply_list(request, _with_tasks(request, shown))
    return _listed(request, shown)


async def list_crew_missions(request: web.Request) -> web.Response:
    """GET /api/v1/crews/{crewId}/missions: newest first; none of an unknown crew."""
    return _listed(request, await _page(request, ids.known(request.match_info["crewId"])))


async def _page(request: web.Request, crew_id: UUID | None = None) -> Sequence[ShownMission]:
    limit, offset = page_of(request, default=_DEFAULT, most=_MOST)
    status = word(request, "status") or None
    return await core(request).crew_missions.listed(
        principal(request).workspace_id, crew_id=crew_id, status=status, limit=limit, offset=offset
    )


def _listed(request: web.Request, shown: Sequence[ShownMission]) -> web.Response:
    return reply([wire.listed(principal(request).workspace_id, mission) for mission in shown])


async def _with_tasks(request: web.Request, shown: Sequence[ShownMission]) -> AsyncIterator[Sequence[wire.Mission]]:
    workspace_id = principal(request).workspace_id
    for piece in _pieces(shown):
        tasks = await core(request).crew_missions.tasks(workspace_id, [mission.mission.id for mission in piece])
        yield [wire.listed(workspace_id, mission, tasks.get(mission.mission.id, ())) for mission in piece]


def _pieces(shown: Sequence[ShownMission]) -> Iterator[Sequence[ShownMission]]:
    """All missions at once, unless their tasks are so large that memory would feel it."""
    piece: list[ShownMission] = []
    size = 0
    for one in shown:
        more = one.mission.size + _TASK_BYTES * one.mission.total
        if piece and size + more > _PIECE_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(one)
        size += more
    yield piece


@once(201)
async def create_mission(request: web.Request) -> web.Response:
    """POST /api/v1/crews/{crewId}/missions: PLANNING."""
    body, who = await read(request, wire.CreateMission), principal(request)
    wish = _new(body, ids.known(request.match_info["crewId"]), by=who.actor)

    def answer(state: Mission) -> Any:
        return wire.mission(who.workspace_id, state)

    outcome = await execute(request, wish.id, wish, answer, statements=leads(who.workspace_id, wish))
    return raw(outcome.answer, status=201)


def _new(body: wire.CreateMission, crew_id: UUID, *, by: str) -> Create:
    if not body.title:
        raise BadRequest("title is required")
    if not body.lead_agent_id:
        raise BadRequest("lead_agent_id is required")
    return Create(
        id=new_id(),
        crew_id=crew_id,
        lead_agent_id=ids.known(body.lead_agent_id),
        title=body.title,
        description=body.description,
        workflow_template=body.workflow_template,
        by=by,
    )


def leads(workspace_id: UUID, wish: Create) -> Sequence[Statement]:
    """That the LEAD is there, in the crew, and in that role: asked in the transaction that makes a mission or a copy."""
    return (
        crewmissions.agent_of_crew(workspace_id, wish.crew_id, wish.lead_agent_id, BadRequest(NO_LEAD)),
        crewmissions.agent_in_role(workspace_id, wish.lead_agent_id, forms.LEAD, BadRequest(NO_LEADER)),
    )


async def get_mission(request: web.Request) -> web.Response:
    """GET /api/v1/crews/{crewId}/missions/{missionId}: with its tasks, by one consistent reading."""
    workspace_id, names = principal(request).workspace_id, request.match_info
    found = await core(request).crew_missions.get(
        workspace_id, ids.known(names["missionId"]), ids.known(names["crewId"])
    )
    if found is None:
        raise NotFound(NO_MISSION)
    return reply(wire.listed(workspace_id, *found))


async def update_mission(request: web.Request) -> web.Response:
    """PATCH /api/v1/crews/{crewId}/missions/{missionId}: fields, and the status where the table has the edge."""
    mission_id, _ = await mission_of(request)
    body, who = await read(request, wire.EditMission), principal(request)
    wish = Edit(title=body.title, description=body.description, plan=body.plan, status=body.status, by=who.actor)
    state = (await execute(request, mission_id, wish)).state
    lead = await core(request).crew_missions.called(who.workspace_id, state.lead_agent_id)
    return reply(wire.mission(who.workspace_id, state, lead))


async def delete_mission(request: web.Request) -> web.Response:
    """DELETE /api/v1/crews/{crewId}/missions/{missionId}: while PLANNING or CANCELLED, with its checkpoints."""
    mission_id, _ = await mission_of(request)
    who = principal(request)
    await execute(
        request,
        mission_id,
        Delete(by=who.actor),
        statements=(checkpoints.removed_of_mission(who.workspace_id, mission_id),),
    )
    return no_content()
