"""Launching backends: commands, models and endpoints, as the environment sets them over the table."""

import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from msgspec import structs

from server.agents.backends import PROFILES, Profile, profile_of
from server.agents.modes import mode_of
from server.agents.policy import DEFAULT, POLICIES, Policy
from server.agents.process import Launch
from server.agents.sandbox import Sandbox
from server.agents.tooling import McpServer
from streams.errors import BadRequest, Unavailable

__all__ = [
    "PROFILES",
    "Profile",
    "command_for",
    "default_backend",
    "default_policy",
    "is_installed",
    "launch_for",
    "profile_of",
    "require_installed",
]

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
_EVERYWHERE = (*_PROXIES, "NO_PROXY", *_CERTIFICATES, "TZ")
_UNSHUT = Sandbox()
# It is written into configurations, where quotes and braces would mean something: one reads files that it names.
_MODEL_NAME = re.compile(r"[\w.:/@+()\[\] -]{1,200}")
_PREFERENCE = ("claudecode", "opencode", "grok", "gemini", "codex")


def _setting(profile: Profile, what: str) -> str:
    """The name of one of the server's own settings for a backend: COMMAND, BASE_URL, MODEL …"""
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


def default_policy(backend: str, env: Mapping[str, str]) -> Policy:
    """The permission policy of missions that name none: `MISSIONSTREAM_BACKEND_<NAME>_PERMISSIONS`, else ask.

    BadRequest for an unknown backend, Unavailable for a setting that is no policy.
    """
    name = _setting(profile_of(backend), "PERMISSIONS")
    word = env.get(name, "").strip() or DEFAULT
    for policy in POLICIES:
        if word == policy:
            return policy
    raise Unavailable(f"{name} is {word[:40]!r}; set it to one of {', '.join(POLICIES)}")


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
    agent: str | None = None,
    owner: str = "",
    mcp_servers: tuple[McpServer, ...] = (),
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
        mcp_servers=mcp_servers,
        sandbox=structs.replace(sandbox, readable=(*sandbox.readable, *_readable(profile, env))),
        mode=mode_of(backend, agent),
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
