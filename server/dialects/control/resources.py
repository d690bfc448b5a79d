"""What control's clients need beside missions: health, login, spaces, backends."""

import asyncio
from importlib.metadata import version
from typing import Any

from aiohttp import web

from server.agents import profiles
from server.agents.installed import installed
from server.agents.modes import choices
from server.body import read
from server.core import core, principal
from server.dialects.control import wire
from server.dialects.control.answers import reply
from server.dialects.control.errors import text
from server.keys import key_of
from streams.errors import BadRequest, NotFound


async def health(request: web.Request) -> web.Response:
    """GET /api/health, public: what clients need to know before they sign in."""
    settings = core(request).settings
    is_open = settings.auth == "off"
    return reply(
        {
            "status": "ok",
            "version": version("missionstream"),
            "dev_mode": is_open,
            "auth_required": not is_open,
            "auth_mode": "disabled" if is_open else "single_tenant",
            "max_iterations": 50,
            "github_enabled": False,
        }
    )


async def login(request: web.Request) -> web.Response:
    """POST /api/auth/login, public: a password for a JWT."""
    body = await read(request, wire.Login)
    token, expires = await core(request).authenticator.login(body.password, body.username, remote=request.remote)
    return reply({"token": token, "exp": expires})


async def list_spaces(request: web.Request) -> web.Response:
    """GET /api/workspaces: the spaces, in the original's word workspaces."""
    services, who = core(request), principal(request)
    rows = await services.spaces.listed(who.workspace_id)
    return reply([wire.space(row, str(services.spaces.path(who.workspace_id, row))) for row in rows])


async def create_space(request: web.Request) -> web.Response:
    """POST /api/workspaces: a path only below MISSIONSTREAM_SPACE_ROOTS, else a directory of our own."""
    services, who = core(request), principal(request)
    body = await read(request, wire.CreateSpace)
    name = body.name.strip()
    if not 0 < len(name) <= 100:
        raise BadRequest("a workspace's name has 1 to 100 characters")
    key = key_of(request, "control.space", body)
    row = await services.spaces.create(who.workspace_id, name, body.path, key=key)
    return reply(wire.space(row, str(services.spaces.path(who.workspace_id, row))))


async def list_backends(request: web.Request) -> web.Response:
    """GET /api/backends"""
    return reply([{"id": profile.id, "name": profile.name} for profile in profiles.PROFILES.values()])


def _profile(request: web.Request) -> profiles.Profile:
    name = request.match_info["id"]
    profile = profiles.PROFILES.get(name)
    if profile is None:
        raise NotFound(f"Backend {name[:40]} not found; known: {', '.join(profiles.PROFILES)}")
    return profile


async def get_backend(request: web.Request) -> web.Response:
    """GET /api/backends/:id"""
    profile = _profile(request)
    return reply({"id": profile.id, "name": profile.name})


async def backend_agents(request: web.Request) -> web.Response:
    """GET /api/backends/:id/agents: what `agent` may be for this backend, its usual one first."""
    return reply(choices(_profile(request).id))


async def backend_config(request: web.Request) -> web.Response:
    """GET /api/backends/:id/config: whether it is installed and has a key; never the key."""
    profile, environment = _profile(request), core(request).environment
    found = await asyncio.to_thread(installed, profile.id, environment)
    body: dict[str, Any] = {
        "id": profile.id,
        "name": profile.name,
        "enabled": True,
        "settings": {},
        "cli_available": found.program is not None,
        "version": found.version,
        "key_names": found.keys,
        "key_present": found.has_key,
        "install": profile.install,
        "permission_policy": profiles.default_policy(profile.id, environment),
    }
    return reply(body)


async def no_library(request: web.Request) -> web.Response:
    """GET /api/library/…: this server has no library; clients have a path for exactly this answer."""
    return text(503, "Library not initialized")
