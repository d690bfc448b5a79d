"""Proof that the log is the truth: folds every stream again and compares it with the rows."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, cast
from uuid import UUID

import asyncpg
import msgspec

from storage.log import event as as_event
from storage.pool import Database
from storage.queries import queries
from storage.rules import Kinds, Rules


class Finding(NamedTuple):
    """Something that does not hold; `what` says it for people."""

    workspace_id: UUID
    stream_id: UUID | None
    what: str


async def verify(database: Database, kinds: Kinds) -> AsyncIterator[Finding | UUID]:
    """Check every workspace in one consistent reading; yields findings, and each stream's id when it was checked."""
    async with database.snapshot() as connection:
        for workspace in await connection.fetch(queries.workspaces.all):
            async for found in _workspace(connection, workspace, kinds):
                yield found


async def _workspace(
    connection: asyncpg.Connection, workspace: asyncpg.Record, kinds: Kinds
) -> AsyncIterator[Finding | UUID]:
    identity, floor, head = workspace["id"], workspace["floor"], workspace["head"]
    first, last, count = await connection.fetchrow(queries.verify.positions, identity, floor)
    if count != head - floor or (count and (first, last) != (floor + 1, head)):
        yield Finding(identity, None, f"positions {first}…{last} ({count} of them) do not fill {floor + 1}…{head}")
    async for stream in connection.cursor(queries.verify.streams, identity):
        async for found in _stream(connection, identity, stream, kinds, floor):
            yield found
        yield stream["id"]


async def _stream(
    connection: asyncpg.Connection, workspace_id: UUID, stream: asyncpg.Record, kinds: Kinds, floor: int
) -> AsyncIterator[Finding]:
    rules = kinds.get(stream["kind"]) if stream["kind"] else None
    state: Any = None
    counts: Counter[str] = Counter()
    sequence = version = position = 0
    is_whole = True
    async for row in connection.cursor(queries.verify.events, workspace_id, stream["id"], floor):
        event = as_event(row)
        if sequence == 0 and floor and event.sequence > 1:
            sequence, is_whole = event.sequence - 1, False
        if event.sequence != sequence + 1 or event.position <= position:
            yield Finding(workspace_id, stream["id"], f"sequence {event.sequence} follows {sequence}")
        sequence, position = event.sequence, event.position
        counts[event.type] += 1
        if rules is not None and event.type in rules.state_events and is_whole and not stream["closed"]:
            state, version = rules.evolve(state, event), event.sequence
    if floor and sequence == 0:
        return  # retention removed all of it
    if sequence != stream["head"]:
        yield Finding(workspace_id, stream["id"], f"the head says {stream['head']}, the last event is {sequence}")
    if stream["closed"] or not is_whole:
        return
    if dict(counts) != msgspec.json.decode(stream["counts"]):
        yield Finding(workspace_id, stream["id"], f"the counters say {stream['counts']}, the log {dict(counts)}")
    if rules is not None:
        parts = (
            [] if rules.part_type is None else await connection.fetch(queries.verify.parts, workspace_id, stream["id"])
        )
        for name, folded, stored in _differences(rules, stream, parts, state, version):
            yield Finding(workspace_id, stream["id"], f"{name}: the log folds to {folded!r}, the row says {stored!r}")


def _differences(
    rules: Rules, stream: asyncpg.Record, parts: Sequence[asyncpg.Record], state: Any, version: int
) -> list[tuple[str, Any, Any]]:
    if state is None:
        return [("state", None, stream["state"])]
    row = rules.row(state)
    folded = {**row._asdict(), "state_version": version}
    pairs = [(name, value, stream[name]) for name, value in folded.items()]
    document, folded_parts = rules.split(state)
    pairs.append(("state", document, msgspec.json.decode(stream["state"], type=rules.state_type)))
    pairs.append(("tasks", list(folded_parts), [part["id"] for part in parts]))
    for part in parts:
        if (whole := folded_parts.get(part["id"])) is not None:
            columns = rules.part_row(whole)._asdict()
            pairs += [(f"task {part['id']} {name}", value, part[name]) for name, value in columns.items()]
            stored = msgspec.json.decode(part["state"], type=cast(type[Any], rules.part_type))
            pairs.append((f"task {part['id']}", whole, stored))
    return [pair for pair in pairs if pair[1] != pair[2]]
