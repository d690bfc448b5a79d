"""The statements of the writer's transaction, as functions: what they take and give, and nothing of its rules."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from storage.queries import queries
from storage.rules import Key, Kinds, PartRow, Row, Rules
from storage.states import Head, Versioned
from streams.event import Event

T = TypeVar("T")


class SavedRow(NamedTuple):
    """A mission's projection as it is to be stored."""

    kind: str
    row: Row
    version: int
    document: Any
    parts: Mapping[UUID, tuple[PartRow, Any]]
    """Those that have changed: their columns and their documents."""
    deleted_at: datetime | None


def in_order(ids: Iterable[UUID]) -> list[UUID]:
    """Ids as PostgreSQL orders them, which is the order of all locks."""
    return sorted(ids, key=attrgetter("int"))


async def lock(connection: asyncpg.Connection, workspace_id: UUID, streams: Iterable[UUID]) -> dict[UUID, Head]:
    """Lock the streams that exist, in order of id, and read their heads."""
    rows = await connection.fetch(queries.writer.lock, workspace_id, in_order(streams))
    return {
        row["id"]: Head(
            head=row["head"],
            version=row["state_version"],
            closed=row["closed"],
            counts=msgspec.json.decode(row["counts"]),
            crew_id=row["crew_id"],
            team_id=row["team_id"],
        )
        for row in rows
    }


async def answers(
    connection: asyncpg.Connection, workspace_id: UUID, keys: Sequence[Key]
) -> dict[tuple[str, str], tuple[str, str]]:
    """The fingerprints and first answers of those keys that are known, by scope and key."""
    rows = await connection.fetch(
        queries.writer.answered, workspace_id, [key.scope for key in keys], [key.key for key in keys]
    )
    return {(row["scope"], row["key"]): (row["fingerprint"], row["answer"]) for row in rows}


async def known_events(
    connection: asyncpg.Connection, workspace_id: UUID, asked: Sequence[tuple[UUID, str]], at: datetime
) -> dict[tuple[UUID, str], Event]:
    """The events that carry one of these dedupe keys already, by stream and key; `at` stands in for their time."""
    streams, keys = zip(*asked, strict=True)
    rows = await connection.fetch(queries.writer.known, workspace_id, streams, keys)
    return {
        (row["stream_id"], row["dedupe_key"]): Event(
            workspace_id=workspace_id, at=at, **{name: row[name] for name in _KNOWN}
        )
        for row in rows
    }


_KNOWN = (
    "position", "stream_id", "sequence", "type", "event_id", "tool_call_id", "tool_name", "content", "metadata",
)  # fmt: skip


async def states(
    connection: asyncpg.Connection, workspace_id: UUID, missions: Sequence[UUID], kinds: Kinds
) -> dict[UUID, Versioned]:
    """The stored states of missions."""
    rows = await connection.fetch(queries.writer.states, workspace_id, missions)
    divided = [row["id"] for row in rows if kinds[row["kind"]].part_type is not None]
    parts = await connection.fetch(queries.writer.parts, workspace_id, divided) if divided else []
    of_mission: dict[UUID, list[asyncpg.Record]] = {}
    for part in parts:
        of_mission.setdefault(part["mission_id"], []).append(part)
    return {
        row["id"]: Versioned(
            row["kind"],
            row["state_version"],
            joined(kinds[row["kind"]], row["state"], of_mission.get(row["id"], ())),
        )
        for row in rows
    }


def joined(rules: Rules, document: str, parts: Iterable[asyncpg.Record]) -> Any:
    """A state as it is stored: its document, and the rows of its parts in their order."""
    decoded = msgspec.json.decode(document, type=rules.state_type)
    if rules.part_type is None:
        return decoded
    return rules.join(decoded, decoded_parts(rules, parts))


def decoded_parts(rules: Rules, parts: Iterable[asyncpg.Record]) -> dict[UUID, Any]:
    """The parts of a divided state, of their rows."""
    return {part["id"]: msgspec.json.decode(part["state"], type=rules.part_type) for part in parts}


class _Part(msgspec.Struct, omit_defaults=True):
    mission_id: UUID
    id: UUID
    status: str
    number: int
    created_at: datetime
    updated_at: datetime
    agent_id: UUID | None
    run_id: UUID | None
    token_count: int | None
    estimated_cost: float | None
    completed_at: datetime | None
    state: Any


def _parts(saved: Mapping[UUID, SavedRow]) -> str | None:
    """The changed parts as one JSON array, None when there are none."""
    changed = [
        _Part(mission_id, part_id, *columns, state=document)
        for mission_id, row in saved.items()
        for part_id, (columns, document) in row.parts.items()
    ]
    return msgspec.json.encode(changed).decode() if changed else None


