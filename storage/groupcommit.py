"""The one writer of a workspace in this process: many callers' appends become one transaction after another."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple
from uuid import UUID

import asyncpg
import structlog

from storage.batch import MAX_BATCH_EVENTS, Batch
from storage.commit import Committer
from storage.parts import Part, Refused, Result
from storage.pool import FAILURES, Database, is_lost, is_passing
from storage.rules import Kinds
from storage.states import StateCache
from streams.errors import MissionstreamError, OutcomeUnknown, Unavailable
from streams.event import Event

MAX_BATCH_BYTES = 4 << 20
MAX_QUEUE_BYTES = 16 << 20
AHEAD = 16
"""So many waiting parts are decided while the batch before them is being stored; fewer wait for more."""
WORTH_BEGINNING, WORTH_GOING_ON = 5.0, 8.0
"""They are, while storing a batch takes at most this many times as long as deciding it: where it is the commit itself that
takes long, few large batches are quicker. Halves look dearer than the whole, hence two figures."""
_DOUBTS = 8
"""So many batches in a row have to speak against what is done."""
_WATCH_SECONDS = 0.1

Publish = Callable[[UUID, Sequence[Event]], None]
log = structlog.get_logger()


class _Waiting(NamedTuple):
    part: Part
    events: int
    bytes: int
    done: "asyncio.Future[Result]"
    patience_ends: float
    """When its caller is told that the outcome is unknown; the loop's clock."""


class _Work(NamedTuple):
    waiting: list[_Waiting]
    batch: Batch
    deciding_seconds: float = 0.0
    """How long it took to foresee it."""


