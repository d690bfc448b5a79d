"""Agents that misbehave, on a real server: a clear error, the right status, no process left, and the next turn works."""

import asyncio
import functools
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from server.agents.clocks import TurnLimits
from tests.agents.conftest import SCRIPT_HEAD
from tests.conftest import Serving, fresh_database, serving_on
from tests.dialects.control.driving import MISSIONS, create, events, get, send, until
from tests.system.node import marked_processes

pytestmark = pytest.mark.asyncio(loop_scope="module")

_AGENT = """
for request in requests():
    if request["method"] == "session/prompt":
        prompt = request["id"]
        exec(request["params"]["prompt"][-1]["text"])
        break
    send(id=request["id"], result={"protocolVersion": 1, "agentCapabilities": {}, "sessionId": "s"})
"""
"""An agent that does what its message says, which is Python."""

_END = '\nsend(id=prompt, result={"stopReason": "end_turn"})'
_WELL = "text('fine')" + _END
_HANG = "time.sleep(300)"

FAILING = {
    "floods 100 MB": (
        'line = "x" * 100_000\nfor _ in range(1000):\n    text(line)\n' + _HANG,
        "The agent sent more than 64 MiB in one turn",
    ),
    "floods 100 MB of garbage": (
        'line = "x" * 999_999 + "\\n"\nfor _ in range(100):\n    sys.stdout.write(line)\nsys.stdout.flush()\n' + _HANG,
        "The agent sent more than 64 MiB in one turn",
    ),
    "30 MB in one line": ("text('x' * 30_000_000)\n" + _HANG, "The agent sent a line of more than 16 MiB"),
    # where bubblewrap keeps the pipe open as well, only the silence tells
    "closes stdout": (
        "text('last words')\nos.close(1)\n" + _HANG,
        ("The agent stopped", "The agent said nothing for 3 s"),
    ),
    "hangs in mid-turn": ("text('last words')\n" + _HANG, "The agent said nothing for 3 s"),
    "hangs, deaf to signals": (
        "import signal\nfor n in (1, 2, 15):\n    signal.signal(n, signal.SIG_IGN)\ntext('last words')\n" + _HANG,
        "The agent said nothing for 3 s",
    ),
    "exits 1": ("sys.stderr.write('out of luck\\n')\nsys.exit(1)", "The agent stopped unexpectedly (exit code 1)"),
    "is killed": ("text('last words')\nos.kill(os.getpid(), 9)", "The agent stopped unexpectedly (signal 9)"),
    "dies with an open call": (
        "update('tool_call', toolCallId='t', title='look', status='in_progress')\nos._exit(3)",
        "The agent stopped unexpectedly (exit code 3)",
    ),
    "dies and leaves a daemon": (
        "subprocess.Popen(['sleep', '300'], start_new_session=True)\nos._exit(4)",
        "The agent stopped unexpectedly (exit code 4)",
    ),
}
HARMLESS = {
    "prints garbage": "print('Welcome!')\nprint(42)\nprint('[' * 5000)\nsys.stdout.flush()\n" + _WELL,
    "prints 20 MB of garbage": "for _ in range(20):\n    print('x' * 1_000_000)\n" + _WELL,
    "asks for 8 MB that we do not know": (
        "for n in range(8):\n    send(id=n, method='_x/ask', params='x' * 1_000_000)\n    next(requests())\n" + _WELL
    ),
    "sends unknown updates": "update('brand_new_kind', value=1)\nsend(method='_x/news', params=5)\n" + _WELL,
    "ends with open calls": "update('tool_call', toolCallId='t', title='look', status='in_progress')\n" + _WELL,
    "forks a daemon": "subprocess.Popen(['sleep', '300'], start_new_session=True)\n" + _WELL,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["prefer", "off"])
