"""`doctor` and the backends: program, version, Node, key and an answer, each with the next step when it is not there."""

import json
import sys
from pathlib import Path

import pytest

from tests.agents.conftest import SCRIPT_HEAD
from tests.agents.test_greeting import ABOUT, ANSWERS
from tests.cli.conftest import Cli

SPEAKS = SCRIPT_HEAD + ANSWERS.replace("{result}", ABOUT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH on which gemini is installed as npm does it, and Node is one of ours."""
    package = tmp_path / "lib" / "node_modules" / "@google" / "gemini-cli"
    package.mkdir(parents=True)
    (package / "package.json").write_text(
        json.dumps({"name": "@google/gemini-cli", "version": "0.61.0", "engines": {"node": ">=20"}})
    )
    bin = tmp_path / "bin"
    bin.mkdir()
    program(package / "gemini", f"#!{sys.executable}\n{SPEAKS}")
    (bin / "gemini").symlink_to(package / "gemini")
    program(bin / "node", "#!/bin/sh\necho v20.20.2\n")
    return bin


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


async def checks(cli: Cli, path: Path, **environment: str) -> dict[str, dict[str, str]]:
    result = await cli("doctor", "--json", PATH=str(path), **environment)
    assert result.code == 0, result
    return {check["name"].removeprefix("backend "): check for check in result.json}


async def test_a_backend_that_is_ready_is_ok_in_everything(cli: Cli, path: Path) -> None:
    found = await checks(cli, path, GEMINI_API_KEY="sk-secret")
    names = ["gemini", "gemini: Node", "gemini: key", "gemini: initialize", "demo", "demo: initialize"]
    assert {name: found[name]["state"] for name in names} == dict.fromkeys(names, "ok")
    assert found["gemini"]["found"] == f"0.61.0 at {path}/gemini"
    assert found["gemini: Node"]["found"] == f"20.20.2 at {path}/node; the package asks for >=20"
    assert found["gemini: initialize"]["found"].endswith(" s as small 7.1")
    assert "sk-secret" not in str(found)
    assert all(found[name]["next_step"] is None for name in names)
    assert found["default backend"]["found"] == "gemini"


async def test_what_is_not_there_has_its_next_step(cli: Cli, path: Path) -> None:
    program(path / "node", "#!/bin/sh\necho v18.1.0\n")
    program(path / "gemini-broken", "#!/bin/sh\necho out of order >&2; exit 3\n")
    found = await checks(cli, path, MISSIONSTREAM_BACKEND_GEMINI_COMMAND=str(path / "gemini-broken"))
    assert (found["codex"]["state"], found["codex"]["next_step"]) == (
        "missing",
        "npm install -g @agentclientprotocol/codex-acp",
    )
    assert "codex: key" not in found  # nothing more is asked of what is not installed
    assert found["gemini: Node"]["next_step"] == "Install Node 20 or newer, where the server's PATH has it."
    assert found["gemini: key"]["next_step"] == "Set GEMINI_API_KEY or GOOGLE_API_KEY for the server."
    broken = found["gemini: initialize"]
    assert broken["state"] == "missing"
    assert "out of order" in broken["found"]
    assert str(path / "gemini-broken") in broken["next_step"]
    (path / "node").unlink()
    assert (await checks(cli, path))["gemini: Node"]["found"] == "node is not on the PATH"


async def test_a_default_that_is_no_backend_prevents_a_server(cli: Cli, path: Path) -> None:
    result = await cli("doctor", PATH=str(path), MISSIONSTREAM_DEFAULT_BACKEND="hal9000")
    assert result.code == 1
    assert "Unknown backend: hal9000; one of opencode" in result.out
