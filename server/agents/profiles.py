"""The backends: how each agent is launched, what its environment must say, and how to install it."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from server.agents.memory import Loading
from server.agents.process import Launch
from server.agents.sandbox import Sandbox
from streams.errors import BadRequest, Unavailable

_CODE_ROOT = str(Path(__file__).resolve().parents[2])
_ANTHROPIC = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
_OPENAI = ("OPENAI_API_KEY", "CODEX_API_KEY")
_GOOGLE = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
_XAI = ("XAI_API_KEY",)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
_EVERYWHERE = (*_PROXIES, "NO_PROXY", *_CERTIFICATES, "TZ")
_UNSHUT = Sandbox()
_GROK_ENDPOINTS = ("GROK_XAI_API_BASE_URL", "GROK_MODELS_BASE_URL", "GROK_CLI_CHAT_PROXY_BASE_URL")
# It is written into configurations, where quotes and braces would mean something: one reads files that it names.
_MODEL_NAME = re.compile(r"[\w.:/@+()\[\] -]{1,200}")
_PREFERENCE = ("claudecode", "opencode", "grok", "gemini", "codex")


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One backend. `{home}`, `{base_url}` and `{model}` in a value of a variable stand for what the run has.

    `environment` is always given; `endpoint` on top of it when `MISSIONSTREAM_BACKEND_<NAME>_BASE_URL` names another
    model endpoint, `model` when a model is chosen. `keys` are secrets and `settings` plain variables that are handed on
    from the server's environment when set there. `files` are written below the home. `readable` folders are shown in
    the sandbox beside the program's own. `loading` is what to mind when it loads a session. The agent counts as
    installed when its command's first word is found.
    """

    id: str
    name: str
    command: tuple[str, ...]
    install: str
    environment: Mapping[str, str] = {}
    endpoint: Mapping[str, str] = {}
    model: Mapping[str, str] = {}
    keys: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    files: Mapping[str, str] = {}
    readable: tuple[str, ...] = ()
    loading: Loading = Loading()


_OPENCODE_CONFIG: dict[str, Any] = {
    "permission": {"bash": "ask", "edit": "ask", "webfetch": "ask"},
    "autoupdate": False,
    "share": "disabled",
}
_OPENCODE_ENDPOINT = _OPENCODE_CONFIG | {
    "provider": {
        "endpoint": {
            "name": "Endpoint",
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": "{base_url}", "apiKey": "{env:OPENAI_API_KEY}"},
            "models": {"{model}": {}},
        }
    },
    "enabled_providers": ["endpoint"],
    "model": "endpoint/{model}",
    "small_model": "endpoint/{model}",
}
_GEMINI_SETTINGS = json.dumps(
    {
        "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
        "telemetry": {"enabled": False},
        "privacy": {"usageStatisticsEnabled": False},
        "general": {"enableAutoUpdate": False},
        # With the interactive shell the output of commands never arrives over ACP.
        "tools": {"shell": {"enableInteractiveShell": False}},
    }
)
_CODEX_CONFIG = "check_for_update_on_startup = false\n\n[analytics]\nenabled = false\n"
_CODEX_ENDPOINT = {
    "model": "{model}",
    "model_provider": "endpoint",
    "model_providers": {
        "endpoint": {
            "name": "Endpoint",
            "base_url": "{base_url}",
            "env_key": "OPENAI_API_KEY",
            "wire_api": "responses",
            "requires_openai_auth": False,
            "supports_websockets": False,
            "request_max_retries": 2,
            "stream_max_retries": 2,
        }
    },
}

