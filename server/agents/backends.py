"""The table of backends: how each agent is started, what its environment must say, and how to install it."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from server.agents.memory import Loading
from server.agents.policy import DEFAULT, Policy
from streams.errors import BadRequest

_CODE_ROOT = str(Path(__file__).resolve().parents[2])
_ANTHROPIC = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
_OPENAI = ("OPENAI_API_KEY", "CODEX_API_KEY")
_GOOGLE = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
_XAI = ("XAI_API_KEY",)
_GROK_ENDPOINTS = ("GROK_XAI_API_BASE_URL", "GROK_MODELS_BASE_URL", "GROK_CLI_CHAT_PROXY_BASE_URL")


class Mode(msgspec.Struct, frozen=True):
    """One of a backend's own ways to work. `needs` is the least policy that lets an agent do unasked as much as it does."""

    id: str
    name: str
    needs: Policy = DEFAULT


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One backend. `{home}`, `{base_url}` and `{model}` in a value of a variable stand for what the run has.

    `environment` is always given; `endpoint` on top of it when `MISSIONSTREAM_BACKEND_<NAME>_BASE_URL` names another
    model endpoint, `model` when a model is chosen. `keys` are secrets and `settings` plain variables that are handed on
    from the server's environment when set there. `files` are written below the home. `modes` are the agents that a
    mission or a message may choose. `readable` folders are shown in the sandbox beside the program's own. `loading` is
    what to mind when it loads a session. `node` is the least major version of Node that its program was seen to run on;
    None where it needs none. The agent counts as installed when its command's first word is found.
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
    modes: tuple[Mode, ...] = ()
    readable: tuple[str, ...] = ()
    loading: Loading = Loading()
    node: int | None = None


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
            modes=(Mode("build", "Build"), Mode("plan", "Plan")),
        ),
        Profile(
            id="claudecode",
            name="Claude Code",
            command=("claude-agent-acp",),
            install="npm install -g @agentclientprotocol/claude-agent-acp",
            node=20,
            environment={
                "CLAUDE_CONFIG_DIR": "{home}/.claude",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "DISABLE_AUTOUPDATER": "1",
                # A refused key is otherwise retried for more than 40 seconds.
                "CLAUDE_CODE_MAX_RETRIES": "1",
                "ENABLE_TOOL_SEARCH": "false",
                # Its first request to the model would go out before the session's MCP servers are there.
                "MCP_CONNECTION_NONBLOCKING": "0",
            },
            endpoint={"ANTHROPIC_BASE_URL": "{base_url}"},
            model={"ANTHROPIC_MODEL": "{model}"},
            keys=_ANTHROPIC,
            settings=("ANTHROPIC_BASE_URL",),
            modes=(
                Mode("default", "Default"),
                Mode("plan", "Plan"),
                Mode("dontAsk", "Don't ask"),
                Mode("acceptEdits", "Accept edits", "allow_all"),
                Mode("auto", "Auto", "allow_all"),
                Mode("bypassPermissions", "Bypass permissions", "allow_all"),
            ),
        ),
        Profile(
            id="codex",
            name="Codex",
            command=("codex-acp",),
            install="npm install -g @agentclientprotocol/codex-acp",
            node=20,
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
            modes=(
                Mode("workspace-write", "Workspace access"),
                Mode("read-only", "Read-only"),
                Mode("agent", "Auto review", "allow_all"),
                Mode("agent-full-access", "Full access", "allow_all"),
            ),
        ),
        Profile(
            id="gemini",
            name="Gemini CLI",
            command=("gemini", "--acp"),
            install="npm install -g @google/gemini-cli",
            node=20,
            # Its relaunch wrapper would hide the death of the real agent.
            environment={"GEMINI_CLI_NO_RELAUNCH": "1"},
            endpoint={"GOOGLE_GEMINI_BASE_URL": "{base_url}"},
            model={"GEMINI_MODEL": "{model}"},
            keys=_GOOGLE,
            settings=("GOOGLE_GEMINI_BASE_URL",),
            files={".gemini/settings.json": _GEMINI_SETTINGS},
            # A load begins a recording named after the session and the minute: in the same minute it is the old one.
            # It answers before it has told all of the session again, in one go.
            loading=Loading(is_once_a_minute=True, kept=".gemini/tmp/*/chats", quiet_seconds=0.5),
            modes=(
                Mode("default", "Default"),
                Mode("plan", "Plan"),
                Mode("autoEdit", "Auto edit", "allow_all"),
                Mode("yolo", "YOLO", "allow_all"),
            ),
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
    """The backend's profile; BadRequest, with those that there are, for one that we do not know."""
    try:
        return PROFILES[backend]
    except KeyError:
        raise BadRequest(f"Unknown backend: {backend[:40]}; one of {', '.join(PROFILES)}") from None
