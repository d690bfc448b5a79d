"""One turn of an agent: its process, its clocks, what it sends, and how it ended."""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import structlog
from acp import RequestError

from server.agents import failures
from server.agents.clocks import DEFAULT_LIMITS, TurnClocks, TurnLimits
from server.agents.conversation import Conversation
from server.agents.mapper import TurnMapper
from server.agents.memory import Past
from server.agents.outcome import TurnOutcome, stop_reason
from server.agents.permissions import Question
from server.agents.policy import DEFAULT, Policy
from server.agents.process import Launch
from server.agents.questions import OpenQuestions, Reply
from server.agents.session import Hearer, Session
from server.agents.sink import Sink
from streams.errors import AgentFailed
from streams.event import Draft

__all__ = ["NO_PAST", "Launch", "Sink", "TurnLimits", "TurnOutcome", "run_turn"]

log = structlog.get_logger()


NO_PAST = Past()


async def run_turn(
    launch: Launch,
    prompt: str,
    sink: Sink,
    *,
    cancel: asyncio.Event,
    limits: TurnLimits = DEFAULT_LIMITS,
    past: Past = NO_PAST,
    policy: Callable[[], Policy] = lambda: DEFAULT,
    session: Session | None = None,
    between: Callable[[Session], Hearer] | None = None,
) -> TurnOutcome:
    """Run one turn and leave no process behind. Raises only what the sink raises, never for what an agent does.

    With `session` an agent that is up runs it; else one is started and given its memory of the mission: the session
    that `past` names, or else its summary. With `between` an agent that ended its turn well lives on, is the outcome's
    `session`, and speaks to what `between` makes. An agent that turns out to be dead, or dies of its old session, is
    replaced.

    Setting `cancel` ends the turn by ACP's cancel sequence; what was said so far is kept. When the calling task is
    cancelled, the agent is ended too, before CancelledError goes on. `policy` tells what the agent may do unasked; it
    is looked at for each request, so that it may change during the turn.
    """
    started = time.monotonic()
    # the agent's own launch: what it was given is what must be hidden
    turn = _Turn(session.launch if session else launch, sink, cancel, limits, policy, between)
    outcome = await turn.run(prompt, past, session)
    if turn.is_stillborn:
        past = past if session is not None else Past(summary=past.summary)
        outcome = await _Turn(launch, sink, cancel, limits, policy, between).run(prompt, past, None)
    log.info(
        "agent turn ended",
        run_id=launch.run_id,
        backend=launch.backend,
        reason=outcome.reason,
        error=outcome.error,
        seconds=round(time.monotonic() - started, 3),
    )
    return outcome


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Finish the work even when the caller is cancelled meanwhile; the cancellation goes on afterwards."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


class _Asked(msgspec.Struct, frozen=True):
    params: Any
    reply: Reply


class _Ended(msgspec.Struct, frozen=True):
    status: str
    response: Any


