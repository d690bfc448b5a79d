"""Control's reads: lists, one mission, pages of events, snapshots, what runs."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from aiohttp import web

from server.body import identity, number, seconds, word
from server.core import Core, core, principal
from server.cursors import after_sequence, sequence_of
from server.dialects.control import wire
from server.dialects.control.answers import reply, reply_list
from server.dialects.control.subtasks import Children, Subtasks, subtasks
from server.dialects.control.trees import read_tree
from server.dialects.control.visibility import CONVERSATION, VIEWS, types_of, visibility_counts
from server.missions.kinds import Facts
from server.timeline import signal_body, stored_event
from storage.ids import parse_id
from storage.log import Slice
from storage.missions import MissionRow
from streams.channels import Channel
from streams.cursor import Cursor
from streams.errors import NotFound

HISTORY = 200
HISTORY_BYTES = 4 << 20
MAX_PAGE = 50_000
SNAPSHOT_EVENTS = 1_500
SNAPSHOT_CONVERSATION = 10
MAX_WAIT_SECONDS = 60.0


def facts_of(services: Core, row: MissionRow) -> Facts:
    """The facts of a stored mission, by its kind."""
    return services.kinds[row.kind].facts(row.state)


async def full_mission(services: Core, row: MissionRow) -> wire.Mission:
    """The Mission object with its newest messages."""
    history = await services.log.newest(row.workspace_id, row.id, CONVERSATION, limit=HISTORY, max_bytes=HISTORY_BYTES)
    return wire.mission_of(row, facts_of(services, row), history)


async def list_missions(request: web.Request) -> web.Response:
    """GET /api/control/missions: newest change first."""
    services, who = core(request), principal(request)
    rows = await services.missions.listed(
        who.workspace_id,
        phase=word(request, "status"),
        limit=max(1, number(request, "limit", 50, most=200)),
        offset=number(request, "offset", 0),
    )
    return reply([wire.mission_of(row, facts_of(services, row)) for row in rows])


async def get_mission(request: web.Request) -> web.Response:
    """GET /api/control/missions/:id"""
    services = core(request)
    row = await services.missions.get(principal(request).workspace_id, identity(request))
    return reply(await full_mission(services, row))


async def current_mission(request: web.Request) -> web.Response:
    """GET /api/control/missions/current: the mission that this user has open, or null."""
    services, who = core(request), principal(request)
    mission_id = await services.missions.current(who.workspace_id, who.user_id)
    if mission_id is None:
        return reply(None)
    try:
        row = await services.missions.get(who.workspace_id, mission_id)
    except NotFound:
        return reply(None)
    return reply(await full_mission(services, row))


async def mission_events(request: web.Request) -> web.StreamResponse:
    """GET /api/control/missions/:id/events: a page, ascending; before_seq wins over since_seq, types over view."""
    services, who = core(request), principal(request)
    row = await services.missions.get(who.workspace_id, identity(request))
    types = types_of(word(request, "types"), word(request, "view"))
    limit, offset = number(request, "limit", MAX_PAGE, most=MAX_PAGE), number(request, "offset", 0)
    is_latest = request.query.get("latest") in ("true", "1")
    before = number(request, "before_seq", 0) if request.query.get("before_seq") else None
    since = number(request, "since_seq", 0)
    if cursor := request.query.get("since"):
        since = await sequence_of(services, who.workspace_id, row.id, Cursor.parse(cursor))
    elif since and before is None and not is_latest and since < row.head:
        await after_sequence(services, who.workspace_id, row.id, since)  # refuses what retention has removed
    wanted = Slice(
        since=since,
        before=row.head + 1 if is_latest and before is None else before,
        types=types,
        limit=limit,
        offset=offset,
    )
    counts = row.counts if types is None else {name: row.counts.get(name, 0) for name in types}
    headers = {
        "X-Max-Sequence": str(row.head),
        "X-Epoch": (await services.hub.follower(who.workspace_id)).epoch,
    }
    if request.query.get("include_counts") != "false":
        headers["X-Total-Events"] = str(sum(counts.values()))
    pieces = services.log.pieces(who.workspace_id, row.id, wanted)
    return await reply_list(request, ([stored_event(event) for event in piece] async for piece in pieces), headers)


async def snapshot(request: web.Request) -> web.Response:
    """GET /api/control/missions/:id/snapshot: one consistent reading, then the current signals."""
    services, who = core(request), principal(request)
    taken = await services.missions.snapshot(
        who.workspace_id,
        identity(request),
        types=VIEWS["history"],
        conversation=SNAPSHOT_CONVERSATION,
        limit=SNAPSHOT_EVENTS,
    )
    row, head = taken.mission, taken.head
    signals = services.hub.signals.of(row.id)
    children = await services.missions.children_of(who.workspace_id, [row.id]) if taken.children else {}
    history = [event for event in taken.events if event.type in CONVERSATION][-HISTORY:]
    counts = {name: count for name, count in row.counts.items() if name in VIEWS["history"]}
    body = wire.Snapshot(
        mission=wire.mission_of(row, facts_of(services, row), history),
        events=[stored_event(event) for event in taken.events],
        event_counts=counts,
        counts=counts,
        visibility_counts=visibility_counts(row.counts),
        total_events=sum(counts.values()),
        latest_sequence=row.head,
        cursor=str(Cursor(head.epoch, head.head)),
        child_missions=[wire.mission_of(child, facts_of(services, child)) for child in taken.children],
        running=_running(services, row, children),
        signals=[signal_body(signal) for signal in signals],
    )
    return reply(body, headers={"X-Epoch": head.epoch, "X-Max-Sequence": str(row.head)})


async def workspace_events(request: web.Request) -> web.Response:
    """GET /api/control/events: the whole workspace, or ?mission=, after a cursor; ?wait= holds on for the next one."""
    services, who = core(request), principal(request)
    channel = channel_of(request)
    if channel.kind == "mission":
        await services.missions.get(who.workspace_id, channel.id)
    follower = await services.hub.follower(who.workspace_id)
    head = await services.log.head(who.workspace_id)
    since = request.query.get("since")
    cursor = Cursor.parse(since) if since else Cursor(head.epoch, head.floor)
    cursor.check(epoch=head.epoch, floor=head.floor, head=head.head)
    wait = seconds(request, "wait", 0.0, most=MAX_WAIT_SECONDS)
    limit = number(request, "limit", 500, least=1, most=500)
    if wait:
        with follower.waiting(channel) as arrival:
            head = await services.log.head(who.workspace_id)
            if cursor.position >= await services.log.before(channel, head.head):
                follower.hint(head.head)
                await asyncio.wait({arrival}, timeout=wait)
                head = await services.log.head(who.workspace_id)
    page = await services.log.after(channel, cursor.position, until=head.head, max_bytes=1 << 20)
    events = page.events[:limit]
    is_rest = len(events) == len(page.events) and await _is_last(services, channel, events, head.head)
    through = head.head if is_rest else events[-1].position
    body = {
        "events": [stored_event(event) for event in events],
        "cursor": str(Cursor(head.epoch, through)),
        "head": head.head,
    }
    return reply(body, headers={"X-Epoch": head.epoch})


async def _is_last(services: Core, channel: Channel, events: Sequence[Any], head: int) -> bool:
    return not events or events[-1].position >= await services.log.before(channel, head)


def channel_of(request: web.Request) -> Channel:
    """The channel that `?mission=` narrows to, or the workspace's; whether the mission exists is yet to be asked."""
    workspace_id = principal(request).workspace_id
    text = request.query.get("mission")
    if not text:
        return Channel(workspace_id, "workspace", workspace_id)
    try:
        mission_id = parse_id(text)
    except ValueError:
        raise NotFound("Mission not found") from None
    return Channel(workspace_id, "mission", mission_id)


