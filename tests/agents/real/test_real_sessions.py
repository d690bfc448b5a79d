"""Real coding agents from one turn to the next: kept warm, ended when idle, killed and brought back by their sessions."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import NamedTuple

import pytest

from tests.agents.model.script import Asked, Script
from tests.agents.real.stage import Mission, Stage, until
from tests.agents.scenarios import BACKENDS

Staged = Callable[..., AbstractAsyncContextManager[Stage]]
FIRST, ANSWER = "My ship is called Ariadne.", "A fine name."
SUMMARY = "this conversation went on before"
_ROOM_SECONDS = 30


class Return(NamedTuple):
    """How a killed agent comes back: with its session or with our summary; `minute` says when, where that decides."""

    backend: str
    is_loaded: bool
    minute: str = "any"


RETURNS = (
    Return("claudecode", is_loaded=True),
    Return("codex", is_loaded=True),
    # Its recordings are named after the session and the minute: a load within it would wipe the conversation.
    Return("gemini", is_loaded=False, minute="same"),
    Return("gemini", is_loaded=True, minute="next"),
    Return("grok", is_loaded=True),
    Return("opencode", is_loaded=True),
)
_NAMES = [f"{each.backend}-{each.minute}" for each in RETURNS]


def minute() -> int:
    return int(time.time()) // 60


async def in_a_later_minute(than: int) -> None:
    async def is_later() -> bool:
        return minute() > than

    await until(is_later)


async def first_turn(stage: Stage) -> Mission:
    """A mission that has had one turn, with a tool call in it."""
    stage.model.script = Script(command="echo anchored > anchored.txt", answer=ANSWER)
    mission = await stage.create(permission_policy="allow_all")
    assert await mission.said(FIRST) == ANSWER
    assert (await stage.space() / "anchored.txt").exists()
    return mission


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
async def test_a_warm_agent_hears_the_next_message_in_the_same_process(backend: str, staged: Staged) -> None:
    async with staged() as stage:
        mission = await first_turn(stage)
        agent = mission.agent()
        stage.model.script, before = Script(answer="Ariadne."), len(stage.model.asked)
        assert await mission.said("What is it called?") == "Ariadne."
        assert mission.agent() == agent
        asked = stage.model.asked[before:]
        assert any(each.has_said("user", FIRST) and each.has_said("assistant", ANSWER) for each in asked)
        assert not any(each.has_said("user", SUMMARY) for each in asked)
        assert len(stage.sent("session/new")) == len(stage.sent("initialize")) == 1
    assert mission.processes() == set()


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
async def test_an_idle_agent_is_ended_and_the_next_message_brings_it_back(backend: str, staged: Staged) -> None:
    async with staged(agent_idle_seconds=1) as stage:
        mission = await first_turn(stage)
        agent = mission.agent()
        await mission.gone()
        stage.model.script, before = Script(answer="Ariadne."), len(stage.model.asked)
        assert await mission.said("What is it called?") == "Ariadne."
        assert mission.agent() != agent
        assert any(_remembers(asked) or _is_told(asked) for asked in stage.model.asked[before:])
        await mission.gone()


@pytest.mark.parametrize(
    ("backend", "back"), [(each.backend, each) for each in RETURNS], ids=_NAMES, indirect=["backend"]
)
async def test_a_killed_agent_comes_back_with_what_was_said(backend: str, back: Return, staged: Staged) -> None:
    if back.minute == "same" and time.time() % 60 > 60 - _ROOM_SECONDS:
        await in_a_later_minute(minute())
    async with staged() as stage:
        mission = await first_turn(stage)
        began = minute()
        stored = await mission.events()
        for pid in mission.processes():
            with suppress(ProcessLookupError):  # the first one takes others with it
                os.kill(pid, signal.SIGKILL)
        await mission.gone()
        if back.minute == "next":
            await in_a_later_minute(began)
        stage.model.script, before = Script(answer="Ariadne."), len(stage.model.asked)
        assert await mission.said("What is it called?") == "Ariadne."
        assert ["result" in answer for answer in stage.answers("session/load")] == [True] * back.is_loaded
        asked = stage.model.asked[before:]
        # One agent writes its last words down so late that the kill takes them: its session comes, without them.
        assert any(map(_remembers, asked)) is not any(map(_is_told, asked))
        assert back.is_loaded or any(map(_is_told, asked))
        assert (await mission.events())[: len(stored)] == stored
        for type, text in (("user_message", FIRST), ("assistant_message", ANSWER), ("tool_call", "anchored")):
            assert [text in event["content"] for event in await mission.events(type)].count(True) == 1
        assert len(await mission.events("tool_result")) == 1


def _remembers(asked: Asked) -> bool:
    """Whether the request has the earlier turn as a conversation of its own."""
    return asked.has_said("user", FIRST) and asked.has_said("assistant", ANSWER)


def _is_told(asked: Asked) -> bool:
    """Whether the request has the earlier turn in our summary."""
    return any(SUMMARY in said.text and FIRST in said.text and ANSWER in said.text for said in asked.said)
