"""What drives a crew mission: start, restart, resume, clone. None of these reads a body that it needs."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from server.core import principal
from server.dialects.crew import ids, wire
from server.dialects.crew.answers import raw
from server.dialects.crew.body import received
from server.dialects.crew.executing import execute, mission_of, once, whole
from server.dialects.crew.missions import leads
from server.missions.crew import Mission
from server.missions.crew.commands import Restart, Resume, Start
from server.missions.crew.copies import clone
from storage import crews
from storage.crewmissions import Found
from storage.ids import new_id
from storage.rules import Command
from streams.errors import BadRequest
from streams.event import clean_text


@once(200)
async def start_mission(request: web.Request) -> web.Response:
    """POST …/start: PLANNING -> IN_PROGRESS, engaged. The engine hears of it as of any event."""
    mission_id, found = await mission_of(request)
    return await _move(request, mission_id, found, Start(seen=found.status, by=principal(request).actor), _moved)


@once(200)
async def restart_mission(request: web.Request) -> web.Response:
    """POST …/restart: a terminal status -> PLANNING; what is not COMPLETED is set back."""
    mission_id, found = await mission_of(request)
    return await _move(request, mission_id, found, Restart(by=principal(request).actor), _moved)


@once(200)
async def resume_mission(request: web.Request) -> web.Response:
    """POST …/resume: FAILED -> IN_PROGRESS, engaged; what failed, and what waits for it, is set back."""
    mission_id, found = await mission_of(request)
    return await _move(request, mission_id, found, Resume(by=principal(request).actor), _resumed)


@once(201)
async def clone_mission(request: web.Request) -> web.Response:
    """POST …/clone: a copy with all its tasks, PLANNING. Its title is the body's, else the old one and " (copy)"."""
    mission_id, _ = await mission_of(request)
    who = principal(request)
    source = await whole(request, mission_id)
    wish = clone(source, new_id(), new_id, title=await _title(request), by=who.actor)
    outcome = await execute(request, wish.id, wish, _moved, statements=leads(who.workspace_id, wish))
    return raw(outcome.answer, status=201)


async def _move(
    request: web.Request, mission_id: UUID, found: Found, wish: Command, answer: Callable[[Mission], Any]
) -> web.Response:
    """The command, while the mission's crew is there: nobody else would work on it."""
    is_there = crews.present(principal(request).workspace_id, found.crew_id)
    return raw((await execute(request, mission_id, wish, answer, statements=(is_there,))).answer)


def _moved(state: Mission) -> Any:
    return wire.Moved(ids.spell(state.id), state.status)


def _resumed(state: Mission) -> Any:
    return wire.Moved(ids.spell(state.id), state.status, state.reset_tasks)


class _Titled(msgspec.Struct):
    title: str = ""


async def _title(request: web.Request) -> str | None:
    """The title in the body; a body that is no such object counts as none."""
    try:
        return clean_text(msgspec.json.decode(await received(request), type=_Titled).title) or None
    except (BadRequest, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