async def list_running(request: web.Request) -> web.Response:
    """GET /api/control/running: missions with a turn going on or messages waiting."""
    services, workspace_id = core(request), principal(request).workspace_id
    rows = await services.missions.busy(workspace_id)
    children = await services.missions.children_of(workspace_id, [row.id for row in rows]) if rows else {}
    return reply([info for row in rows if (info := _running(services, row, children)) is not None])


def _running(services: Core, row: MissionRow, children: Mapping[UUID, tuple[int, int]]) -> wire.Running | None:
    if row.run_id is None and not row.queued:
        return None
    signals = services.hub.signals
    state = "queued" if row.run_id is None else signals.body(row.id, "status").get("state", "running")
    parts = _subtasks(services, row, children)
    label = signals.body(row.id, "mission_activity").get("label")
    repeats, sandbox = facts_of(services, row).repeats, services.runs.sandbox_of(row.run_id)
    return wire.running(row, repeats, state, label or parts.current, parts, sandbox)


async def list_queue(request: web.Request) -> web.Response:
    """GET /api/control/queue: every waiting message of the workspace."""
    services = core(request)
    rows = await services.missions.busy(principal(request).workspace_id)
    return reply(
        [
            {"id": message_id, "content": content, "agent": agent, "mission_id": str(row.id)}
            for row in rows
            for message_id, content, agent in facts_of(services, row).queue
        ]
    )


async def tree(request: web.Request) -> web.Response:
    """GET /api/control/missions/:id/tree: the mission, its tasks and its child missions as a tree of agents."""
    services, who = core(request), principal(request)
    return reply(await read_tree(services.missions, services.kinds, who.workspace_id, identity(request)))


async def progress(request: web.Request) -> web.Response:
    """GET /api/control/progress: the subtasks of the current mission."""
    services, who = core(request), principal(request)
    mission_id = await services.missions.current(who.workspace_id, who.user_id)
    found = Subtasks()
    if mission_id is not None:
        with suppress(NotFound):
            row = await services.missions.get(who.workspace_id, mission_id)
            found = _subtasks(services, row, await services.missions.children_of(who.workspace_id, [row.id]))
    return reply(
        {
            "total_subtasks": found.total,
            "completed_subtasks": found.completed,
            "current_subtask": found.current,
            "current_depth": found.depth,
        }
    )


def _subtasks(services: Core, row: MissionRow, children: Mapping[UUID, tuple[int, int]]) -> Subtasks:
    plan = services.hub.signals.body(row.id, "progress")
    return subtasks(facts_of(services, row), plan, Children(*children.get(row.id, (0, 0))))


async def parallel_config(request: web.Request) -> web.Response:
    """GET /api/control/parallel/config"""
    services = core(request)
    rows = await services.missions.busy(principal(request).workspace_id)
    return reply(
        {
            "max_parallel_missions": services.runs.max_parallel,
            "running_count": sum(row.run_id is not None for row in rows),
        }
    )
