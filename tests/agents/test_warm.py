"""Agents between turns: kept, taken again, ended in time, replaced when they died, and heard."""

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec import structs

from server.agents.between import Between
from server.agents.memory import Past
from server.agents.process import Launch
from server.agents.session import Session
from server.agents.turn import TurnLimits, TurnOutcome, run_turn
from server.agents.warm import WarmAgents
from tests.agents.conftest import RecordingSink

MISSION = uuid.UUID(int=1)
LIMITS = TurnLimits(cancel_seconds=2, exit_seconds=0.5, term_seconds=0.3)


class Missions:
    """Turns on missions whose agents are kept, as the server runs them."""

    def __init__(self, sink: RecordingSink) -> None:
        self.sink = sink
        self.idle_seconds = 30.0
        self.most = 4
        self.past = Past()

    def made(self) -> WarmAgents:
        return WarmAgents(idle_seconds=self.idle_seconds, most=lambda: self.most)

    async def turn(
        self, warm: WarmAgents, launch: Launch, prompt: str, *, mission: uuid.UUID = MISSION,
        cancel: asyncio.Event | None = None,
    ) -> TurnOutcome:  # fmt: skip
        outcome = await run_turn(
            launch, prompt, self.sink, cancel=cancel or asyncio.Event(), limits=LIMITS, past=self.past,
            session=await warm.take(mission, launch),
            between=lambda session: Between(session, self.sink.record),
        )  # fmt: skip
        if outcome.session_id is not None:
            self.past = Past(session_id=outcome.session_id, session_at=outcome.session_at, summary="Context")
        if outcome.session is not None:
            warm.put(mission, outcome.session)
        return outcome


@pytest.fixture
def missions(sink: RecordingSink) -> Missions:
    return Missions(sink)


@pytest.fixture
async def warm(missions: Missions) -> AsyncIterator[WarmAgents]:
    made = missions.made()
    yield made
    await made.close()


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_true():
            await asyncio.sleep(0.02)


def session_of(outcome: TurnOutcome) -> Session:
    assert outcome.session is not None
    return outcome.session


async def test_the_next_turn_has_the_same_process_and_its_memory(missions, warm, demo, living):
    first = await missions.turn(warm, demo, "recall")
    second = await missions.turn(warm, structs.replace(demo, run_id="another run"), "recall")
    assert session_of(second).process.pid == session_of(first).process.pid
    assert (second.text, second.session_id) == ("I remember 2 messages, this one included.", first.session_id)
    await warm.close()
    assert living() == []


async def test_an_idle_agent_is_ended_in_time_and_comes_back_with_its_memory(missions, demo, living):
    missions.idle_seconds = 0.2
    warm = missions.made()
    first = await missions.turn(warm, demo, "recall")
    await living.until(lambda pids: pids == [])
    assert len(warm) == 0
    second = await missions.turn(warm, demo, "recall")
    assert session_of(second).process.pid != session_of(first).process.pid
    assert second.text == "I remember 2 messages, this one included."
    await warm.close()


async def test_of_too_many_the_one_that_rests_longest_is_ended(missions, demo, tmp_path):
    missions.most = 2
    warm = missions.made()
    outcomes = []
    for number in (1, 2, 3):
        missions.past = Past()
        launch = structs.replace(demo, home=tmp_path / f"home{number}", run_id=str(uuid.uuid4()))
        outcomes.append(await missions.turn(warm, launch, "say hello", mission=uuid.UUID(int=number)))
    await session_of(outcomes[0]).process.exited()
    assert [session_of(outcome).is_alive for outcome in outcomes] == [False, True, True]
    await warm.close()
    assert not any(session_of(outcome).is_alive for outcome in outcomes)


async def test_an_agent_killed_while_idle_is_replaced_silently(missions, warm, demo):
    first = await missions.turn(warm, demo, "recall")
    os.killpg(session_of(first).process.pid, signal.SIGKILL)
    second = await missions.turn(warm, demo, "recall")
    assert (second.success, second.text) == (True, "I remember 2 messages, this one included.")
    os.killpg(session_of(second).process.pid, signal.SIGKILL)
    await until(lambda: len(warm) == 0)


async def test_an_agent_that_dies_as_the_turn_begins_is_replaced_silently(missions, warm, demo):
    first = await missions.turn(warm, demo, "recall")
    session = await warm.take(MISSION, demo)
    assert session is session_of(first)
    os.killpg(session.process.pid, signal.SIGKILL)
    second = await run_turn(
        demo, "recall", missions.sink, cancel=asyncio.Event(), limits=LIMITS, past=missions.past, session=session
    )
    assert (second.success, second.text) == (True, "I remember 2 messages, this one included.")
    assert second.session is None


async def test_an_agent_that_was_started_otherwise_is_not_taken(missions, warm, demo):
    first = await missions.turn(warm, demo, "recall")
    other = structs.replace(demo, model="another")
    second = await missions.turn(warm, other, "recall")
    assert session_of(second).process.pid != session_of(first).process.pid
    assert not session_of(first).is_alive
    assert second.text == "I remember 2 messages, this one included."


async def test_an_agent_whose_turn_was_called_off_or_failed_does_not_live_on(missions, warm, demo, sink, living):
    cancel = asyncio.Event()
    running = asyncio.create_task(missions.turn(warm, demo, "say begun\nsleep 30", cancel=cancel))
    await sink.until(lambda sink: bool(sink.bodies("text_delta")))
    cancel.set()
    assert (await running).session is None
    assert (await missions.turn(warm, demo, "fail no")).session is None
    assert len(warm) == 0
    assert living() == []


