"""Real coding agents from npm, their model on loopback, and the recording of their wire."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession

from server.agents.process import Launch
from server.agents.profiles import PROFILES, launch_for
from server.agents.sandbox import Sandbox
from tests.agents.model.script import Script
from tests.agents.model.server import MODEL, Model, serving_model
from tests.agents.real.stage import Stage
from tests.agents.recording import Recorder, places_of
from tests.conftest import serving_on

FOLDER = Path(__file__).parent
PROGRAMS = FOLDER / "node_modules" / ".bin"
NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there: what goes out gets no further."""

KEY = "sk-dummy-0123456789abcdef"


class Reach(msgspec.Struct, frozen=True):
    """How a backend's model is reached: the variable of its key, and the path of its endpoint."""

    key: str
    path: str


REACH = {
    "claudecode": Reach("ANTHROPIC_API_KEY", ""),
    "codex": Reach("OPENAI_API_KEY", "/v1"),
    "gemini": Reach("GEMINI_API_KEY", ""),
    "grok": Reach("XAI_API_KEY", "/v1"),
    "opencode": Reach("OPENAI_API_KEY", "/v1"),
}


def at_work(space: Path) -> list[str]:
    """The names of the processes whose working directory lies in the space, whoever started them."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").resolve(strict=True).is_relative_to(space):
                found.append((entry / "comm").read_text().strip())
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs Node and the agents' programs: it is run by `make test-agents` alone."""
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.real_agents)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """The backend that the test is about; its program must have been installed."""
    name: str = request.param
    program = PROGRAMS / PROFILES[name].command[0]
    assert program.exists(), f"{program} is missing: run make test-agents"
    return name


@pytest.fixture
def settings(backend: str) -> Callable[[Model | None], dict[str, str]]:
    """What a server's environment says to send the backend to a model of one's own; None: to nowhere but its vendor."""

    def make(model: Model | None) -> dict[str, str]:
        node = Path(shutil.which("node") or "/usr/bin/node").parent
        reach, prefix = REACH[backend], f"MISSIONSTREAM_BACKEND_{backend.upper()}"
        common = {"PATH": f"{PROGRAMS}:{node}:/usr/local/bin:/usr/bin:/bin", reach.key: KEY}
        if model is None:
            return common | {"HTTPS_PROXY": NOWHERE, "HTTP_PROXY": NOWHERE}
        return common | {f"{prefix}_BASE_URL": model.base_url + reach.path, f"{prefix}_MODEL": MODEL}

    return make


@pytest.fixture
def launch(
    backend: str, settings: Callable[[Model | None], dict[str, str]], space: Path, tmp_path: Path, run_id: str
) -> Callable[[Model | None], Launch]:
    """A launch of the backend by its own profile, as a server would make it."""

    def make(model: Model | None) -> Launch:
        env = settings(model)
        sandbox = Sandbox(policy="prefer", path=env["PATH"])
        return launch_for(backend, env, run_id=run_id, space=space, home=tmp_path / "home", sandbox=sandbox)

    return make


@pytest.fixture
def staged(
    backend: str,
    settings: Callable[[Model | None], dict[str, str]],
    recorder: Recorder,
    connect: dict[str, Any],
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., AbstractAsyncContextManager[Stage]]:
    """A real server for missions of the backend, which works in the sandbox with a scripted model."""

    @asynccontextmanager
    async def stage(**options: Any) -> AsyncIterator[Stage]:
        async with serving_model(Script()) as model:
            for name, value in settings(model).items():
                monkeypatch.setenv(name, value)
            async with (
                serving_on(connect, data_dir, **{"agent_sandbox": "require", **options}) as server,
                ClientSession(server.url, headers=server.headers) as http,
            ):
                yield Stage(backend, server, http, model, recorder)

    return stage


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Overhears the turn's wire."""
    recorder = Recorder()
    monkeypatch.setattr("server.agents.session.AgentTransport", recorder.transport)
    return recorder


@pytest.fixture
def places(space: Path, tmp_path: Path) -> Callable[[Model], dict[str, str]]:
    """This test's folders and addresses, and what stands for them in a recording."""

    def make(model: Model) -> dict[str, str]:
        folders = {space: "/space", tmp_path / "home": "/home/agent", tmp_path: "/tmp", FOLDER: "/opt/agents"}
        return places_of(folders, {model.base_url.removeprefix("http://"): "127.0.0.1:1"})

    return make


@pytest.fixture
def keep() -> Callable[[Path, str], None]:
    """Write a recording where RECORD=1 asks for it."""

    def write(path: Path, text: str) -> None:
        if os.environ.get("RECORD") == "1":
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    return write
