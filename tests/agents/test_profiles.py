"""Backends: their commands, what is handed on to them, and which one is the default."""

import json
import sys
from pathlib import Path

import pytest

from server.agents.profiles import PROFILES, command_for, default_backend, is_installed, launch_for
from server.agents.spawning import environment_of
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


@pytest.fixture
def given(path, tmp_path):
    """The environment that a backend gets from a server with these settings."""
    install(path, "opencode", "claude-agent-acp", "codex-acp", "gemini", "grok")

    def of(backend: str, model: str | None = None, **settings: str) -> dict[str, str]:
        env = {"PATH": str(path), **settings}
        launch = launch_for(backend, env, run_id="run-1", space=path, home=tmp_path / "home", model=model)
        return environment_of(launch) | {"asked model": launch.model or ""}

    return of


@pytest.mark.parametrize(
    ("backend", "names"),
    [
        ("claudecode", {"ANTHROPIC_BASE_URL"}),
        ("gemini", {"GOOGLE_GEMINI_BASE_URL"}),
        ("grok", {"GROK_XAI_API_BASE_URL", "GROK_MODELS_BASE_URL", "GROK_CLI_CHAT_PROXY_BASE_URL"}),
    ],
)
def test_another_endpoint_is_named_by_the_vendors_own_variables(given, backend, names):
    setting = f"MISSIONSTREAM_BACKEND_{backend.upper()}_BASE_URL"
    env = given(backend, **{setting: "http://127.0.0.1:4000", next(iter(names)): "http://the-vendors.own"})
    assert {env[name] for name in names} == {"http://127.0.0.1:4000"}
    assert names.isdisjoint(given(backend))
    assert "http://another" not in given(backend, MISSIONSTREAM_BACKEND_OPENCODE_BASE_URL="http://another").values()


def test_codex_gets_another_endpoint_as_a_provider_and_reads_the_key_by_its_name(given):
    settings = {"BASE_URL": "http://127.0.0.1:4000/v1", "MODEL": "mine"}
    env = given("codex", **{f"MISSIONSTREAM_BACKEND_CODEX_{name}": value for name, value in settings.items()})
    config = json.loads(env["CODEX_CONFIG"])
    provider = config["model_providers"][config["model_provider"]]
    assert (provider["base_url"], provider["env_key"]) == ("http://127.0.0.1:4000/v1", "OPENAI_API_KEY")
    assert (config["model"], env["asked model"]) == ("mine", "")


def test_opencode_gets_another_endpoint_as_its_only_provider_and_still_asks(given):
    settings = {"BASE_URL": "http://127.0.0.1:4000/v1", "MODEL": "mine"}
    env = given(
        "opencode",
        OPENAI_API_KEY="sk-secret",
        **{f"MISSIONSTREAM_BACKEND_OPENCODE_{name}": value for name, value in settings.items()},
    )
    config = json.loads(env["OPENCODE_CONFIG_CONTENT"])
    assert config["enabled_providers"] == [*config["provider"]] == ["endpoint"]
    assert config["provider"]["endpoint"]["options"]["baseURL"] == "http://127.0.0.1:4000/v1"
    assert config["model"] == config["small_model"] == "endpoint/mine"
    assert config["permission"] == json.loads(given("opencode")["OPENCODE_CONFIG_CONTENT"])["permission"]
    assert "sk-secret" not in env["OPENCODE_CONFIG_CONTENT"]


@pytest.mark.parametrize("backend", ["codex", "opencode"])
def test_an_endpoint_whose_models_nobody_knows_needs_one_named(given, backend):
    setting = f"MISSIONSTREAM_BACKEND_{backend.upper()}_BASE_URL"
    with pytest.raises(Unavailable, match=f"{setting} needs .* MISSIONSTREAM_BACKEND_{backend.upper()}_MODEL"):
        given(backend, **{setting: "http://127.0.0.1:4000/v1"})
    given(backend, "the-missions-own", **{setting: "http://127.0.0.1:4000/v1"})


def test_a_missions_own_model_wins_over_the_setting(given):
    assert given("claudecode", MISSIONSTREAM_BACKEND_CLAUDECODE_MODEL="usual")["ANTHROPIC_MODEL"] == "usual"
    env = given("claudecode", "special", MISSIONSTREAM_BACKEND_CLAUDECODE_MODEL="usual")
    assert (env["ANTHROPIC_MODEL"], env["asked model"]) == ("special", "special")
    assert "ANTHROPIC_MODEL" not in given("claudecode")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, None),
        ({"NO_PROXY": "a.example"}, "a.example"),
        ({"HTTPS_PROXY": "http://proxy"}, "127.0.0.1,localhost"),
        ({"HTTP_PROXY": "http://proxy", "NO_PROXY": "a.example, localhost"}, "a.example,localhost,127.0.0.1"),
    ],
)
def test_a_proxy_is_not_for_loopback(given, settings, expected):
    assert given("opencode", **settings).get("NO_PROXY") == expected


@pytest.mark.parametrize(
    "name", ['x"}, "permission": {"bash": "allow', "{file:/etc/passwd}", "{env:HOME}", "a\nb", "m" * 201]
)
def test_a_name_that_would_mean_something_in_a_configuration_is_refused(given, name):
    with pytest.raises(BadRequest, match="not the name of a model"):
        given("opencode", name, MISSIONSTREAM_BACKEND_OPENCODE_BASE_URL="http://127.0.0.1:4000/v1")


@pytest.mark.parametrize("name", ["opus[1m]", "gpt-6.1-sol[low]", "openai/gpt-5:free", "@cf/meta/llama-4", "Sol (low)"])
def test_the_names_that_vendors_give_are_taken(given, name):
    assert given("claudecode", name)["ANTHROPIC_MODEL"] == name


def test_a_model_may_be_named_as_opencode_shows_it(given):
    env = given("opencode", "endpoint/mine", MISSIONSTREAM_BACKEND_OPENCODE_BASE_URL="http://127.0.0.1:4000/v1")
    assert json.loads(env["OPENCODE_CONFIG_CONTENT"])["model"] == "endpoint/mine"