async def save_answers(
    connection: asyncpg.Connection,
    workspace_id: UUID,
    at: datetime,
    new: Mapping[tuple[str, str], tuple[str, str]],
) -> None:
    """Store first answers, by scope and key."""
    scopes, keys = zip(*new, strict=True)
    fingerprints, texts = zip(*new.values(), strict=True)
    await connection.execute(queries.writer.save_answers, workspace_id, at, scopes, keys, fingerprints, texts)


async def open_streams(connection: asyncpg.Connection, workspace_id: UUID, new: Mapping[UUID, Head]) -> None:
    """Make the rows of new streams."""
    await connection.execute(
        queries.writer.open_streams,
        workspace_id,
        list(new),
        [head.crew_id for head in new.values()],
        [head.team_id for head in new.values()],
    )


def _columns(mission_id: UUID, saved: SavedRow) -> tuple[Any, ...]:
    row = saved.row
    state = msgspec.json.encode(saved.document).decode()
    return (
        mission_id, saved.kind, row.status, row.phase, row.title, row.crew_id, row.parent_id, row.run_id, row.queued,
        saved.version, state, row.created_at, row.updated_at, saved.deleted_at,
    )  # fmt: skip


class Appending(NamedTuple):
    """The statement that appends a batch, as it is sent; sending it again appends the same."""

    query: str
    arguments: tuple[Any, ...]


def appending(
    workspace_id: UUID,
    at: datetime,
    moved: Mapping[UUID, Head],
    events: Sequence[Event],
    dedupe_keys: Sequence[str | None],
    saved: Mapping[UUID, SavedRow],
    *,
    is_compared: bool,
) -> Appending:
    """How to append, and write the projections in `saved`.

    When the heads are compared nothing need be locked before: SerializationError when a stream is closed, or its head is
    not `stored`.
    """
    heads = moved.values()
    places = {stream: place for place, stream in enumerate(moved, 1)}
    arguments = (
        workspace_id,
        at,
        list(moved),
        _text(head.stored for head in heads) if is_compared else None,
        _text(head.head for head in heads),
        _text(head.version for head in heads),
        [msgspec.json.encode(head.counts).decode() for head in heads],
        [stream for stream, head in moved.items() if head.closed],
        _text(places[event.stream_id] for event in events),
        _text(event.sequence for event in events),
        [event.type for event in events],
        _sparse([event.actor for event in events]),
        _sparse([event.crew_id for event in events]),
        _sparse([event.team_id for event in events]),
        _sparse([event.event_id for event in events]),
        _sparse([event.tool_call_id for event in events]),
        _sparse([event.tool_name for event in events]),
        _sparse(dedupe_keys),
        [event.content for event in events],
        _sparse([None if event.metadata == "{}" else event.metadata for event in events]),
    )
    if not saved:
        return Appending(queries.writer.append, arguments)
    columns = map(list, zip(*(_columns(mission_id, saved[mission_id]) for mission_id in in_order(saved)), strict=True))
    return Appending(queries.writer.append_decided, (*arguments, *columns, _parts(saved)))


async def append(connection: asyncpg.Connection, built: Appending) -> int:
    """Append; give the position before the first event."""
    return int(await connection.fetchval(built.query, *built.arguments))


def _sparse(column: Sequence[T | None]) -> Sequence[T | None] | None:
    """The column, or None when nothing stands in it: unnest fills it up, and nothing need be encoded."""
    return None if column.count(None) == len(column) else column


def _text(column: Iterable[int]) -> str:
    """Numbers as one text: the driver looks at every element of an array, which costs more than all else here."""
    return ",".join(map(str, column))


async def settled(connection: asyncpg.Connection, workspace_id: UUID) -> None:
    """Return when no transaction that has appended to the workspace is under way."""
    await connection.fetchval(queries.writer.settled, workspace_id)


async def position_of(connection: asyncpg.Connection, event: Event) -> int | None:
    """The position of this very event, known by everything but its position; None when it is not in the log."""
    position: int | None = await connection.fetchval(
        queries.writer.position_of,
        event.workspace_id,
        event.stream_id,
        event.sequence,
        event.at,
        event.type,
        event.content,
    )
    return position


async def has_answer(connection: asyncpg.Connection, workspace_id: UUID, scope: str, key: str, at: datetime) -> bool:
    """Whether this very answer is stored."""
    found: bool = await connection.fetchval(queries.writer.has_answer, workspace_id, scope, key, at)
    return found