async def faulty(
    request: pytest.FixtureRequest, cluster: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Serving]:
    """A server, with short clocks, whose gemini does what it is told, and whose grok never says a word."""
    folder, programs = tmp_path_factory.mktemp("faults"), tmp_path_factory.mktemp("programs")
    folder.chmod(0o711)
    (programs / "obedient.py").write_text(SCRIPT_HEAD + _AGENT)
    (programs / "silent.py").write_text(SCRIPT_HEAD + _HANG)
    short = functools.partial(TurnLimits, first_update_seconds=5, idle_seconds=3, exit_seconds=0.5, term_seconds=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MISSIONSTREAM_BACKEND_GEMINI_COMMAND", f"{sys.executable} {programs / 'obedient.py'}")
        patch.setenv("MISSIONSTREAM_BACKEND_GROK_COMMAND", f"{sys.executable} {programs / 'silent.py'}")
        patch.setattr("server.app.TurnLimits", short)
        async with (
            fresh_database(cluster) as connect,
            serving_on(
                connect, Path(folder), agent_sandbox=request.param, agent_idle_seconds=0, agent_readable=(programs,)
            ) as server,
        ):
            yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(faulty: Serving) -> AsyncIterator[ClientSession]:
    async with ClientSession(faulty.url, headers=faulty.headers) as session:
        yield session


async def turn(http: ClientSession, mission_id: str, message: str, number: int = 1) -> dict[str, Any]:
    """The mission when this turn of it, its `number`-th, has ended."""
    await send(http, mission_id, message)
    await until(lambda: events(http, mission_id, types="run_ended"), lambda rows: len(rows) >= number)
    return await get(http, f"{MISSIONS}/{mission_id}")  # type: ignore[no-any-return]


async def nothing_is_left(server: Serving, http: ClientSession, mission_id: str) -> None:
    """No process of the mission, no run, no open call; a new turn works."""
    async with asyncio.timeout(5):
        while marked_processes(f"HOME={server.core.spaces.home(mission_id)}"):
            await asyncio.sleep(0.02)
    assert await get(http, "/api/control/running") == []
    calls = [row["event_type"] for row in await events(http, mission_id, types="tool_call,tool_result")]
    assert calls.count("tool_call") == calls.count("tool_result")


@pytest.mark.parametrize(("message", "error"), FAILING.values(), ids=FAILING)
async def test_a_fault_fails_the_turn_clearly(
    faulty: Serving, http: ClientSession, message: str, error: str | tuple[str, ...]
) -> None:
    mission = (await create(http, backend="gemini"))["id"]
    failed = await turn(http, mission, message)
    assert (failed["status"], failed["terminal_reason"], failed["resumable"]) == ("failed", "failed", True)
    [told] = await events(http, mission, types="error")
    assert told["content"].startswith(error)
    if "last words" in message:
        assert failed["history"][-1] == {"role": "assistant", "content": "last words"}
    await nothing_is_left(faulty, http, mission)
    again = await turn(http, mission, _WELL, 2)
    assert (again["status"], again["history"][-1]["content"]) == ("completed", "fine")


@pytest.mark.parametrize("message", HARMLESS.values(), ids=HARMLESS)
async def test_an_oddity_hurts_nobody(faulty: Serving, http: ClientSession, message: str) -> None:
    mission = (await create(http, backend="gemini"))["id"]
    done = await turn(http, mission, message)
    assert (done["status"], done["history"][-1]["content"]) == ("completed", "fine")
    assert await events(http, mission, types="error") == []
    await nothing_is_left(faulty, http, mission)


async def test_an_agent_that_hangs_before_it_says_anything_is_stopped(faulty: Serving, http: ClientSession) -> None:
    mission = (await create(http, backend="grok"))["id"]
    failed = await turn(http, mission, "hello")
    assert failed["status"] == "failed"
    [told] = await events(http, mission, types="error")
    assert told["content"].startswith("The agent said nothing for 5 s")
    await nothing_is_left(faulty, http, mission)