class _Turn:
    def __init__(
        self,
        launch: Launch,
        sink: Sink,
        cancel: asyncio.Event,
        limits: TurnLimits,
        policy: Callable[[], Policy],
        between: Callable[[Session], Hearer] | None,
    ) -> None:
        self._launch = launch
        self._sink = sink
        self._cancel = cancel
        self._limits = limits
        self._between = between
        self._kept: Session | None = None
        self._mapper = TurnMapper(lambda: str(uuid.uuid4()), veil=launch.veil, policy=policy)
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._questions = OpenQuestions(
            sink, limits.question_seconds, record=self._queue.put_nowait, reject=self._rejected
        )
        self._clocks = TurnClocks(limits)
        self._has_rejection = False
        self._is_called_off = False
        self.is_stillborn = False

    async def run(self, prompt: str, past: Past, warm: Session | None) -> TurnOutcome:
        session = warm
        if session is not None:
            session.hearer = self
            self._opened(session)
        elif self._cancel.is_set():
            return TurnOutcome(text="", success=False, reason="cancelled")
        else:
            try:
                session = await Session.start(self._launch, self, self._limits)
            except AgentFailed as error:
                return TurnOutcome(text="", success=False, reason="failed", error=error.message)
        talk = asyncio.create_task(self._talk(session, prompt, None if warm else past))
        pump = asyncio.create_task(self._pump(session))
        try:
            try:
                stalled = await self._wait(talk, pump, session)
            finally:
                await _to_the_end(self._close(talk, pump, session))
            if self._questions.broken.done():
                self._questions.broken.result()
        except BaseException:
            if self._kept is not None:
                await _to_the_end(self._end(self._kept))
            raise
        error_text = stalled or self._explain(talk, session)
        is_early = session.conversation.is_loading or (warm is not None and not self._clocks.has_updates)
        is_lost = talk.cancelled() or isinstance(talk.exception(), ConnectionError)
        self.is_stillborn = is_early and is_lost and not (stalled or self._is_called_off)
        return self._outcome(talk, error_text, session.conversation)

    async def _talk(self, session: Session, prompt: str, past: Past | None) -> dict[str, Any]:
        await self._sink.sandboxed(session.process.sandbox)
        if past is not None:
            await session.open(past)
            self._opened(session)
        session.transport.begin()
        self._mapper.model = session.conversation.model
        return await session.conversation.prompt(prompt)

    def _opened(self, session: Session) -> None:
        self._mapper.usage.cost_before = session.cost
        session_id, session_at = session.conversation.session_id, session.conversation.session_at
        if session_id is not None and session_at is not None:
            self._sink.opened(session_id, session_at, session.cost)

    # what the session hears

    def stirred(self) -> None:
        self._clocks.heard()

    def update(self, update: Any) -> None:
        self._clocks.has_updates = True
        self._queue.put_nowait(update)

    async def ask(self, params: Any) -> dict[str, Any]:
        self._clocks.has_updates = True
        asked = _Asked(params, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(asked)
        return await asked.reply

    async def _wait(self, talk: asyncio.Task[dict[str, Any]], pump: asyncio.Task[None], session: Session) -> str | None:
        """Wait until the turn is over, for whatever reason; the text of it when one of our clocks ran out."""
        cancelled = asyncio.create_task(self._cancel.wait())
        stalled = asyncio.create_task(self._clocks.run_out(lambda: bool(self._questions)))
        gone = asyncio.create_task(session.process.exited())
        over: set[asyncio.Future[Any]] = {talk, pump, cancelled, self._questions.broken}
        try:
            await asyncio.wait(over | {stalled, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                # Its last words may still be in the pipe.
                await asyncio.wait(over, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            self._is_called_off = self._cancel.is_set()
            if self._is_called_off and not talk.done():
                await self._call_off(talk, gone, session.conversation)
            return stalled.result() if stalled.done() and not talk.done() else None
        finally:
            for task in (cancelled, stalled, gone):
                task.cancel()

    async def _call_off(
        self, talk: asyncio.Task[dict[str, Any]], gone: asyncio.Task[int], conversation: Conversation
    ) -> None:
        """The cancel sequence: open questions first (one agent waits for them), then the notification."""
        await self._questions.halt()
        if conversation.session_id is None:
            return
        sending = asyncio.create_task(conversation.cancel())
        await asyncio.wait({talk, gone}, timeout=self._limits.cancel_seconds, return_when=asyncio.FIRST_COMPLETED)
        sending.cancel()

    async def _pump(self, session: Session) -> None:
        """Map what arrives and record it, all that came together in one go."""
        is_ended = False
        # A question asked in the last batch is closed by a draft that comes after the end.
        while not (is_ended and self._queue.empty()):
            batch = [await self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            drafts: list[Draft] = []
            asked: list[tuple[Question, Reply]] = []
            for item in batch:
                if isinstance(item, _Asked):
                    question, opening = self._mapper.question(item.params, f"perm_{uuid.uuid4().hex}")
                    drafts += opening
                    asked.append((question, item.reply))
                elif isinstance(item, Draft):
                    drafts.append(item)
                elif isinstance(item, _Ended):
                    drafts += self._mapper.finish(item.status, item.response)
                    is_ended = True
                else:
                    drafts += self._mapper.update(item)
            if drafts:
                await self._sink.record(drafts)
            news = self._mapper.signals()
            if is_ended or any(signal.type == "usage" for signal in news):
                self._sink.used(self._mapper.usage.use(self._mapper.model), self._mapper.usage.cost)
            for signal in [] if is_ended else news:
                self._sink.signal(signal.type, signal.body)
            for question, reply in asked:
                self._questions.ask(question, reply)
            session.transport.settle()

    def _rejected(self, question: Question) -> None:
        self._has_rejection = True
        self._mapper.reject(question.tool_call_id)

    async def _close(self, talk: asyncio.Task[dict[str, Any]], pump: asyncio.Task[None], session: Session) -> None:
        """End everything, in the order that loses nothing: what the agent says while it exits still counts."""
        await self._questions.halt()
        talk.cancel()
        await asyncio.wait({talk})
        if self._between is not None and self._may_live_on(talk, session):
            self._kept = session
            session.hearer = self._between(session)
        else:
            await self._end(session)
        response = None if talk.cancelled() or talk.exception() else talk.result()
        self._queue.put_nowait(_Ended("cancelled" if self._is_called_off else "unknown", response))
        await pump
        session.cost = self._mapper.usage.cost or session.cost

    async def _end(self, session: Session) -> None:
        await session.close(exit_seconds=self._limits.exit_seconds, term_seconds=self._limits.term_seconds)

    def _may_live_on(self, talk: asyncio.Task[dict[str, Any]], session: Session) -> bool:
        """Whether the agent has ended its turn by itself and well; one that was called off may still do something."""
        is_broken = self._questions.broken.done() or self._mapper.fault is not None or self._cancel.is_set()
        return not (talk.cancelled() or talk.exception() or is_broken) and session.is_alive

    def _explain(self, talk: asyncio.Task[dict[str, Any]], session: Session) -> str | None:
        """Why the turn failed, for people; None when it did not."""
        error = asyncio.CancelledError() if talk.cancelled() else talk.exception()
        if error is None:
            return failures.reported(self._mapper.fault, self._launch) if self._mapper.fault else None
        if isinstance(error, RequestError):
            return failures.refused(error, self._launch)
        if isinstance(error, AgentFailed):
            return error.message
        fault = session.transport.fault
        return failures.broke(fault) if fault else failures.died(session.process, self._launch)

    def _outcome(
        self, talk: asyncio.Task[dict[str, Any]], error: str | None, conversation: Conversation
    ) -> TurnOutcome:
        reason = "failed"
        if self._is_called_off:
            reason, error = "cancelled", None
        elif error is None:
            reason = stop_reason(talk.result(), has_rejection=self._has_rejection)
            error = failures.STOPS.get(reason)
        return TurnOutcome(
            text=self._mapper.text,
            success=reason == "end_turn",
            reason=reason,
            error=error,
            session_id=conversation.session_id,
            session_at=conversation.session_at,
            model=conversation.model,
            usage=self._mapper.usage.tokens,
            use=self._mapper.usage.use(conversation.model),
            session=self._kept,
        )
