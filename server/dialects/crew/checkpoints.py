"""Checkpoints of crew missions: list, create, get, restore, fork, delete."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aiohttp import web

from server.core import core, principal
from server.dialects.crew import ids, wire
from server.dialects.crew.answers import no_content, raw, reply
from server.dialects.crew.body import read
from server.dialects.crew.executing import KEY, execute, mission_of, once, whole
from server.dialects.crew.journal import FACETS
from server.dialects.crew.missions import leads
from server.dialects.crew.paging import within
from server.missions.crew import Mission
from server.missions.crew.commands import Create
from server.missions.crew.copies import fork, unfinished
from storage import checkpoints
from storage.checkpoints import Checkpoint
from storage.ids import new_id
from storage.rules import Outcome, Statement
from streams.errors import BadRequest, Conflict, MissionstreamError, NotFound
from streams.event import Draft

NO_MISSION = "mission not found"
NO_CHECKPOINT = "checkpoint not found"
NO_ENTRIES = "mission has no journal entries to anchor a checkpoint"
INVALID = "invalid JSON body"
DEFAULT, MOST = 50, 200
MOST_LABEL_CHARACTERS = 1_000


async def list_checkpoints(request: web.Request) -> web.Response:
    """GET /api/v1/missions/{missionId}/checkpoints: newest first."""
    mission_id, found = await mission_of(request, NO_MISSION)
    most = within(request.query.get("limit", ""), MOST) or DEFAULT
    rows = await checkpoints.listed(core(request).database, principal(request).workspace_id, mission_id, most)
    shown = [wire.checkpoint(row, found.crew_id) for row in rows]
    return reply({"mission_id": ids.spell(mission_id), "count": len(shown), "checkpoints": shown})


@once(201)
async def create_checkpoint(request: web.Request) -> web.Response:
    """POST /api/v1/missions/{missionId}/checkpoints: a bookmark at the mission's newest journal entry."""
    mission_id, found = await mission_of(request, NO_MISSION)
    made = await _captured(request, mission_id, await _label(request))
    outcome = await _changed(
        request,
        made.mission_id,
        checkpoints.created(made, NotFound(NO_CHECKPOINT)),
        _draft(request, "checkpoint_created", made, mission_id=str(mission_id)),
        wire.checkpoint(made, found.crew_id),
    )
    return raw(outcome.answer, status=201)


async def get_checkpoint(request: web.Request) -> web.Response:
    """GET /api/v1/checkpoints/{checkpointId}"""
    found, crew_id = await _found(request)
    return reply(wire.checkpoint(found, crew_id))


@once(200)
async def restore_checkpoint(request: web.Request) -> web.Response:
    """POST …/restore: changes nothing of the mission; tells which entries are newer than the checkpoint, oldest first."""
    found, crew_id = await _found(request)
    newer = await core(request).journal.since(found.workspace_id, found.mission_id, found.position, FACETS)
    if newer is None:
        raise MissionstreamError("restore failed")
    shown, newer_ids = wire.checkpoint(found, crew_id), [ids.spell_entry(position) for position in newer]
    answer = {"checkpoint": shown, "journal_cursor": shown.journal_cursor, "warn_divergence": newer_ids}
    is_there = checkpoints.present(found.workspace_id, found.id, NotFound(NO_CHECKPOINT))
    draft = _draft(request, "checkpoint_restored", found, mission_id=str(found.mission_id), divergence_count=len(newer))
    return raw((await _changed(request, found.mission_id, is_there, draft, answer)).answer)


@once(201)
async def fork_checkpoint(request: web.Request) -> web.Response:
    """POST …/fork: a new mission with the tasks as they are now, and a checkpoint of it; together or not at all."""
    source, _ = await _found(request)
    label, who = await _label(request), principal(request)
    state = await whole(request, source.mission_id, NO_CHECKPOINT)
    wish = fork(state, new_id(), new_id, by=who.actor)
    made = _forked(source, wish, label, by=ids.spell(who.user_id))
    draft = _fork_draft(request, made, source)
    statements = (*leads(who.workspace_id, wish), checkpoints.created(made, NotFound(NO_CHECKPOINT)))

    def answer(forked: Mission) -> Any:
        return {"new_mission_id": ids.spell(forked.id), "new_checkpoint_id": ids.spell(made.id, ids.CHECKPOINT)}

    return raw(
        (await execute(request, wish.id, wish, answer, statements=statements, drafts=(draft,))).answer, status=201
    )


