"""Backends: their commands, what is handed on to them, and which one is the default."""

import sys
from pathlib import Path

import pytest

from server.agents.process import environment_of
from server.agents.profiles import PROFILES, command_for, default_backend, is_installed, launch_for
from streams.errors import BadRequest, Unavailable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def install(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)


def test_the_table_knows_the_six_backends():
    assert set(PROFILES) == {"opencode", "claudecode", "codex", "gemini", "grok", "demo"}


def test_an_unknown_backend_is_refused_by_name():
    with pytest.raises(BadRequest, match="Unknown backend: amp"):
        command_for("amp", {})


def test_a_missing_backend_says_how_to_install_it(path):
    with pytest.raises(Unavailable, match="npm install -g opencode-ai"):
        launch_for("opencode", {"PATH": str(path)}, run_id="r", space=path, home=path)


def test_the_demo_agent_is_always_there():
    assert is_installed("demo", {})
    assert command_for("demo", {}) == (sys.executable, "-P", "-m", "server.agents.demo")


def test_a_command_can_be_overridden(path):
    env = {"PATH": str(path), "MISSIONSTREAM_BACKEND_GROK_COMMAND": "my-grok --flag 'a b'"}
    assert command_for("grok", env) == ("my-grok", "--flag", "a b")
    assert not is_installed("grok", env)
    install(path, "my-grok")
    assert is_installed("grok", env)


def test_a_broken_override_names_its_variable():
    with pytest.raises(Unavailable, match="MISSIONSTREAM_BACKEND_GROK_COMMAND"):
        command_for("grok", {"MISSIONSTREAM_BACKEND_GROK_COMMAND": "'"})


@pytest.mark.parametrize(
    ("installed", "backend"),
    [
        ((), "demo"),
        (("codex-acp",), "codex"),
        (("codex-acp", "gemini"), "gemini"),
        (("codex-acp", "gemini", "grok"), "grok"),
        (("grok", "opencode"), "opencode"),
        (("opencode", "claude-agent-acp"), "claudecode"),
    ],
)
def test_the_default_is_the_first_one_installed(path, installed, backend):
    install(path, *installed)
    assert default_backend({"PATH": str(path)}) == backend


def test_a_configured_default_wins_and_must_be_known(path):
    env = {"PATH": str(path), "DEFAULT_BACKEND": "codex"}
    assert default_backend(env) == "codex"
    assert default_backend({**env, "MISSIONSTREAM_DEFAULT_BACKEND": "demo"}) == "demo"
    with pytest.raises(BadRequest, match="Unknown backend: nope"):
        default_backend({**env, "MISSIONSTREAM_DEFAULT_BACKEND": "nope"})


def test_an_agent_gets_its_own_keys_and_nothing_else(path, tmp_path):
    install(path, "codex-acp")
    env = {"PATH": str(path), "OPENAI_API_KEY": "k1", "ANTHROPIC_API_KEY": "k2", "PGPASSWORD": "k3", "HOME": "/root"}
    launch = launch_for("codex", env, run_id="run-1", space=path, home=tmp_path / "home")
    given = environment_of(launch)
    assert given["OPENAI_API_KEY"] == "k1"
    assert launch.secrets == {"OPENAI_API_KEY"}
    assert not {"k2", "k3", "/root"} & set(given.values())
    assert given["CODEX_HOME"] == f"{tmp_path}/home/.codex"
    assert given["HOME"] == f"{tmp_path}/home"
    assert given["MISSIONSTREAM_RUN_ID"] == "run-1"