PROFILES: Mapping[str, Profile] = {
    profile.id: profile
    for profile in (
        Profile(
            id="opencode",
            name="OpenCode",
            command=("opencode", "acp"),
            install="npm install -g opencode-ai",
            environment={
                "OPENCODE_CONFIG_CONTENT": json.dumps(_OPENCODE_CONFIG),
                "OPENCODE_DISABLE_AUTOUPDATE": "1",
                "OPENCODE_DISABLE_MODELS_FETCH": "1",
                "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
                "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            },
            endpoint={"OPENCODE_CONFIG_CONTENT": json.dumps(_OPENCODE_ENDPOINT)},
            keys=("OPENCODE_API_KEY", "OPENROUTER_API_KEY", *_ANTHROPIC[:1], *_OPENAI[:1], *_GOOGLE[:1], *_XAI),
        ),
        Profile(
            id="claudecode",
            name="Claude Code",
            command=("claude-agent-acp",),
            install="npm install -g @agentclientprotocol/claude-agent-acp",
            environment={
                "CLAUDE_CONFIG_DIR": "{home}/.claude",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "DISABLE_AUTOUPDATER": "1",
                # A refused key is otherwise retried for more than 40 seconds.
                "CLAUDE_CODE_MAX_RETRIES": "1",
                "ENABLE_TOOL_SEARCH": "false",
            },
            endpoint={"ANTHROPIC_BASE_URL": "{base_url}"},
            model={"ANTHROPIC_MODEL": "{model}"},
            keys=_ANTHROPIC,
            settings=("ANTHROPIC_BASE_URL",),
        ),
        Profile(
            id="codex",
            name="Codex",
            command=("codex-acp",),
            install="npm install -g @agentclientprotocol/codex-acp",
            environment={
                "CODEX_HOME": "{home}/.codex",
                "NO_BROWSER": "1",
                # In the default mode a second model call decides permissions instead of people.
                "INITIAL_AGENT_MODE": "workspace-write",
                "DEFAULT_AUTH_REQUEST": json.dumps({"methodId": "api-key"}),
            },
            endpoint={"CODEX_CONFIG": json.dumps(_CODEX_ENDPOINT)},
            keys=_OPENAI,
            files={".codex/config.toml": _CODEX_CONFIG},
        ),
        Profile(
            id="gemini",
            name="Gemini CLI",
            command=("gemini", "--acp"),
            install="npm install -g @google/gemini-cli",
            # Its relaunch wrapper would hide the death of the real agent.
            environment={"GEMINI_CLI_NO_RELAUNCH": "1"},
            endpoint={"GOOGLE_GEMINI_BASE_URL": "{base_url}"},
            model={"GEMINI_MODEL": "{model}"},
            keys=_GOOGLE,
            settings=("GOOGLE_GEMINI_BASE_URL",),
            files={".gemini/settings.json": _GEMINI_SETTINGS},
            # A load begins a recording named after the session and the minute: in the same minute it is the old one.
            loading=Loading(is_once_a_minute=True, kept=".gemini/tmp/*/chats"),
        ),
        Profile(
            id="grok",
            name="Grok",
            command=("grok", "agent", "--no-leader", "stdio"),
            install="npm install -g @xai-official/grok",
            environment={
                "GROK_HOME": "{home}/.grok",
                "GROK_DISABLE_AUTOUPDATER": "1",
                "GROK_TELEMETRY_ENABLED": "0",
                "GROK_TELEMETRY_TRACE_UPLOAD": "0",
                "GROK_FEEDBACK_ENABLED": "0",
            },
            endpoint=dict.fromkeys(_GROK_ENDPOINTS, "{base_url}"),
            keys=_XAI,
            settings=_GROK_ENDPOINTS,
        ),
        Profile(
            id="demo",
            name="Demo agent",
            command=(sys.executable, "-P", "-m", "server.agents.demo"),
            install="it ships with the server",
            environment={"PYTHONPATH": _CODE_ROOT, "PYTHONNOUSERSITE": "1"},
            settings=("DEMO_AGENT_DELAY_SECONDS",),
            readable=(f"{_CODE_ROOT}/server",),
        ),
    )
}


def profile_of(backend: str) -> Profile:
    """The backend's profile; BadRequest for one that we do not know."""
    try:
        return PROFILES[backend]
    except KeyError:
        raise BadRequest(f"Unknown backend: {backend}") from None


def _setting(profile: Profile, what: str) -> str:
    """The name of one of the server's own settings for a backend: COMMAND, BASE_URL or MODEL."""
    return f"MISSIONSTREAM_BACKEND_{profile.id.upper()}_{what}"


def command_for(backend: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """The command line: `MISSIONSTREAM_BACKEND_<NAME>_COMMAND` where set, else the profile's. BadRequest if unknown."""
    profile = profile_of(backend)
    name = _setting(profile, "COMMAND")
    try:
        return tuple(shlex.split(env.get(name, ""))) or profile.command
    except ValueError as error:
        raise Unavailable(f"{name} is not a command line: {error}") from error


def is_installed(backend: str, env: Mapping[str, str]) -> bool:
    """True when the backend's program is found on the PATH of `env`. BadRequest if unknown."""
    return shutil.which(command_for(backend, env)[0], path=env.get("PATH")) is not None


def default_backend(env: Mapping[str, str]) -> str:
    """The backend of missions that name none: as configured, else the first one installed, else the demo agent."""
    configured = (env.get("MISSIONSTREAM_DEFAULT_BACKEND") or env.get("DEFAULT_BACKEND") or "").strip()
    if configured:
        return profile_of(configured).id
    return next((backend for backend in _PREFERENCE if is_installed(backend, env)), "demo")


def require_installed(backend: str, env: Mapping[str, str]) -> None:
    """BadRequest for an unknown backend; Unavailable, saying how to install it, for one that is not found."""
    profile = profile_of(backend)
    if not is_installed(backend, env):
        raise Unavailable(f"The backend {backend} is not installed on this server. To install: {profile.install}")


def launch_for(
    backend: str,
    env: Mapping[str, str],
    *,
    run_id: str,
    space: Path,
    home: Path,
    model: str | None = None,
    sandbox: Sandbox = _UNSHUT,
    owner: str = "",
) -> Launch:
    """How to start this backend for one run. BadRequest if it or the model's name is none; Unavailable if it is not
    installed or a setting of it is missing.

    `space` and `home` are absolute directories; the home is made when missing, the space must exist.
    """
    require_installed(backend, env)
    profile = profile_of(backend)
    passed = [name for name in (*_EVERYWHERE, *profile.settings, *profile.keys) if env.get(name)]
    chosen = model or env.get(_setting(profile, "MODEL")) or None
    if chosen and not _MODEL_NAME.fullmatch(chosen):
        raise BadRequest(f"This is not the name of a model: {chosen[:200]}")
    path = {"PATH": env["PATH"]} if env.get("PATH") else {}
    given = {name: env[name] for name in passed} | _unproxied(env)
    return Launch(
        run_id=run_id,
        backend=backend,
        command=command_for(backend, env),
        space=space,
        home=home,
        environment=path | given | _environment(profile, env, home=home, model=chosen),
        secrets=frozenset(profile.keys).intersection(passed),
        files=profile.files,
        model=_asked_model(profile, env, chosen),
        loading=profile.loading,
        owner=owner,
        sandbox=structs.replace(sandbox, readable=(*sandbox.readable, *_readable(profile, env))),
    )


def _readable(profile: Profile, env: Mapping[str, str]) -> list[Path]:
    """What the agent reads beside its program: the profile's folders, and the certificates of its environment."""
    return [Path(name) for name in (*profile.readable, *(env[name] for name in _CERTIFICATES if env.get(name)))]


def _unproxied(env: Mapping[str, str]) -> dict[str, str]:
    """Where there is a proxy, it is not for loopback: one agent reaches a server of its own there."""
    if not any(env.get(name) for name in _PROXIES):
        return {}
    names = [name.strip() for name in env.get("NO_PROXY", "").split(",") if name.strip()]
    return {"NO_PROXY": ",".join(dict.fromkeys([*names, "127.0.0.1", "localhost"]))}


def _base_url(profile: Profile, env: Mapping[str, str]) -> str:
    return env.get(_setting(profile, "BASE_URL"), "").strip()


def _asked_model(profile: Profile, env: Mapping[str, str], model: str | None) -> str | None:
    """The model to ask for in the session; None where the endpoint's configuration names it already."""
    is_configured = bool(_base_url(profile, env)) and any("{model}" in value for value in profile.endpoint.values())
    return None if is_configured else model


def _environment(profile: Profile, env: Mapping[str, str], *, home: Path, model: str | None) -> dict[str, str]:
    """The profile's own variables, filled in."""
    base_url = _base_url(profile, env)
    table = {**profile.environment, **(profile.endpoint if base_url else {}), **(profile.model if model else {})}
    if model is None and any("{model}" in value for value in table.values()):
        needed, missing = _setting(profile, "BASE_URL"), _setting(profile, "MODEL")
        raise Unavailable(f"{needed} needs a model's name: set {missing} too")
    holes = {"{home}": str(home), "{base_url}": base_url, "{model}": (model or "").removeprefix("endpoint/")}
    return {name: _filled(value, holes) for name, value in table.items()}


def _filled(value: str, holes: Mapping[str, str]) -> str:
    for hole, text in holes.items():
        value = value.replace(hole, text)
    return value
