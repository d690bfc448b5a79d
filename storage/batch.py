"""One transaction of the writer: lock, read, decide, write. Stores many callers' parts together."""

from collections.abc import Iterator, Sequence
from uuid import UUID

import asyncpg

from storage import statements
from storage.decisions import Decisions
from storage.parts import Change, Execute, Part, Record, Result, change_rows
from storage.rules import Kinds
from storage.statements import Appending, in_order
from storage.states import HeadCache, StateCache, Versioned
from streams.event import Event

MAX_BATCH_EVENTS = 1_000


class Batch:
    """The work of one transaction of one workspace. Not reused.

    `results` holds, for each of the `parts` that it took, its result or the exception that only its caller gets. After
    `save`, `events` are numbered; they are facts only once the caller has seen COMMIT succeed.

    Either `foresee`, and `save` as a transaction of its own; or `apply` within a transaction. A dedupe key is taken for
    a new one at first: the log's own index refuses one that it has, as a UniqueViolationError of `save`.
    A batch that `is_wary` looks them all up instead.
    """

    def __init__(
        self, workspace_id: UUID, parts: Sequence[Part], kinds: Kinds, cache: StateCache, *, is_wary: bool = False
    ) -> None:
        self.workspace_id = workspace_id
        self.parts = parts
        self.results: list[Result | Exception] = []
        self.streams = {stream for part in parts for stream in part.streams(workspace_id)}
        self._kinds = kinds
        self._cache = cache
        self.is_wary = is_wary
        self._appending: Appending | None = None
        self._decisions = Decisions(workspace_id, kinds)

    @property
    def events(self) -> Sequence[Event]:
        """What is to be appended, or was."""
        return self._decisions.events

    async def apply(self, connection: asyncpg.Connection) -> None:
        """Run every statement but BEGIN and COMMIT: lock, decide, save."""
        await self._read(connection)
        self._decide()
        await self.save(connection)

    @property
    def is_foreseen(self) -> bool:
        return self._appending is not None

    def foresee(self, heads: HeadCache) -> bool:
        """Decide the batch if nothing need be read or made for it, and move the heads on; False when there is need.

        There is none for activity and commands without a key, on streams whose heads are known, where the states of the
        missions that are commanded are known too; unless a command is refused, or leads to nothing, by a state that no
        comparison of heads will prove.
        """
        if self.is_wary or any(
            isinstance(part, Change)
            or (isinstance(part, Execute) and (part.key or part.statements or part.command.creates))
            for part in self.parts
        ):
            return False
        known = heads.take(self.streams)
        if known is None:
            return False
        states: dict[UUID, Versioned] = {}
        for part in self.parts:
            if isinstance(part, Execute):
                state = self._cache.get(self.workspace_id, part.stream_id, known[part.stream_id].version)
                if state is None:
                    return False
                states[part.stream_id] = state
        self._decisions.heads, self._decisions.states = known, states
        self._decide()
        if not states.keys() <= self._decisions.rows.keys():
            heads.forget(self.streams)
            return False
        self._appending = self._append(is_compared=True)
        return True

    def _decide(self) -> None:
        """Find out what the parts lead to, in memory.

        Once that is MAX_BATCH_EVENTS, the parts that follow are none of this batch's any more: what a command leads to
        is known only now.
        """
        take, events = self._decisions.take, self._decisions.events
        for taken, part in enumerate(self.parts, 1):
            take(part)
            if len(events) >= MAX_BATCH_EVENTS:
                self.parts = self.parts[:taken]
                return

    async def save(self, connection: asyncpg.Connection) -> None:
        """Write, and number what was written. Of a batch that was foreseen this may be repeated: it is stored once.

        SerializationError, for a foreseen one, when a stream is no longer as it was known.
        """
        self.number(await self._write(connection) if self.has_writes else 0)

    @property
    def has_writes(self) -> bool:
        return bool(self.events or self._decisions.new_answers or self._decisions.statements)

    async def is_stored(self, connection: asyncpg.Connection) -> bool:
        """Whether what the batch wrote is there, asked when the connection broke; it is numbered then."""
        if not self.events:
            if not self._decisions.new_answers:
                return False  # it has only looked at rows, and may do that again
            scope, key = next(iter(self._decisions.new_answers))
            return await statements.has_answer(connection, self.workspace_id, scope, key, self._decisions.at)
        last = await statements.position_of(connection, self.events[-1])
        if last is not None:
            self.number(last - len(self.events))
        return last is not None

    def committed(self, heads: HeadCache) -> None:
        """Tell the caches what is now true."""
        if not self.is_foreseen:
            heads.put(self._decisions.heads)
        for stream_id, state in self._decisions.states.items():
            weight = self._kinds[state.kind].weight(state.state)
            self._cache.put(self.workspace_id, stream_id, state, weight)

    async def _read(self, connection: asyncpg.Connection) -> None:
        workspace_id, parts = self.workspace_id, self.parts
        self._decisions.heads = await statements.lock(connection, workspace_id, self.streams)
        # from here on every reading is a statement of its own, after the locks: no other writer can make it old
        if keys := [part.key for part in parts if isinstance(part, Execute | Change) and part.key]:
            self._decisions.answers = await statements.answers(connection, workspace_id, keys)
        if self.is_wary and (asked := list(self._dedupes())):
            self._decisions.known |= await statements.known_events(connection, workspace_id, asked, self._decisions.at)
        if missing := list(self._uncached()):
            self._decisions.states |= await statements.states(connection, workspace_id, missing, self._kinds)

    def _dedupes(self) -> Iterator[tuple[UUID, str]]:
        for part in self.parts:
            if isinstance(part, Record | Change):
                for draft in part.drafts:
                    if draft.dedupe_key is not None:
                        yield part.stream_id, draft.dedupe_key

    def _uncached(self) -> Iterator[UUID]:
        for part in self.parts:
            head = self._decisions.heads.get(part.stream_id)
            if isinstance(part, Execute) and head is not None and part.stream_id not in self._decisions.states:
                state = self._cache.get(self.workspace_id, part.stream_id, head.version)
                if state is None:
                    yield part.stream_id
                else:
                    self._decisions.states[part.stream_id] = state

    async def _write(self, connection: asyncpg.Connection) -> int:
        if self._appending is not None:
            return await statements.append(connection, self._appending)
        workspace_id = self.workspace_id
        for statement in self._decisions.statements:
            await change_rows(connection, statement)
        if self._decisions.new_answers:
            await statements.save_answers(connection, workspace_id, self._decisions.at, self._decisions.new_answers)
        if new := {stream: head for stream, head in self._decisions.heads.items() if head.is_new}:
            await statements.open_streams(connection, workspace_id, new)
        return await statements.append(connection, self._append(is_compared=False))

    def _append(self, *, is_compared: bool) -> Appending:
        moved = in_order(self._decisions.rows.keys() | {event.stream_id for event in self.events})
        return statements.appending(
            self.workspace_id,
            self._decisions.at,
            {stream: self._decisions.heads[stream] for stream in moved},
            self.events,
            self._decisions.dedupe_keys,
            self._decisions.rows,
            is_compared=is_compared,
        )

    def number(self, base: int) -> None:
        """Fill `results`, with the positions after `base`."""
        self.results = self._decisions.number(base)
