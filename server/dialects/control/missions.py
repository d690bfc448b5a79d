"""Control's writes to missions: make, open, move, rename, resume, cancel, delete."""

from contextlib import suppress
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from server.agents import profiles
from server.agents.budgets import Budget
from server.agents.policy import DEFAULT, covers, policy_of
from server.auth.principal import Principal
from server.body import identity, read
from server.core import Core, core, principal
from server.dialects.control import wire
from server.dialects.control.answers import raw, reply
from server.dialects.control.executing import execute, shown
from server.dialects.control.reading import facts_of, full_mission
from server.keys import key_of
from server.missions.control import KIND, LIFECYCLE, Create
from server.missions.kinds import NO_SPACE
from storage.ids import new_id
from storage.rules import Key, Outcome
from streams.errors import BadRequest, Conflict, Forbidden, MoveRefused, NotFound, Unprocessable
from streams.event import Signal

MAX_TITLE_CHARACTERS = 500
MAX_CHILDREN_OF_AGENTS = 50
_RESUME_TEXT = "You were interrupted. Look at what is done already, then go on without repeating it."


async def create_mission(request: web.Request) -> web.Response:
    """POST /api/control/missions: pending, and from now on the user's current one."""
    body = await read(request, wire.CreateMission, is_optional=True)
    outcome = await create(request, body, key_of(request, "control.create", body))
    return raw(outcome.answer.encode())


async def create(request: web.Request, body: wire.CreateMission, key: Key | None = None) -> Outcome:
    services, who = core(request), principal(request)
    environment = services.environment
    if who.mission_id is not None:
        body = await _as_a_child(services, who, body)
    backend = (body.backend or "").strip() or profiles.default_backend(environment)
    profiles.require_installed(backend, environment)
    if body.parent_mission_id is not None:
        await services.missions.get(who.workspace_id, body.parent_mission_id)
    space_id = body.workspace_id or NO_SPACE
    if space_id != NO_SPACE:
        await services.spaces.directory(who.workspace_id, space_id)
    policy = _word(body.permission_policy)
    mission_id = new_id()
    wish = Create(
        id=mission_id,
        backend=backend,
        space_id=space_id,
        title=_title(body.title) if body.title and body.title.strip() else None,
        agent=_word(body.agent),
        model_override=_word(body.model_override),
        config_profile=body.config_profile,
        permission_policy=policy_of(policy) if policy else profiles.default_policy(backend, environment),
        budget=Budget(**body.budget.named()) if body.budget else Budget(),
        parent_id=body.parent_mission_id,
        by=who.actor,
    )
    outcome = await services.writers.execute(
        who.workspace_id, mission_id, KIND, wish, answer=shown(services, KIND), key=key
    )
    made = UUID(msgspec.json.decode(outcome.answer)["id"])
    if who.mission_id is None:  # what agents make opens nothing on anybody's screen
        await services.missions.set_current(who.workspace_id, who.user_id, made)
    return outcome


async def _as_a_child(services: Core, who: Principal, body: wire.CreateMission) -> wire.CreateMission:
    """What an agent may make: a child of its own mission, in the same space, and with the same agent unless it says."""
    if body.parent_mission_id != who.mission_id:
        raise Forbidden(
            f"An agent may only make children of its own mission: set parent_mission_id to {who.mission_id}."
        )
    assert who.mission_id is not None
    row = await services.missions.get(who.workspace_id, who.mission_id)
    parent = facts_of(services, row)
    if body.workspace_id not in (None, parent.space_id):
        raise Forbidden("A child mission of an agent works in the space of its parent: leave workspace_id out.")
    children, _ = (await services.missions.children_of(who.workspace_id, [row.id])).get(row.id, (0, 0))
    if children >= MAX_CHILDREN_OF_AGENTS:
        raise Conflict(f"This mission has {MAX_CHILDREN_OF_AGENTS} children; an agent may not make more of them.")
    is_same = not (body.backend or "").strip() or body.backend == parent.backend
    allowed = parent.permission_policy or DEFAULT
    policy = _word(body.permission_policy) or allowed
    if not covers(allowed, policy_of(policy)):
        raise Forbidden(f"An agent may not allow its children more than itself: its permission_policy is {allowed}.")
    return msgspec.structs.replace(
        body,
        permission_policy=policy,
        workspace_id=parent.space_id,
        backend=parent.backend if is_same else body.backend,
        model_override=body.model_override or (parent.model_override if is_same else None),
    )


