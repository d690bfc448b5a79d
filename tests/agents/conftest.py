"""A sink that remembers, launches of the demo agent and of small scripted agents, and a look at live processes."""

import asyncio
import json
import os
import sys
import textwrap
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from server.agents.budgets import Use
from server.agents.memory import Past
from server.agents.process import Launch
from server.agents.profiles import launch_for
from server.agents.sandbox import Kind, Sandbox
from server.agents.survivors import RUN_MARKER
from server.agents.turn import NO_PAST, TurnLimits, TurnOutcome, run_turn
from streams.event import Draft


class RecordingSink:
    """Remembers drafts and signals in order; `answers` holds what people would say to each question."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.batches: list[int] = []
        self.signals: list[tuple[str, dict[str, Any]]] = []
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self.asked: list[str] = []
        self.sandboxes: list[Kind] = []
        self.opened_sessions: list[tuple[str, datetime, float]] = []
        self.uses: list[tuple[Use, float | None]] = []
        self._changed = asyncio.Event()

    async def record(self, drafts: Sequence[Draft]) -> None:
        self.batches.append(len(drafts))
        await asyncio.sleep(0)
        self.drafts.extend(drafts)
        self._changed.set()

    def signal(self, type: str, body: dict[str, Any]) -> None:
        self.signals.append((type, body))
        self._changed.set()

    async def sandboxed(self, sandbox: Kind) -> None:
        self.sandboxes.append(sandbox)

    def opened(self, session_id: str, session_at: datetime, cost: float) -> None:
        self.opened_sessions.append((session_id, session_at, cost))

    def used(self, use: Use, session_cost: float | None) -> None:
        self.uses.append((use, session_cost))

    async def answer(self, tool_call_id: str) -> Any:
        self.asked.append(tool_call_id)
        self._changed.set()
        return await self.answers.get()

    async def until(self, is_true: Callable[["RecordingSink"], bool], seconds: float = 15) -> None:
        async with asyncio.timeout(seconds):
            while not is_true(self):
                self._changed.clear()
                await self._changed.wait()

    @property
    def types(self) -> list[str]:
        return [draft.type for draft in self.drafts if draft.type != "agent_event"]

    def of(self, type: str) -> list[Draft]:
        return [draft for draft in self.drafts if draft.type == type]

    def results(self) -> list[Any]:
        return [json.loads(draft.content) for draft in self.of("tool_result")]

    def bodies(self, type: str) -> list[dict[str, Any]]:
        return [body for name, body in self.signals if name == type]


SCRIPT_HEAD = """
import json, os, subprocess, sys, time

def send(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\\n")
    sys.stdout.flush()

def update(kind, **fields):
    send(method="session/update", params={"sessionId": "s", "update": {"sessionUpdate": kind, **fields}})

def text(words):
    update("agent_message_chunk", content={"type": "text", "text": words})

def requests():
    for line in sys.stdin:
        yield json.loads(line)

def until_prompt():
    for request in requests():
        if request.get("method") == "initialize":
            send(id=request["id"], result={"protocolVersion": 1, "agentCapabilities": {}})
        elif request.get("method") == "session/new":
            send(id=request["id"], result={"sessionId": "s"})
        elif request.get("method") == "session/prompt":
            return request["id"]
"""


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space"
    path.mkdir()
    return path


@pytest.fixture
def run_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def demo(space: Path, tmp_path: Path, run_id: str) -> Launch:
    env = {"PATH": os.environ["PATH"], "DEMO_AGENT_DELAY_SECONDS": "0"}
    sandbox = Sandbox(policy="prefer", path=env["PATH"])
    return launch_for("demo", env, run_id=run_id, space=space, home=tmp_path / "home", sandbox=sandbox)


@pytest.fixture
def scripted(space: Path, tmp_path: Path, run_id: str) -> Callable[[str], Launch]:
    """A launch of a small agent in plain Python: the body runs after the helpers of SCRIPT_HEAD."""

    def make(body: str, **fields: Any) -> Launch:
        command = (sys.executable, "-c", SCRIPT_HEAD + textwrap.dedent(body))
        return Launch(run_id=run_id, backend="scripted", command=command, space=space, home=tmp_path / "home", **fields)

    return make


Turn = Callable[..., Awaitable[TurnOutcome]]


@pytest.fixture
def turn(sink: RecordingSink) -> Turn:
    """Run a turn with short limits for whatever ends an agent."""

    async def run(
        launch: Launch,
        prompt: str = "go",
        *,
        cancel: asyncio.Event | None = None,
        seconds: float = 30,
        past: Past = NO_PAST,
        **limits: Any,
    ) -> TurnOutcome:
        bounds = TurnLimits(**{"cancel_seconds": 2, "exit_seconds": 0.5, "term_seconds": 0.3, **limits})
        async with asyncio.timeout(seconds):
            return await run_turn(launch, prompt, sink, cancel=cancel or asyncio.Event(), limits=bounds, past=past)

    return run


class Living:
    """The processes of one run that are alive, found by the marker in their environment."""

    def __init__(self, run_id: str) -> None:
        self._mark = f"{RUN_MARKER}={run_id}".encode()

    def __call__(self) -> list[int]:
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._is_ours(entry)]

    async def until(self, is_true: Callable[[list[int]], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_true(self()):
                await asyncio.sleep(0.02)

    def _is_ours(self, entry: Path) -> bool:
        try:
            return self._mark in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            return False


@pytest.fixture
def living(run_id: str) -> Iterator[Living]:
    """A look at this test's processes; none may be alive when the test ends."""
    look = Living(run_id)
    yield look
    assert look() == []