class Writer:
    """The only code that appends to one workspace. Nothing is published, and nobody answered, before COMMIT."""

    def __init__(
        self, workspace_id: UUID, database: Database, kinds: Kinds, cache: StateCache, publish: Publish
    ) -> None:
        self._workspace_id = workspace_id
        self._kinds = kinds
        self._cache = cache
        self._committer = Committer(workspace_id, database)
        self._publish = publish
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._committing: list[_Waiting] = []
        self._ahead: _Work | None = None
        """What is decided already, and counts on what is being stored."""
        self._storing: Batch | None = None
        self._is_worth_ahead = True
        self._doubts = 0
        self._task: asyncio.Task[None] | None = None
        self._watching: asyncio.TimerHandle | None = None
        self.on_batch: Callable[[int, float], None] = lambda events, seconds: None

    def submit(
        self, part: Part, *, events: int, size: int, patience_seconds: float = math.inf
    ) -> "asyncio.Future[Result]":
        """Queue a part. Its future ends with the outcome, or with OutcomeUnknown when that takes too long.

        Who awaits it may be cancelled: that cancels the waiting, never the append. Raises Unavailable when the queue would hold
        more than MAX_QUEUE_BYTES; an empty queue takes whatever comes.
        """
        if self._queue and self._queued_bytes + size > MAX_QUEUE_BYTES:
            raise Unavailable("too much is waiting to be written to this workspace; repeat in a second")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        self._queue.append(_Waiting(part, events, size, done, loop.time() + patience_seconds))
        self._queued_bytes += size
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"writer {self._workspace_id}")
            if self._watching is None:
                self._watching = loop.call_later(_WATCH_SECONDS, self._watch)
        elif len(self._queue) == AHEAD:
            loop.call_soon(self._look_ahead)  # after those who speak at the same time
        return done

    def _watch(self) -> None:
        """Tell those whose patience has ended; one timer for all of them, while there is work."""
        self._watching = None
        if self.is_idle:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        for waiter in self._unsettled():
            if waiter.patience_ends <= now and not waiter.done.done():
                _settle(waiter, OutcomeUnknown())
        self._watching = loop.call_later(_WATCH_SECONDS, self._watch)

    @property
    def is_idle(self) -> bool:
        return self._task is None or self._task.done()

    async def drain(self, seconds: float) -> None:
        """Wait until everything queued has its outcome; after `seconds` those who still wait get OutcomeUnknown."""
        if self._task is None:
            return
        _, unfinished = await asyncio.wait({self._task}, timeout=seconds)
        if unfinished:
            log.warning("writer.cut_short", workspace_id=str(self._workspace_id))
            self._task.cancel()
            await asyncio.wait({self._task})
            _fail(self._unsettled(), OutcomeUnknown(), TimeoutError())

    def _unsettled(self) -> list[_Waiting]:
        return [*self._committing, *(self._ahead.waiting if self._ahead else ()), *self._queue]

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._ahead or self._queue:
            work, self._ahead = self._ahead or self._next(), None
            self._committing = work.waiting
            if len(self._queue) >= AHEAD:
                loop.call_soon(self._look_ahead)
            try:
                await self._commit(work)
            except Exception as error:  # a defect; its callers must not wait for ever
                log.exception("writer.failed", workspace_id=str(self._workspace_id))
                _fail(work.waiting, MissionstreamError("the append failed; the server's log tells why"), error)
        self._committing, self._storing = [], None

    def _next(self) -> _Work:
        """The next batch: all that waits, or half of many, so that one half is decided while the other is stored."""
        count = len(self._queue)
        if work := self._foreseen(count // 2 if self._is_worth_ahead and count >= 2 * AHEAD else count):
            return work
        waiting = self._take(count)
        return _Work(waiting, self._batch(waiting))

    def _look_ahead(self) -> None:
        """Decide what waits, counting on what is being stored, if that was foreseen itself."""
        if (
            self._is_worth_ahead
            and self._ahead is None
            and self._storing
            and self._storing.is_foreseen
            and len(self._queue) >= AHEAD
        ):
            self._ahead = self._foreseen(len(self._queue))

    def _weigh(self, storing_per_deciding: float) -> None:
        """Learn of one batch whether to decide ahead."""
        most = WORTH_GOING_ON if self._is_worth_ahead else WORTH_BEGINNING
        self._doubts = 0 if (storing_per_deciding <= most) == self._is_worth_ahead else self._doubts + 1
        if self._doubts == _DOUBTS:
            self._is_worth_ahead, self._doubts = not self._is_worth_ahead, 0

    async def _store(self, batch: Batch) -> bool:
        """As its committer says. What counted on a batch that was not stored as it was foreseen waits on, undecided."""
        is_stored = False
        try:
            is_stored = await self._committer.store(batch)
        finally:
            if not is_stored and self._ahead:
                self._committer.heads.forget(self._ahead.batch.streams)
                self._put_back(self._ahead.waiting)
                self._ahead = None
        return is_stored

    def _foreseen(self, most: int) -> _Work | None:
        """The next batch of up to `most` parts, decided; None, and they wait on, when something has to be read for it."""
        began = perf_counter()
        waiting = self._take(most)
        batch = self._batch(waiting)
        taken = len(batch.parts) if self._committer.foresee(batch) else 0
        self._put_back(waiting[taken:])
        return _Work(waiting[:taken], batch, perf_counter() - began) if taken else None

    def _batch(self, waiting: list[_Waiting], *, is_wary: bool = False) -> Batch:
        return Batch(self._workspace_id, [w.part for w in waiting], self._kinds, self._cache, is_wary=is_wary)

    def _take(self, most: int) -> list[_Waiting]:
        batch: list[_Waiting] = []
        events = size = 0
        while self._queue and len(batch) < most:
            head = self._queue[0]
            if batch and (events + head.events > MAX_BATCH_EVENTS or size + head.bytes > MAX_BATCH_BYTES):
                break
            batch.append(self._queue.popleft())
            events += head.events
            size += head.bytes
            self._queued_bytes -= head.bytes
        return batch

    async def _commit(self, work: _Work) -> None:
        waiting, batch, deciding_seconds = work
        self._storing = batch
        started = perf_counter()
        try:
            is_stored = await self._store(batch)
        except FAILURES as error:
            if is_lost(error):
                _fail(waiting, Unavailable("the database cannot be reached; nothing was stored, repeat later"), error)
            elif isinstance(error, asyncpg.UniqueViolationError) and not batch.is_wary:
                # a dedupe key that is known, or an answer of which another process was quicker: both are there now
                await self._commit(_Work(waiting, self._batch(waiting, is_wary=True)))
            else:
                await self._one_by_one(waiting, error)
            return
        except Refused as refused:
            await self._one_by_one(waiting, refused)
            return
        if not is_stored:
            await self._commit(_Work(waiting, self._batch(waiting, is_wary=batch.is_wary)))
            return
        seconds = perf_counter() - started
        if deciding_seconds and len(waiting) >= AHEAD:
            self._weigh(seconds / deciding_seconds)
        batch.committed(self._committer.heads)
        taken = len(batch.parts)
        self._put_back(waiting[taken:])
        # the next batch is sent first: the database works on it while this one is told
        asyncio.get_running_loop().call_soon(self._finish, waiting[:taken], batch, seconds)

    def _finish(self, waiting: list[_Waiting], batch: Batch, seconds: float) -> None:
        """Publish what is stored, and answer."""
        try:
            if batch.events:
                self._tell(batch.events, seconds)
            for waiter, result in zip(waiting, batch.results, strict=True):
                _settle(waiter, result)
        except Exception as error:  # a defect; nobody else would answer them
            log.exception("writer.failed", workspace_id=str(self._workspace_id))
            _fail(waiting, OutcomeUnknown(), error)

    def _put_back(self, waiting: Sequence[_Waiting]) -> None:
        self._queue.extendleft(reversed(waiting))
        self._queued_bytes += sum(waiter.bytes for waiter in waiting)

    def _tell(self, events: Sequence[Event], seconds: float) -> None:
        try:
            self._publish(self._workspace_id, events)
            self.on_batch(len(events), seconds)
        except Exception:  # they are stored: nothing that happens now may be told as a failure of the append
            log.exception("writer.publish_failed", workspace_id=str(self._workspace_id))

    async def _one_by_one(self, waiting: list[_Waiting], error: BaseException) -> None:
        if len(waiting) > 1:
            for waiter in waiting:
                await self._commit(_Work([waiter], self._batch([waiter])))
            return
        if isinstance(error, Refused):
            _settle(waiting[0], error.meaning)
            return
        log.warning("writer.refused", workspace_id=str(self._workspace_id), error=repr(error))
        _fail(waiting, _meaning(error), error)


def _settle(waiter: _Waiting, result: Result | Exception) -> None:
    if waiter.done.done():
        return
    if isinstance(result, StopIteration):  # which no future takes
        result = RuntimeError(repr(result))
    if isinstance(result, Exception):
        if not isinstance(result, MissionstreamError):
            log.error("writer.part_failed", exc_info=result)
        waiter.done.set_exception(result)
        waiter.done.exception()  # the caller may be gone; nobody has to hear of it then
    else:
        waiter.done.set_result(result)


def _fail(waiting: list[_Waiting], meaning: MissionstreamError, error: BaseException) -> None:
    for waiter in waiting:
        failure = type(meaning)(meaning.message)
        failure.__cause__ = error
        _settle(waiter, failure)


def _meaning(error: BaseException) -> MissionstreamError:
    if isinstance(error, asyncpg.InsufficientResourcesError | asyncpg.PostgresSystemError):
        return Unavailable("the database is out of resources; nothing was stored, see its log")
    if is_passing(error):
        return Unavailable("the database cannot do this right now; nothing was stored, repeat later")
    return MissionstreamError("the database refused the append; the server's log tells why")