async def load_mission(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/load: makes it the user's current mission; nothing else changes."""
    services, who = core(request), principal(request)
    row = await services.missions.get(who.workspace_id, identity(request))
    await services.missions.set_current(who.workspace_id, who.user_id, row.id)
    return reply(await full_mission(services, row))


async def cancel_current(request: web.Request) -> web.Response:
    """POST /api/control/cancel: stops the turn of the current mission, if there is one."""
    services, who = core(request), principal(request)
    mission_id = await services.missions.current(who.workspace_id, who.user_id)
    running = [row.id for row in await services.missions.busy(who.workspace_id) if row.run_id is not None]
    if mission_id in running or len(running) == 1:
        with suppress(NotFound):  # it may have ended just now
            await execute(request, mission_id if mission_id in running else running[0], "cancel")
        return reply({"ok": True})
    services.hub.signal(
        Signal(
            workspace_id=who.workspace_id,
            stream_id=who.workspace_id,
            type="error",
            after=0,
            body={"message": "No running task to cancel"},
        )
    )
    return reply({"ok": True})


async def cancel_mission(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/cancel: stops its turn and drops its queue; 404 if it is not executing."""
    mission_id = identity(request)
    await execute(request, mission_id, "cancel", whole_mission=True)
    return reply({"ok": True, "cancelled": str(mission_id)})


async def set_status(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/status: any status; a running turn goes on."""
    body = await read(request, wire.SetStatus)
    if body.status not in LIFECYCLE.phases:
        raise Unprocessable(f"unknown status {body.status[:40]!r}; one of {', '.join(LIFECYCLE.phases)}")
    await execute(request, identity(request), "set_status", status=body.status)
    return reply({"ok": True})


async def set_title(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/title"""
    body = await read(request, wire.SetTitle)
    await execute(request, identity(request), "rename", title=_title(body.title))
    return reply({"ok": True})


def _word(text: str | None) -> str | None:
    return (text or "").strip() or None


async def configure_mission(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/settings: what its agent may do from now on, also in a turn that goes on."""
    services = core(request)
    body = await read(request, wire.MissionSettings)
    changes: dict[str, Any] = {}
    if body.agent is not msgspec.UNSET:
        changes["agent"] = _word(body.agent)
    if body.permission_policy is not msgspec.UNSET:
        changes["permission_policy"] = policy_of(body.permission_policy)
    if body.budget is not msgspec.UNSET:
        changes["budget"] = body.budget and body.budget.named()
    if not changes:
        raise Unprocessable("name at least one of agent, permission_policy and budget")
    outcome = await execute(request, identity(request), "configure", answer=shown(services, KIND), **changes)
    return raw(outcome.answer.encode())


def _title(text: str) -> str:
    title = text.strip()
    if not 0 < len(title) <= MAX_TITLE_CHARACTERS:
        raise BadRequest(f"a title has 1 to {MAX_TITLE_CHARACTERS} characters")
    return title


async def resume_mission(request: web.Request) -> web.Response:
    """POST /api/control/missions/:id/resume: 400 for a mission that cannot be resumed, also for an unknown one."""
    services, who = core(request), principal(request)
    body = await read(request, wire.ResumeMission, is_optional=True)
    mission_id = identity(request)
    try:
        with services.runs.slot() as has_slot:
            outcome = await execute(
                request,
                mission_id,
                "resume",
                answer=shown(services, KIND),
                key=key_of(request, "control.resume", {"mission": str(mission_id)}),
                run_id=new_id(),
                message_id=str(new_id()),
                has_slot=has_slot,
                content=None if body.skip_message else _RESUME_TEXT,
            )
    except (NotFound, MoveRefused) as error:
        raise BadRequest(error.message) from error
    await services.missions.set_current(who.workspace_id, who.user_id, mission_id)
    return raw(outcome.answer.encode())


async def delete_mission(request: web.Request) -> web.Response:
    """DELETE /api/control/missions/:id: 409 while it runs."""
    mission_id = identity(request)
    await execute(request, mission_id, "delete")
    return reply({"ok": True, "deleted": str(mission_id)})


async def cleanup(request: web.Request) -> web.Response:
    """POST /api/control/missions/cleanup: deletes untitled missions that were never used."""
    services = core(request)
    unused = await services.missions.unused(principal(request).workspace_id)
    for mission_id in unused:
        await execute(request, mission_id, "delete")
    return reply({"ok": True, "deleted_count": len(unused)})
