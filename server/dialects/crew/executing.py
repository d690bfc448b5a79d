"""How crew's writes execute commands on crew missions, and how a repeated request gets its first answer."""

import functools
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from aiohttp import web

from server.core import core, principal
from server.dialects.crew import ids
from server.dialects.crew.answers import raw
from server.dialects.crew.body import received
from server.dialects.crew.guard import NO_MISSION
from server.keys import key_of
from server.missions.crew import KIND, Mission
from server.routing import Handler
from storage import answers
from storage.crewmissions import Found
from storage.rules import Command, Key, Outcome, Statement
from streams.errors import BadRequest, NotFound
from streams.event import Draft

KEY = web.RequestKey("key", Key)


def once(status: int) -> Callable[[Handler], Handler]:
    """Of a POST: a repeat with the same Idempotency-Key gets the first answer, with this status, before all else.

    KeyReused for the same key with another body.
    """

    def wrap(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def handled(request: web.Request) -> web.StreamResponse:
            if "Idempotency-Key" in request.headers:
                key = key_of(request, f"crew.{request.rel_url.raw_path}", {"body": await _meant(request)})
                assert key is not None
                first = await answers.first(core(request).database, principal(request).workspace_id, key)
                if first is not None:
                    return raw(first, status=status)
                request[KEY] = key
            return await handler(request)

        return handled

    return wrap


async def _meant(request: web.Request) -> bytes | None:
    """What a key stands for beside its path: the body, or None for one that cannot be had, which says nothing.

    Whether that is an error is the handler's to say: a start does not read its body, with a key or without.
    """
    try:
        return (await received(request)).strip()
    except BadRequest:
        return None


async def mission_of(request: web.Request, missing: str = NO_MISSION) -> tuple[UUID, Found]:
    """The mission that the path names, within the crew that it names; NotFound for any other."""
    mission_id = ids.known(request.match_info["missionId"])
    crew_id = ids.known(request.match_info["crewId"]) if "crewId" in request.match_info else None
    found = await core(request).crew_missions.found(principal(request).workspace_id, mission_id, crew_id)
    if found is None:
        raise NotFound(missing)
    return mission_id, found


async def whole(request: web.Request, mission_id: UUID, missing: str = NO_MISSION) -> Mission:
    """One consistent reading of a mission with its tasks; NotFound with the text `missing` for one that is gone."""
    try:
        row = await core(request).missions.whole(principal(request).workspace_id, mission_id)
    except NotFound:
        raise NotFound(missing) from None
    state: Mission = row.state
    return state


async def execute(
    request: web.Request,
    mission_id: UUID,
    command: Command,
    answer: Callable[[Any], Any] = lambda state: None,
    *,
    statements: Sequence[Statement] = (),
    drafts: Sequence[Draft] = (),
    missing: str = NO_MISSION,
) -> Outcome:
    """One command, with the request's key; NotFound with the text `missing` when the mission was deleted just now."""
    try:
        return await core(request).writers.execute(
            principal(request).workspace_id,
            mission_id,
            KIND,
            command,
            answer=answer,
            key=request.get(KEY),
            statements=statements,
            drafts=drafts,
        )
    except NotFound as error:
        is_gone = error.message.startswith(f"Mission {mission_id} ")
        raise NotFound(missing) if is_gone else error from None
