"""`missionstream doctor`: what it tells of the agents' sandbox."""

import os
from pathlib import Path

import pytest

from server.agents.sandbox import Sandbox
from server.cli.doctor import _sandbox
from server.settings import Settings

WORKS = Sandbox(policy="prefer", path=os.environ["PATH"]).look()[0]


@pytest.mark.skipif(WORKS is None, reason="no sandbox here")
def test_a_sandbox_that_works_is_named() -> None:
    check = _sandbox(Settings(agent_sandbox="require"))
    assert (check.state, check.found) == ("ok", f"{WORKS} works")


@pytest.mark.parametrize(("policy", "state"), [("prefer", "missing"), ("require", "wrong")])
def test_a_missing_sandbox_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, policy: str, state: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check = _sandbox(Settings.model_validate({"agent_sandbox": policy}))
    assert (check.state, check.next_step) == (state, "apt-get install bubblewrap")
    assert "bubblewrap is not installed" in check.found


def test_a_sandbox_that_is_off_is_told() -> None:
    check = _sandbox(Settings(agent_sandbox="off"))
    assert check.state == "missing"
    assert "MISSIONSTREAM_AGENT_SANDBOX" in (check.next_step or "")
