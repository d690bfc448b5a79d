"""The backends' own modes: which there are, what they need to be allowed, and how an agent is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.agents.backends import PROFILES
from server.agents.modes import check, choices, mode_of, request_for
from server.agents.policy import POLICIES, Policy
from server.agents.profiles import launch_for
from streams.errors import AgentFailed, BadRequest, Conflict

WIRE = Path(__file__).parent / "wire"
WITH_MODES = [profile.id for profile in PROFILES.values() if profile.modes]
WITHOUT = ["grok", "demo"]
REFUSED_TO_ROOT = {"bypassPermissions"}
UNASKED = {
    "claudecode": {"acceptEdits", "auto", "bypassPermissions"},
    "codex": {"agent", "agent-full-access"},
    "gemini": {"autoEdit", "yolo"},
    "opencode": set(),
}


def recorded_session(backend: str) -> dict[str, Any]:
    """What the real agent answered to session/new."""
    for line in (WIRE / f"{backend}-allowed.jsonl").read_text().splitlines():
        entry = json.loads(line)
        result = entry["message"].get("result")
        if entry["from"] == "agent" and isinstance(result, dict) and "sessionId" in result:
            return result
    raise AssertionError(backend)


def test_the_table_names_modes_for_those_that_have_some() -> None:
    assert set(WITH_MODES) == set(UNASKED)


@pytest.mark.parametrize("backend", WITH_MODES)
def test_every_mode_of_the_table_is_one_that_the_real_agent_offered(backend: str) -> None:
    session = recorded_session(backend)
    usual, *others = [mode.id for mode in PROFILES[backend].modes]
    assert request_for(session, "s", usual) is None
    for mode in set(others) - REFUSED_TO_ROOT:
        request = request_for(session, "s", mode)
        assert request is not None
        expected = {
            "session/set_config_option": {"sessionId": "s", "configId": "mode", "value": mode},
            "session/set_mode": {"sessionId": "s", "modeId": mode},
        }
        assert request.params == expected[request.method]


def test_one_backend_is_told_by_set_mode_and_the_others_by_their_option() -> None:
    methods = {
        backend: request.method
        for backend in WITH_MODES
        if (request := request_for(recorded_session(backend), "s", PROFILES[backend].modes[1].id))
    }
    assert methods == dict.fromkeys(WITH_MODES, "session/set_config_option") | {"gemini": "session/set_mode"}


@pytest.mark.parametrize(
    "session",
    [
        {},
        {"modes": None, "configOptions": None},
        {"modes": {"availableModes": [5, {"id": "default"}]}},
        {"configOptions": [{"id": "x", "category": "model", "options": [{"value": "plan"}]}]},
    ],
)
def test_an_agent_that_does_not_offer_the_mode_is_not_let_loose_in_another(session: dict[str, Any]) -> None:
    with pytest.raises(AgentFailed, match=r"does not offer the mode plan, but: (default|none)"):
        request_for(session, "s", "plan")


def test_choices_may_come_in_groups() -> None:
    grouped = [{"group": "a", "options": [{"value": "x"}]}, {"group": "b", "options": [{"value": "plan"}]}]
    session = {"configOptions": [{"id": "m", "category": "mode", "currentValue": "x", "options": grouped}]}
    request = request_for(session, "s", "plan")
    assert request is not None
    assert request.params == {"sessionId": "s", "configId": "m", "value": "plan"}


@pytest.mark.parametrize("backend", WITH_MODES)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_mode_that_asks_nobody_needs_a_policy_that_allows_as_much(backend: str, policy: Policy) -> None:
    for mode in PROFILES[backend].modes:
        if policy == "allow_all" or mode.id not in UNASKED[backend]:
            check(backend, mode.id, policy)
        else:
            with pytest.raises(Conflict, match=f"needs the permission_policy allow_all, not {policy}; change one"):
                check(backend, mode.id, policy)


def test_an_unknown_agent_is_refused_with_the_choices() -> None:
    with pytest.raises(BadRequest, match="Unknown agent for opencode: Sisyphus; one of build, plan"):
        check("opencode", "Sisyphus", "allow_all")


@pytest.mark.parametrize("backend", [*WITHOUT, "a backend of another day"])
def test_a_backend_without_modes_takes_any_name_and_is_told_nothing(backend: str) -> None:
    check(backend, "Sisyphus", "ask")
    assert mode_of(backend, "Sisyphus") is None


def test_the_choices_are_listed_by_id_and_name_the_usual_one_first() -> None:
    assert choices("opencode") == [{"id": "build", "name": "Build"}, {"id": "plan", "name": "Plan"}]
    assert choices("grok") == [{"id": "default", "name": "Grok"}]


def test_the_mode_gets_into_the_launch(tmp_path: Path) -> None:
    (tmp_path / "gemini").write_text("#!/bin/sh\n")
    (tmp_path / "gemini").chmod(0o755)
    places = {"run_id": "r", "space": tmp_path, "home": tmp_path}
    assert launch_for("gemini", {"PATH": str(tmp_path)}, agent="plan", **places).mode == "plan"
    assert launch_for("gemini", {"PATH": str(tmp_path)}, **places).mode is None
    assert launch_for("demo", {}, agent="plan", **places).mode is None


OFFERS = """
for request in requests():
    method, params = request.get("method"), request.get("params")
    if method == "initialize":
        send(id=request["id"], result={"protocolVersion": 1})
    elif method == "session/new":
        modes = {"currentModeId": "default", "availableModes": [{"id": "default"}, {"id": "plan"}, {"id": "yolo"}]}
        send(id=request["id"], result={"sessionId": "s", "modes": modes})
    elif method == "session/set_mode":
        mode = params["modeId"]
        send(id=request["id"], result={})
    elif method == "session/prompt":
        text("in mode " + globals().get("mode", "default"))
        send(id=request["id"], result={"stopReason": "end_turn"})
"""


@pytest.mark.parametrize(
    ("mode", "said"), [("plan", "in mode plan"), ("default", "in mode default"), (None, "in mode default")]
)
async def test_the_turn_begins_in_the_chosen_mode(turn: Any, scripted: Any, mode: str | None, said: str) -> None:
    assert (await turn(scripted(OFFERS, mode=mode))).text == said


async def test_a_turn_whose_mode_is_not_offered_fails_before_the_prompt(turn: Any, scripted: Any) -> None:
    outcome = await turn(scripted(OFFERS, mode="read-only"))
    assert (outcome.reason, outcome.text) == ("failed", "")
    assert outcome.error.startswith("The agent does not offer the mode read-only, but: default, plan, yolo.")
