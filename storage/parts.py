"""What callers hand to a workspace's writer: activity to record, a command to decide, rows to change; and what comes back."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from storage.rules import Appended, Command, Key, Outcome, Statement
from streams.errors import MissionstreamError
from streams.event import Draft


class Record(msgspec.Struct):
    """Activity to append without a decision. All of a record's drafts are stored, or none."""

    stream_id: UUID
    drafts: Sequence[Draft]

    def streams(self, workspace_id: UUID) -> tuple[UUID, ...]:
        return (self.stream_id,)


class Execute(msgspec.Struct):
    """A command to decide. `answer` renders the new state for the caller; its JSON is what a repeat of `key` gets.

    What is decided, `statements` and `drafts` (activity, after the decided events) are stored together or not at all.
    """

    stream_id: UUID
    kind: str
    command: Command
    answer: Callable[[Any], Any]
    key: Key | None = None
    statements: Sequence[Statement] = ()
    drafts: Sequence[Draft] = ()

    def streams(self, workspace_id: UUID) -> tuple[UUID, ...]:
        return (self.stream_id, workspace_id) if self.command.touches_workspace else (self.stream_id,)


class Change(msgspec.Struct):
    """Rows to change and what to say of it in a stream, together or not at all. A repeat of `key` changes nothing."""

    stream_id: UUID
    statements: Sequence[Statement]
    drafts: Sequence[Draft]
    answer: Any = None
    key: Key | None = None

    def streams(self, workspace_id: UUID) -> tuple[UUID, ...]:
        return (self.stream_id,)


class Refused(Exception):
    """A statement of a change found no row, or broke a constraint; `meaning` is for its caller alone."""

    def __init__(self, meaning: MissionstreamError) -> None:
        self.meaning = meaning
        super().__init__(meaning.message)


Part = Record | Execute | Change
Result = list[Appended] | Outcome


async def change_rows(connection: asyncpg.Connection, statement: Statement) -> None:
    """Run a statement of a change. Refused with what it means to find no row or to break a constraint."""
    try:
        found = await connection.fetchrow(statement.query, *statement.arguments)
    except asyncpg.IntegrityConstraintViolationError as error:
        meaning = statement.broken.get(error.constraint_name or "")
        if meaning is None:
            raise
        raise Refused(meaning) from error
    if found is None and statement.missing is not None:
        raise Refused(statement.missing)
