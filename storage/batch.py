"""One transaction of the writer: lock, decide, number, project, append. Applies many callers' parts together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from storage import statements
from storage.answers import answer_of
from storage.parts import Change, Execute, Part, Record, Result, change_rows
from storage.rules import Appended, Decision, Key, Kinds, Outcome, PartRow, Rules, Statement
from storage.statements import SavedRow, in_order
from storage.states import Head, HeadCache, StateCache, Versioned
from streams.errors import Conflict, KeyReused, NotFound
from streams.event import Draft, Event, ascii_json, cleaned

MAX_BATCH_EVENTS = 1_000

_Known = Event | int
"""An event of the log, or the place in this batch of one that is being appended."""


class _Recorded(NamedTuple):
    """What became of a record's drafts; its events have no position yet."""

    rows: Sequence[tuple[_Known, bool]]


class _Decided(NamedTuple):
    """A command's outcome, and where its events begin in the batch; they have no position yet."""

    outcome: Outcome
    start: int


class Batch:
    """The work of one transaction of one workspace. Not reused.

    `results` holds, for each of the `parts` that it took, its result or the exception that only its caller gets. After `save`, `events`
    are numbered; they are facts only once the caller has seen COMMIT succeed.

    Either `foresee`, `decide`, and `save` as a transaction of its own; or `apply` within a transaction. A dedupe key
    is taken for a new one at first: the log's own index refuses one that it has, as a UniqueViolationError of `save`.
    A batch that is `wary` looks them all up instead.
    """

    def __init__(
        self, workspace_id: UUID, parts: Sequence[Part], kinds: Kinds, cache: StateCache, *, is_wary: bool = False
    ) -> None:
        self.workspace_id = workspace_id
        self.parts = parts
        self.results: list[Result | Exception] = []
        self.events: list[Event] = []
        self.streams = {stream for part in parts for stream in part.streams(workspace_id)}
        self._kinds = kinds
        self._cache = cache
        self._is_wary = is_wary
        self._unnumbered: list[_Recorded | _Decided | Outcome | Exception] = []
        self._at = datetime.now(UTC)
        self._heads: dict[UUID, Head] = {}
        self._is_foreseen = False
        self._states: dict[UUID, Versioned] = {}
        self._rows: dict[UUID, SavedRow] = {}
        self._known: dict[tuple[UUID, str], _Known] = {}
        self._answers: dict[tuple[str, str], tuple[str, str]] = {}
        self._new_answers: dict[tuple[str, str], tuple[str, str]] = {}
        self._dedupe_keys: list[str | None] = []
        self._statements: list[Statement] = []

    async def apply(self, connection: asyncpg.Connection) -> None:
        """Run every statement but BEGIN and COMMIT: lock, decide, save."""
        await self._read(connection)
        self.decide()
        await self.save(connection)

    def foresee(self, heads: HeadCache) -> bool:
        """Whether nothing need be read or made: activity and commands without a key, on streams whose heads are known,
        and so are the states of the missions that are commanded."""
        if self._is_wary or any(
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
        self._heads, self._states = known, states
        self._is_foreseen = True
        return True

    def decide(self) -> None:
        """Find out what the parts lead to, in memory.

        Once that is MAX_BATCH_EVENTS, the parts that follow are none of this batch's any more: what a command leads to
        is known only now.
        """
        for taken, part in enumerate(self.parts, 1):
            try:
                self._unnumbered.append(_DECIDE[type(part)](self, part))
            except Exception as error:  # one caller's fault is that caller's alone
                self._unnumbered.append(error)
            if len(self.events) >= MAX_BATCH_EVENTS:
                self.parts = self.parts[:taken]
                return

    @property
    def is_doubtful(self) -> bool:
        """Whether a foreseen command was refused, or led to nothing, by a state that no comparison of heads will prove."""
        commanded = {part.stream_id for part in self.parts if isinstance(part, Execute)}
        return not commanded <= self._rows.keys()

    async def save(self, connection: asyncpg.Connection) -> None:
        """Write, and number what was written. Of a batch that was foreseen this may be repeated: it is stored once.

        SerializationError, for a foreseen one, when a stream is no longer as it was known.
        """
        self.number(await self._write(connection) if self.has_writes else 0)

    @property
    def has_writes(self) -> bool:
        return bool(self.events or self._new_answers or self._statements)

    async def is_stored(self, connection: asyncpg.Connection) -> bool:
        """Whether what the batch wrote is there, asked when the connection broke; it is numbered then."""
        if not self.events:
            if not self._new_answers:
                return False  # it has only looked at rows, and may do that again
            scope, key = next(iter(self._new_answers))
            return await statements.has_answer(connection, self.workspace_id, scope, key, self._at)
        last = await statements.position_of(connection, self.events[-1])
        if last is not None:
            self.number(last - len(self.events))
        return last is not None

    def committed(self, heads: HeadCache) -> None:
        """Tell the caches what is now true."""
        if not self._is_foreseen:
            heads.put(self._heads)
        for stream_id, state in self._states.items():
            weight = self._kinds[state.kind].weight(state.state)
            self._cache.put(self.workspace_id, stream_id, state, weight)

    # reading

    async def _read(self, connection: asyncpg.Connection) -> None:
        workspace_id, parts = self.workspace_id, self.parts
        self._heads = await statements.lock(connection, workspace_id, self.streams)
        # from here on every reading is a statement of its own, after the locks: no other writer can make it old
        if keys := [part.key for part in parts if isinstance(part, Execute | Change) and part.key]:
            self._answers = await statements.answers(connection, workspace_id, keys)
        if self._is_wary and (asked := list(self._dedupes())):
            self._known |= await statements.known_events(connection, workspace_id, asked, self._at)
        if missing := list(self._uncached()):
            self._states |= await statements.states(connection, workspace_id, missing, self._kinds)

    def _dedupes(self) -> Iterator[tuple[UUID, str]]:
        for part in self.parts:
            if isinstance(part, Record | Change):
                for draft in part.drafts:
                    if draft.dedupe_key is not None:
                        yield part.stream_id, draft.dedupe_key

    def _uncached(self) -> Iterator[UUID]:
        for part in self.parts:
            head = self._heads.get(part.stream_id)
            if isinstance(part, Execute) and head is not None and part.stream_id not in self._states:
                state = self._cache.get(self.workspace_id, part.stream_id, head.version)
                if state is None:
                    yield part.stream_id
                else:
                    self._states[part.stream_id] = state

    # deciding

    def _record(self, part: Record) -> _Recorded:
        head = self._heads.get(part.stream_id)
        if head is None or head.closed:
            raise NotFound(f"Mission {part.stream_id} not found")
        self._refuse_other_content(part)
        rows: list[tuple[_Known, bool]] = []
        for draft in part.drafts:
            known = self._known.get((part.stream_id, draft.dedupe_key)) if draft.dedupe_key else None
            if known is None:
                rows.append((len(self.events), True))
                self._add(self._event(part.stream_id, head, draft, head.head + 1), head, draft)
            else:
                rows.append((known, False))
        return _Recorded(rows)

    def _refuse_other_content(self, part: Record) -> None:
        """Before anything of the record is added: all of it is stored, or nothing."""
        asked: dict[str, Event | Draft] = {}
        for draft in part.drafts:
            if draft.dedupe_key is not None:
                known = self._known.get((part.stream_id, draft.dedupe_key))
                first = self._stored(known) if known is not None else asked.setdefault(draft.dedupe_key, draft)
                if first is not draft and not _is_same(first, draft):
                    raise KeyReused(f"event_id {draft.event_id or draft.dedupe_key} is known with other content")

    def _stored(self, known: _Known) -> Event:
        return self.events[known] if isinstance(known, int) else known

    def _replayed(self, key: Key | None) -> Outcome | None:
        """The first outcome of a key that is known; KeyReused when it stood for something else."""
        first = None if key is None else answer_of(self._answers, key)
        return None if first is None else Outcome(first, replayed=True)

    def _answered(self, key: Key | None, answer: str) -> None:
        if key is not None:
            entry = (key.fingerprint, answer)
            self._answers[key.scope, key.key] = entry
            self._new_answers[key.scope, key.key] = entry

    def _change(self, part: Change) -> _Decided | Outcome:
        if (first := self._replayed(part.key)) is not None:
            return first
        answer = ascii_json(part.answer).decode()  # before anything changes, since it may raise
        start = len(self.events)
        self._record(Record(stream_id=part.stream_id, drafts=part.drafts))
        self._statements += part.statements
        self._answered(part.key, answer)
        return _Decided(Outcome(answer, tuple(self.events[start:])), start)

    def _execute(self, part: Execute) -> _Decided | Outcome:
        if (first := self._replayed(part.key)) is not None:
            return first
        rules = self._kinds[part.kind]
        before, head = self._before(part)
        decision = rules.decide(before, part.command)
        if part.drafts:
            decision = decision._replace(drafts=(*decision.drafts, *part.drafts))
        state, events = self._evolved(part, rules, before, head, decision)
        answer = ascii_json(part.answer(state)).decode()
        row = rules.row(state)
        document, parts = _divided(rules, before, state)
        # Nothing above changed the batch, nothing below raises.
        if head.is_new:
            head.crew_id, head.team_id = row.crew_id, row.team_id
            self._heads[part.stream_id] = head
            _reach([event for event in events if event.stream_id == part.stream_id], head)
        for event, draft in zip(events, decision.drafts, strict=True):
            self._add(event, self._heads[event.stream_id], draft)
            if event.type in rules.state_events and event.stream_id == part.stream_id:
                head.version = event.sequence
        start = len(self.events) - len(events)
        head.closed = decision.deletes
        if decision.drafts:
            self._states[part.stream_id] = Versioned(part.kind, head.version, state)
            earlier = self._rows.get(part.stream_id)
            self._rows[part.stream_id] = SavedRow(
                part.kind,
                row,
                head.version,
                document,
                parts if earlier is None else {**earlier.parts, **parts},
                self._at if decision.deletes else None,
            )
        self._statements += part.statements
        self._answered(part.key, answer)
        return _Decided(Outcome(answer, tuple(events), state), start)

    def _before(self, part: Execute) -> tuple[Any, Head]:
        head = self._heads.get(part.stream_id)
        if part.command.creates:
            if head is not None:
                raise Conflict(f"mission {part.stream_id} exists already")
            return None, Head(head=0, version=0, closed=False, counts={}, is_new=True)
        known = self._states.get(part.stream_id)
        if head is None or head.closed or known is None or known.kind != part.kind:
            raise NotFound(f"Mission {part.stream_id} not found")
        return known.state, head

    def _evolved(
        self, part: Execute, rules: Rules, state: Any, head: Head, decision: Decision
    ) -> tuple[Any, list[Event]]:
        events: list[Event] = []
        folded: list[Event] = []
        added = {part.stream_id: 0, self.workspace_id: 0}
        for draft in map(cleaned, decision.drafts):
            stream_id = self.workspace_id if draft.to_workspace else part.stream_id
            at = self._heads[stream_id] if draft.to_workspace else head
            added[stream_id] += 1
            event = self._event(stream_id, at, draft, at.head + added[stream_id])
            events.append(event)
            if draft.type in rules.state_events and not draft.to_workspace:
                folded.append(event)
        return rules.evolve_all(state, folded), events

    def _event(self, stream_id: UUID, head: Head, draft: Draft, sequence: int) -> Event:
        return Event(
            workspace_id=self.workspace_id,
            position=0,  # known only when the workspace's head is
            stream_id=stream_id,
            sequence=sequence,
            type=draft.type,
            at=self._at,
            actor=draft.actor,
            crew_id=head.crew_id,
            team_id=head.team_id,
            event_id=draft.event_id,
            tool_call_id=draft.tool_call_id,
            tool_name=draft.tool_name,
            content=draft.content,
            metadata=_json(draft),
        )

    def _add(self, event: Event, head: Head, draft: Draft) -> None:
        head.head = event.sequence
        head.counts[event.type] = head.counts.get(event.type, 0) + 1
        if draft.dedupe_key is not None:
            self._known[event.stream_id, draft.dedupe_key] = len(self.events)
        self.events.append(event)
        self._dedupe_keys.append(draft.dedupe_key)

    # writing

    async def _write(self, connection: asyncpg.Connection) -> int:
        workspace_id = self.workspace_id
        for statement in self._statements:
            await change_rows(connection, statement)
        if self._new_answers:
            await statements.save_answers(connection, workspace_id, self._at, self._new_answers)
        if new := {stream: head for stream, head in self._heads.items() if head.is_new}:
            await statements.open_streams(connection, workspace_id, new)
        moved = in_order(self._rows.keys() | {event.stream_id for event in self.events})
        return await statements.append(
            connection,
            workspace_id,
            self._at,
            {stream: self._heads[stream] for stream in moved},
            self.events,
            self._dedupe_keys,
            self._rows,
            is_compared=self._is_foreseen,
        )

    def number(self, base: int) -> None:
        """Fill `results`, with the positions after `base`."""
        for position, event in enumerate(self.events, base + 1):
            msgspec.structs.force_setattr(event, "position", position)  # nobody has seen it yet
        self.results = [self._numbered(result) for result in self._unnumbered]

    def _numbered(self, result: _Recorded | _Decided | Outcome | Exception) -> Result | Exception:
        if isinstance(result, _Recorded):
            rows = [(self._stored(known), is_fresh) for known, is_fresh in result.rows]
            return [Appended(event.sequence, event.position, is_fresh) for event, is_fresh in rows]
        if isinstance(result, _Decided):
            outcome, start = result
            return outcome._replace(events=tuple(self.events[start : start + len(outcome.events)]))
        return result


_DECIDE: dict[type[Part], Callable[[Batch, Any], _Recorded | _Decided | Outcome]] = {
    Record: Batch._record,
    Execute: Batch._execute,
    Change: Batch._change,
}


def _divided(rules: Rules, before: Any, after: Any) -> tuple[Any, Mapping[UUID, tuple[PartRow, Any]]]:
    """The document of a state, and those of its parts that are not what they were."""
    document, parts = rules.split(after)
    if not parts:
        return document, {}
    old = {} if before is None else rules.split(before)[1]
    if old is parts:
        return document, {}
    changed = (part_id for part_id, part in parts.items() if old.get(part_id) is not part)
    return document, {part_id: (rules.part_row(parts[part_id]), parts[part_id]) for part_id in changed}


def _reach(events: Sequence[Event], head: Head) -> None:
    """Let the first events of a stream reach the channels that only their own folding has named."""
    for event in events:
        msgspec.structs.force_setattr(event, "crew_id", head.crew_id)  # nobody has seen it yet
        msgspec.structs.force_setattr(event, "team_id", head.team_id)


def _json(draft: Draft) -> str:
    return ascii_json(draft.metadata).decode() if draft.metadata else "{}"


def _is_same(first: Event | Draft, draft: Draft) -> bool:
    """Whether a draft says what the first one with its dedupe key said."""
    metadata = first.metadata if isinstance(first, Event) else _json(first)
    return metadata == _json(draft) and all(
        getattr(first, name) == getattr(draft, name) for name in ("type", "content", "tool_call_id", "tool_name")
    )