async def test_a_turn_cut_off_by_its_caller_leaves_no_agent(missions, warm, demo, sink, living):
    await missions.turn(warm, demo, "say hello")
    running = asyncio.create_task(missions.turn(warm, demo, "say begun\nsleep 30"))
    await sink.until(lambda sink: sink.signals[-1:] == [("text_delta", {"content": "begun"})])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert living() == []


_TALKER = """
while (prompt := until_prompt()) is not None:
    text("answer")
    send(id=prompt, result={"stopReason": "end_turn"})
    while not os.path.exists("over"):
        time.sleep(0.01)
    update("agent_thought_chunk", content={"type": "text", "text": "by the way"})
    text("it is ")
    text("done")
    send(id=77, method="session/request_permission", params={"sessionId": "s", "toolCall": {"toolCallId": "t"},
         "options": [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}]})
    reply = next(requests())
    update("session_info_update", title=reply["result"]["outcome"]["outcome"])
"""


async def test_what_an_agent_says_between_turns_is_recorded_outside_of_them(missions, warm, sink, scripted):
    launch = scripted(_TALKER)
    assert (await missions.turn(warm, launch, "go")).text == "answer"
    (launch.space / "over").touch()
    await sink.until(lambda sink: bool(sink.of("assistant_message")))
    assert [draft.content for draft in sink.of("thinking")] == ["by the way"]
    assert [draft.content for draft in sink.of("assistant_message")] == ["it is done"]
    assert "cancelled" in str(sink.of("agent_event"))
    assert sink.of("tool_call") == []


class Counting(Between):
    """Counts what it hears."""

    heard = 0

    def update(self, update):
        super().update(update)
        self.heard += 1


async def test_late_words_are_recorded_before_the_next_turn_begins(warm, sink, scripted):
    launch = scripted("""
        prompt = until_prompt()
        text("answer")
        send(id=prompt, result={"stopReason": "end_turn"})
        while not os.path.exists("over"):
            time.sleep(0.01)
        text("one thing more")
        next(requests())
        """)
    outcome = await run_turn(
        launch,
        "go",
        sink,
        cancel=asyncio.Event(),
        limits=LIMITS,
        between=lambda session: Counting(session, sink.record),
    )
    warm.put(MISSION, session_of(outcome))
    (launch.space / "over").touch()
    await until(lambda: session_of(outcome).hearer.heard == 1)
    assert sink.of("assistant_message") == []
    assert await warm.take(MISSION, launch) is session_of(outcome)
    assert [draft.content for draft in sink.of("assistant_message")] == ["one thing more"]
    warm.put(MISSION, session_of(outcome))


async def test_late_words_that_cannot_be_stored_harm_nobody(missions, warm, scripted, sink):
    launch = scripted(_TALKER)
    failed = asyncio.Event()

    async def refuse(drafts):
        failed.set()
        raise LookupError("the mission is deleted")

    outcome = await run_turn(
        launch, "go", sink, cancel=asyncio.Event(), limits=LIMITS, between=lambda session: Between(session, refuse)
    )
    warm.put(MISSION, session_of(outcome))
    (launch.space / "over").touch()
    await asyncio.wait_for(failed.wait(), 10)
    assert session_of(outcome).is_alive


async def test_a_new_turn_waits_until_the_agent_before_it_is_gone(missions, scripted, demo):
    missions.idle_seconds = 0.05
    warm = missions.made()
    body = "prompt = until_prompt()\nsend(id=prompt, result={'stopReason': 'end_turn'})\n"
    slow = scripted(body + "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(300)")
    first = await missions.turn(warm, slow, "go")
    await until(lambda: len(warm) == 0)
    begun = time.monotonic()
    assert session_of(first).process.exit_code is None
    assert await warm.take(MISSION, slow) is None
    assert session_of(first).process.exit_code is not None
    assert time.monotonic() - begun < 5
    await warm.close()


async def test_the_bound_on_what_an_agent_sends_is_that_of_each_turn(missions, scripted, sink):
    launch = scripted("""
        while (prompt := until_prompt()) is not None:
            text("x" * 600_000)
            send(id=prompt, result={"stopReason": "end_turn"})
        """)
    warm, limits = missions.made(), structs.replace(LIMITS, wire_bytes=1 << 20)
    for _ in range(3):
        outcome = await run_turn(
            launch, "go", sink, cancel=asyncio.Event(), limits=limits, session=await warm.take(MISSION, launch),
            between=lambda session: Between(session, sink.record),
        )  # fmt: skip
        assert (outcome.success, outcome.error) == (True, None)
        warm.put(MISSION, session_of(outcome))
    await warm.close()


async def test_a_running_total_of_cost_is_counted_once(missions, warm, scripted):
    launch = scripted("""
        for cost in (0.25, 0.4):
            prompt = until_prompt()
            update("usage_update", used=1, size=2, cost={"amount": cost, "currency": "USD"})
            send(id=prompt, result={"stopReason": "end_turn"})
        next(requests())
        """)
    assert [(await missions.turn(warm, launch, "go")).use.cost_micros for _ in range(2)] == [250_000, 150_000]
