"""The writers of all workspaces of this process: what callers hand in, checked and measured, goes to its workspace's."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from storage.groupcommit import Publish, Writer
from storage.parts import Change, Execute, Part, Record, Result
from storage.pool import Database
from storage.rules import Appended, Command, Key, Kinds, Outcome, Statement
from storage.states import StateCache
from streams.errors import NotFound, Unavailable, Unprocessable
from streams.event import MAX_CONTENT_BYTES, MAX_METADATA_BYTES, Draft, ascii_json, cleaned

PATIENCE_SECONDS = 5.0
CLOSE_SECONDS = 5.0


class Writers:
    """The writers of all workspaces of this process, made when first needed."""

    def __init__(
        self,
        database: Database,
        kinds: Kinds,
        publish: Publish,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        self._database = database
        self._kinds = kinds
        self._publish = publish
        self._patience_seconds = patience_seconds
        self._on_batch = on_batch
        self._cache = StateCache()
        self._writers: dict[UUID, Writer] = {}
        self._state_events = frozenset[str]().union(*(rules.state_events for rules in kinds.values()))
        self._closed = False

    async def execute(
        self,
        workspace_id: UUID,
        mission_id: UUID,
        kind: str,
        command: Command,
        *,
        answer: Callable[[Any], Any] = lambda state: None,
        key: Key | None = None,
        statements: Sequence[Statement] = (),
        drafts: Sequence[Draft] = (),
        is_patient: bool = False,
    ) -> Outcome:
        """Decide and append; give the new state, or the first answer of a repeated `key`.

        `statements` change rows in the same transaction, once the command is decided, and `drafts` are activity that
        follows its events. Raises what `decide` raises, what a statement means by finding no row or breaking a constraint, KeyReused, NotFound, Unavailable (nothing was stored) or OutcomeUnknown (after
        five seconds; never when `is_patient`). A cancelled caller cancels only its own waiting.
        """
        clean, more = _checked(drafts, self._state_events)
        part = Execute(mission_id, kind, command, answer, key, statements, clean)
        size = 1_024 * (1 + len(statements)) + _size(command) + more
        result = await self._submit(workspace_id, part, events=4 + len(clean), size=size, is_patient=is_patient)
        assert isinstance(result, Outcome)
        return result

    async def record(
        self, workspace_id: UUID, stream_id: UUID, drafts: Sequence[Draft], *, is_patient: bool = False
    ) -> list[Appended]:
        """Append activity, all of it or nothing, and give its numbers; known dedupe keys give their first ones.

        Raises Unprocessable for a state event or an oversized draft, KeyReused for a known key with other content,
        NotFound, Unavailable (nothing was stored), OutcomeUnknown as `execute` does.
        """
        if stream_id == workspace_id:
            raise NotFound(f"Mission {stream_id} not found")
        clean, size = _checked(drafts, self._state_events)
        part = Record(stream_id=stream_id, drafts=clean)
        result = await self._submit(workspace_id, part, events=len(clean), size=size, is_patient=is_patient)
        assert isinstance(result, list)
        return result

    async def change(
        self,
        workspace_id: UUID,
        statements: Sequence[Statement],
        drafts: Sequence[Draft],
        *,
        stream_id: UUID | None = None,
        answer: Any = None,
        key: Key | None = None,
    ) -> Outcome:
        """Change rows and say so in a stream (the workspace's own, unless named), in one transaction.

        `answer` is a JSON value; a repeat of `key` gets the first one and changes nothing. Raises what a statement means
        by finding no row or breaking a constraint, and what `record` and `execute` raise; ValueError without either an
        event or a key, since nothing then would tell after a cut COMMIT whether it happened.
        """
        if not drafts and key is None:
            raise ValueError("a change needs an event or a key")
        clean, size = _checked(drafts, self._state_events)
        part = Change(stream_id or workspace_id, statements, clean, answer, key)
        result = await self._submit(
            workspace_id, part, events=len(clean), size=1_024 * len(statements) + size, is_patient=False
        )
        assert isinstance(result, Outcome)
        return result

    def _submit(
        self, workspace_id: UUID, part: Part, *, events: int, size: int, is_patient: bool
    ) -> "asyncio.Future[Result]":
        if self._closed:
            raise Unavailable("the server is shutting down; repeat on another node or later")
        writer = self._writers.get(workspace_id)
        if writer is None:
            writer = Writer(workspace_id, self._database, self._kinds, self._cache, self._publish)
            if self._on_batch is not None:
                writer.on_batch = self._on_batch
            self._writers[workspace_id] = writer
        patience_seconds = math.inf if is_patient else self._patience_seconds
        return writer.submit(part, events=events, size=size, patience_seconds=patience_seconds)

    async def close(self) -> None:
        """Take nothing more, then wait for what was taken, up to five seconds."""
        self._closed = True
        await asyncio.gather(*(writer.drain(CLOSE_SECONDS) for writer in self._writers.values()))


def _size(command: Command) -> int:
    """Its bytes as JSON in UTF-8, about what it takes in memory and in the database."""
    try:
        return len(msgspec.json.encode(command))
    except UnicodeEncodeError:  # lone surrogates, which its drafts will not have any more
        return len(repr(command))


def _checked(drafts: Sequence[Draft], state_events: frozenset[str]) -> tuple[list[Draft], int]:
    clean: list[Draft] = []
    total = 0
    for draft in drafts:
        if draft.type in state_events:
            raise Unprocessable(f"{draft.type} is decided by a command; it cannot be recorded")
        draft = cleaned(draft)
        clean.append(draft)
        size = len(draft.content) if draft.content.isascii() else len(draft.content.encode())
        extra = len(ascii_json(draft.metadata)) if draft.metadata else 2
        if size > MAX_CONTENT_BYTES or extra > MAX_METADATA_BYTES:
            raise Unprocessable(
                f"an event holds at most {MAX_CONTENT_BYTES} bytes of content and {MAX_METADATA_BYTES} of metadata"
            )
        total += size + extra + 256
    return clean, total