async def delete_checkpoint(request: web.Request) -> web.Response:
    """DELETE /api/v1/checkpoints/{checkpointId}: what was forked from it stays. No entry tells of it."""
    found, _ = await _found(request)
    await _changed(
        request,
        found.mission_id,
        checkpoints.removed(found.workspace_id, found.id, NotFound(NO_CHECKPOINT)),
        _draft(request, "checkpoint_deleted", found),
        None,
    )
    return no_content()


async def _found(request: web.Request) -> tuple[Checkpoint, UUID]:
    checkpoint_id = ids.known(request.match_info["checkpointId"], ids.CHECKPOINT)
    found = await checkpoints.one(core(request).database, principal(request).workspace_id, checkpoint_id)
    if found is None or found.crew_id is None:
        raise NotFound(NO_CHECKPOINT)
    return found, found.crew_id


async def _label(request: web.Request) -> str | None:
    label = (await read(request, wire.Label, is_optional=True, invalid=INVALID)).label
    if label is not None and len(label) > MOST_LABEL_CHARACTERS:
        raise BadRequest(f"label has {len(label)} characters, at most {MOST_LABEL_CHARACTERS} are kept")
    return label


async def _captured(request: web.Request, mission_id: UUID, label: str | None) -> Checkpoint:
    who = principal(request)
    now = await checkpoints.capture(core(request).database, who.workspace_id, mission_id, FACETS)
    if now.position is None:
        raise Conflict(NO_ENTRIES)
    return Checkpoint(
        workspace_id=who.workspace_id,
        id=new_id(),
        mission_id=mission_id,
        label=label,
        position=now.position,
        pending_tasks=now.pending_tasks,
        open_assignments=now.open_assignments,
        created_by=ids.spell(who.user_id),
        created_at=datetime.now(UTC),
    )


def _forked(source: Checkpoint, copy: Create, label: str | None, *, by: str) -> Checkpoint:
    """The checkpoint of a fork: at the same entry, which is one of the parent mission's."""
    return Checkpoint(
        workspace_id=source.workspace_id,
        id=new_id(),
        mission_id=copy.id,
        label=label or f"fork of {ids.spell(source.id, ids.CHECKPOINT)}",
        position=source.position,
        pending_tasks=unfinished(copy),
        fork_of=source.id,
        created_by=by,
        created_at=datetime.now(UTC),
    )


async def _changed(request: web.Request, mission_id: UUID, statement: Statement, draft: Draft, answer: Any) -> Outcome:
    """Rows and an event of the mission; NotFound when the mission was deleted just now."""
    try:
        return await core(request).writers.change(
            principal(request).workspace_id,
            (statement,),
            (draft,),
            stream_id=mission_id,
            answer=answer,
            key=request.get(KEY),
        )
    except NotFound as error:
        if error.message == NO_CHECKPOINT:
            raise
        raise NotFound(NO_CHECKPOINT if "checkpointId" in request.match_info else NO_MISSION) from None


def _draft(request: web.Request, event_type: str, checkpoint: Checkpoint, **more: Any) -> Draft:
    metadata: dict[str, Any] = {
        "checkpoint_id": str(checkpoint.id),
        "journal_cursor": ids.spell_entry(checkpoint.position),
        **more,
    }
    if checkpoint.label:
        metadata["label"] = checkpoint.label
    return Draft(type=event_type, metadata=metadata, actor=principal(request).actor)


def _fork_draft(request: web.Request, made: Checkpoint, source: Checkpoint) -> Draft:
    named = {"new_checkpoint_id": str(made.id), "fork_of": str(source.id), "parent_mission": str(source.mission_id)}
    return _draft(request, "fork_created", made, **named)
