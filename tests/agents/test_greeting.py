"""Asking an agent whether it is there: what it says, what is told when it says nothing, and that nothing is left."""

import re
from typing import Any

import pytest
from msgspec import structs

from server.agents.greeting import greet
from streams.errors import AgentFailed

ANSWERS = """
for request in requests():
    if request["method"] == "initialize":
        send(id=request["id"], result={result})
"""
ABOUT = '{"protocolVersion": 1, "agentInfo": {"name": "small", "version": "7.1"}}'


async def test_the_demo_agent_says_who_it_is(demo: Any, living: Any) -> None:
    greeting = await greet(demo)
    assert (greeting.name, greeting.version) == ("missionstream-demo", "1")
    assert 0 < greeting.seconds < 20
    assert living() == []


@pytest.mark.parametrize(
    ("result", "about"),
    [
        (ABOUT, ("small", "7.1")),
        ('{"protocolVersion": 1}', ("", "")),
        ('{"protocolVersion": 1, "agentInfo": 5}', ("", "")),
    ],
)
async def test_an_agent_may_say_nothing_of_itself(scripted: Any, living: Any, result: str, about: Any) -> None:
    greeting = await greet(scripted(ANSWERS.replace("{result}", result)))
    assert (greeting.name, greeting.version) == about


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("sys.exit('no such library')", r"stopped unexpectedly \(exit code 1\).*no such library"),
        (ANSWERS.replace("{result}", '{"protocolVersion": 2}'), "speaks version 2 of its protocol, not 1"),
        (ANSWERS.replace("{result}", "[]"), "speaks version None of its protocol"),
        (
            "for request in requests(): send(id=request['id'], error={'code': -32000, 'message': 'sign in'})",
            "not signed in",
        ),
        ("time.sleep(60)", "did not answer within 1 s"),
        ("for request in requests(): print('x' * (2 << 20), flush=True)", "stopped unexpectedly|did not answer"),
    ],
)
async def test_what_does_not_answer_is_explained_and_ended(scripted: Any, living: Any, body: str, text: str) -> None:
    with pytest.raises(AgentFailed) as failed:
        await greet(scripted(body), seconds=1)
    assert re.search(text, failed.value.message, re.DOTALL)


async def test_an_agents_last_answer_counts_though_it_exits(scripted: Any, living: Any) -> None:
    body = f"send(id=next(requests())['id'], result={ABOUT})"
    assert (await greet(scripted(body))).name == "small"


async def test_a_program_that_is_not_there_is_told(demo: Any) -> None:
    with pytest.raises(AgentFailed, match=r"could not be started|No such file"):
        await greet(structs.replace(demo, command=("/nonexistent/agent",)))
