"""What the parts of a batch lead to, decided on the heads and states that it was given, in memory: no I/O."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from storage.answers import answer_of
from storage.parts import Change, Execute, Part, Record, Result
from storage.rules import Appended, Decision, Key, Kinds, Outcome, PartRow, Rules, Statement
from storage.statements import SavedRow
from storage.states import Head, Versioned
from streams.errors import Conflict, KeyReused, NotFound
from streams.event import Draft, Event, ascii_json, cleaned

_Known = Event | int
"""An event of the log, or the place in this batch of one that is being appended."""


class _Recorded(NamedTuple):
    """What became of a record's drafts; its events have no position yet."""

    rows: Sequence[tuple[_Known, bool]]


class _Decided(NamedTuple):
    """A command's outcome, and where its events begin in the batch; they have no position yet."""

    outcome: Outcome
    start: int


class Decisions:
    """The decisions of one batch, part after part: each sees what those before it led to.

    `heads`, `states`, `known` events by stream and dedupe key, and first `answers` by scope and key are what the batch
    knows; heads and states move on. The rest is what has to be written.
    """

    def __init__(self, workspace_id: UUID, kinds: Kinds) -> None:
        self.workspace_id = workspace_id
        self.at = datetime.now(UTC)
        self.heads: dict[UUID, Head] = {}
        self.states: dict[UUID, Versioned] = {}
        self.known: dict[tuple[UUID, str], _Known] = {}
        self.answers: dict[tuple[str, str], tuple[str, str]] = {}
        self.events: list[Event] = []
        self.dedupe_keys: list[str | None] = []
        self.rows: dict[UUID, SavedRow] = {}
        self.new_answers: dict[tuple[str, str], tuple[str, str]] = {}
        self.statements: list[Statement] = []
        self._kinds = kinds
        self._unnumbered: list[_Recorded | _Decided | Outcome | Exception] = []

    def take(self, part: Part) -> None:
        """Decide a part. What it raises is its result."""
        try:
            self._unnumbered.append(_DECIDE[type(part)](self, part))
        except Exception as error:  # one caller's fault is that caller's alone
            self._unnumbered.append(error)

    def _record(self, part: Record) -> _Recorded:
        head = self.heads.get(part.stream_id)
        if head is None or head.closed:
            raise NotFound(f"Mission {part.stream_id} not found")
        self._refuse_other_content(part)
        rows: list[tuple[_Known, bool]] = []
        for draft in part.drafts:
            known = self.known.get((part.stream_id, draft.dedupe_key)) if draft.dedupe_key else None
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
                known = self.known.get((part.stream_id, draft.dedupe_key))
                first = self._stored(known) if known is not None else asked.setdefault(draft.dedupe_key, draft)
                if first is not draft and not _is_same(first, draft):
                    raise KeyReused(f"event_id {draft.event_id or draft.dedupe_key} is known with other content")

    def _stored(self, known: _Known) -> Event:
        return self.events[known] if isinstance(known, int) else known

    def _replayed(self, key: Key | None) -> Outcome | None:
        """The first outcome of a key that is known; KeyReused when it stood for something else."""
        first = None if key is None else answer_of(self.answers, key)
        return None if first is None else Outcome(first, replayed=True)

    def _answered(self, key: Key | None, answer: str) -> None:
        if key is not None:
            entry = (key.fingerprint, answer)
            self.answers[key.scope, key.key] = entry
            self.new_answers[key.scope, key.key] = entry

    def _change(self, part: Change) -> _Decided | Outcome:
        if (first := self._replayed(part.key)) is not None:
            return first
        answer = ascii_json(part.answer).decode()  # before anything changes, since it may raise
        start = len(self.events)
        self._record(Record(stream_id=part.stream_id, drafts=part.drafts))
        self.statements += part.statements
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
            self.heads[part.stream_id] = head
            _reach([event for event in events if event.stream_id == part.stream_id], head)
        for event, draft in zip(events, decision.drafts, strict=True):
            self._add(event, self.heads[event.stream_id], draft)
            if event.type in rules.state_events and event.stream_id == part.stream_id:
                head.version = event.sequence
        start = len(self.events) - len(events)
        head.closed = decision.deletes
        if decision.drafts:
            self.states[part.stream_id] = Versioned(part.kind, head.version, state)
            earlier = self.rows.get(part.stream_id)
            self.rows[part.stream_id] = SavedRow(
                part.kind,
                row,
                head.version,
                document,
                parts if earlier is None else {**earlier.parts, **parts},
                self.at if decision.deletes else None,
            )
        self.statements += part.statements
        self._answered(part.key, answer)
        return _Decided(Outcome(answer, tuple(events), state), start)

    def _before(self, part: Execute) -> tuple[Any, Head]:
        head = self.heads.get(part.stream_id)
        if part.command.creates:
            if head is not None:
                raise Conflict(f"mission {part.stream_id} exists already")
            return None, Head(head=0, version=0, closed=False, counts={}, is_new=True)
        known = self.states.get(part.stream_id)
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
            at = self.heads[stream_id] if draft.to_workspace else head
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
            at=self.at,
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
            self.known[event.stream_id, draft.dedupe_key] = len(self.events)
        self.events.append(event)
        self.dedupe_keys.append(draft.dedupe_key)

    def number(self, base: int) -> list[Result | Exception]:
        """Give the events the positions after `base`; the results of the parts that were taken."""
        for position, event in enumerate(self.events, base + 1):
            msgspec.structs.force_setattr(event, "position", position)  # nobody has seen it yet
        return [self._numbered(result) for result in self._unnumbered]

    def _numbered(self, result: _Recorded | _Decided | Outcome | Exception) -> Result | Exception:
        if isinstance(result, _Recorded):
            rows = [(self._stored(known), is_fresh) for known, is_fresh in result.rows]
            return [Appended(event.sequence, event.position, is_fresh) for event, is_fresh in rows]
        if isinstance(result, _Decided):
            outcome, start = result
            return outcome._replace(events=tuple(self.events[start : start + len(outcome.events)]))
        return result


_DECIDE: dict[type[Part], Callable[[Decisions, Any], _Recorded | _Decided | Outcome]] = {
    Record: Decisions._record,
    Execute: Decisions._execute,
    Change: Decisions._change,
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
