"""Signals of several runs at once: each keeps its own, and an event takes the place of its own run's alone."""

import asyncio
from uuid import UUID, uuid4

from streams.event import Signal
from streams.signals import SignalBoard

WORKSPACE, MISSION, ONE, TWO = (uuid4() for _ in range(4))


def a_signal(text: str, run_id: UUID | None, type: str = "text_delta") -> Signal:
    return Signal(workspace_id=WORKSPACE, stream_id=MISSION, type=type, after=1, body={"content": text}, run_id=run_id)


def texts(board: SignalBoard) -> list[str]:
    return [signal.body["content"] for signal in board.of(MISSION)]


async def test_two_runs_of_a_mission_do_not_overwrite_each_others_text() -> None:
    sent: list[Signal] = []
    board = SignalBoard(sent.append)
    board.put(a_signal("one", ONE))
    board.put(a_signal("two", TWO))
    board.put(a_signal("one more", ONE))
    assert texts(board) == ["one more", "two"]
    await asyncio.sleep(0.15)
    assert sorted(signal.body["content"] for signal in sent) == ["one more", "two"]


async def test_an_event_takes_the_place_of_its_own_runs_signal() -> None:
    board = SignalBoard(lambda signal: None)
    for run_id in (ONE, TWO):
        board.put(a_signal("text", run_id))
        board.put(a_signal("thought", run_id, "thinking"))
    board.drop(MISSION, "text_delta", ONE)
    assert {(signal.type, signal.run_id) for signal in board.of(MISSION)} == {
        ("thinking", ONE), ("text_delta", TWO), ("thinking", TWO),
    }  # fmt: skip
    board.drop(MISSION, None, TWO)
    assert [(signal.type, signal.run_id) for signal in board.of(MISSION)] == [("thinking", ONE)]
    board.drop(MISSION, "thinking")
    assert board.of(MISSION) == []


async def test_the_end_of_the_last_run_leaves_nothing_behind() -> None:
    sent: list[Signal] = []
    board = SignalBoard(sent.append)
    board.put(a_signal("text", ONE))
    board.drop(MISSION, None, ONE)
    board.resend()
    await asyncio.sleep(0.15)
    assert sent == []
    assert board.body(MISSION, "text_delta") == {}


async def test_a_body_is_that_of_the_newest_run() -> None:
    board = SignalBoard(lambda signal: None)
    board.put(a_signal("one", ONE))
    board.put(a_signal("two", TWO))
    assert board.body(MISSION, "text_delta") == {"content": "two"}
