"""The permission requests of one turn while they wait for people."""

import asyncio
from collections.abc import Callable
from typing import Any

from server.agents import permissions
from server.agents.permissions import Option, Question
from server.agents.sink import Sink
from streams.event import Draft

Reply = asyncio.Future[dict[str, Any]]


class OpenQuestions:
    """Asks the sink for answers and replies to the agent, which gets a reply in any case.

    `record` takes the result of a question that nobody answered, `reject` hears of every "no". After `halt` every
    question, open or new, is answered "cancelled". `broken` gets the sink's error should asking it fail.
    """

    def __init__(
        self,
        sink: Sink,
        seconds: float,
        *,
        record: Callable[[Draft], None],
        reject: Callable[[Question], None],
    ) -> None:
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sink = sink
        self._seconds = seconds
        self._record = record
        self._reject = reject
        self._halted = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def ask(self, question: Question, reply: Reply) -> None:
        """Wait for the answer to a question that has been recorded, and pass it on; at once where it is granted."""
        if question.granted is not None:
            _resolve(reply, permissions.outcome(question.granted))
            return
        if self._halted.is_set():
            self._call_off(question, reply)
            return
        self._sink.signal("status", {"state": "waiting_for_tool"})
        task = asyncio.create_task(self._answer(question, reply))
        self._tasks.add(task)
        task.add_done_callback(self._answered)

    async def halt(self) -> None:
        """Nobody is asked any more; returns when every open question has its reply."""
        self._halted.set()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _answer(self, question: Question, reply: Reply) -> None:
        answer = asyncio.ensure_future(self._sink.answer(question.id))
        halted = asyncio.create_task(self._halted.wait())
        try:
            await asyncio.wait({answer, halted}, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                self._decide(question, reply, permissions.choose(question.options, answer.result()))
            elif halted.done():
                self._call_off(question, reply)
            else:
                text = f"Rejected: nobody answered within {self._seconds:g} s"
                self._record(question.closing("timed_out", text))
                self._decide(question, reply, permissions.rejection(question.options))
        finally:
            halted.cancel()
            answer.cancel()

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None and not self.broken.done():
            self.broken.set_exception(error)
        if not self._tasks and not self._halted.is_set():
            self._sink.signal("status", {"state": "running"})

    def _decide(self, question: Question, reply: Reply, option: Option | None) -> None:
        if not permissions.is_allowing(option):
            self._reject(question)
        _resolve(reply, permissions.outcome(option))

    def _call_off(self, question: Question, reply: Reply) -> None:
        self._record(question.closing("cancelled", "Cancelled"))
        _resolve(reply, permissions.CANCELLED)


def _resolve(reply: Reply, value: dict[str, Any]) -> None:
    if not reply.done():
        reply.set_result(value)
