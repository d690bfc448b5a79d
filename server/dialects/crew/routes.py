"""Crew's URL tables: what users do for themselves, and what members do in a workspace."""

from aiohttp import web

from server.dialects.crew import accounts, agents, crews, guard, members, workspaces
from server.dialects.crew.face import CrewFace
from server.routing import PUBLIC, SIGNED_IN, Route, mount
from server.socket import ws_token

MEMBERS = "/api/v1/workspaces/{workspaceId}/members"

ACCOUNT = (
    Route("GET", "/api/v1/ws-token", ws_token, SIGNED_IN),
    Route("POST", "/api/v1/bootstrap", accounts.bootstrap, PUBLIC),
    Route("GET", "/api/v1/auth/cli-token/validate", accounts.validate_token, SIGNED_IN),
    Route("POST", "/api/v1/auth/cli-token", accounts.create_token, "tokens:manage"),
    Route("GET", "/api/v1/auth/cli-tokens", accounts.list_tokens, "tokens:manage"),
    Route("DELETE", "/api/v1/auth/cli-tokens/{tokenId}", accounts.revoke_token, "tokens:manage"),
    Route("GET", "/api/v1/workspaces", workspaces.list_workspaces, SIGNED_IN),
    Route("POST", "/api/v1/workspaces", workspaces.create_workspace, SIGNED_IN),
)
"""No workspace need be named."""

WORKSPACE = (
    Route("GET", "/api/v1/workspaces/{workspaceId}", workspaces.get_workspace, "missions:view"),
    Route("GET", MEMBERS, members.list_members, "workspace:admin"),
    Route("POST", MEMBERS, members.add_member, "workspace:admin"),
    Route("PATCH", MEMBERS + "/{memberId}", members.change_member, "workspace:admin"),
    Route("DELETE", MEMBERS + "/{memberId}", members.remove_member, "workspace:admin"),
    Route("GET", "/api/v1/crews", crews.list_crews, "missions:view"),
    Route("POST", "/api/v1/crews", crews.create_crew, "crews:write"),
    Route("GET", "/api/v1/crews/{crewId}", crews.get_crew, "missions:view"),
    Route("PATCH", "/api/v1/crews/{crewId}", crews.update_crew, "crews:write"),
    Route("DELETE", "/api/v1/crews/{crewId}", crews.delete_crew, "crews:write"),
    Route("GET", "/api/v1/agents", agents.list_agents, "missions:view"),
    Route("POST", "/api/v1/agents", agents.create_agent, "crews:write"),
    Route("GET", "/api/v1/agents/{agentId}", agents.get_agent, "missions:view"),
    Route("PATCH", "/api/v1/agents/{agentId}", agents.update_agent, "crews:write"),
    Route("DELETE", "/api/v1/agents/{agentId}", agents.delete_agent, "crews:write"),
)
"""The workspace is named by query, path or header; the permission must be held there."""


def mount_crew(app: web.Application) -> None:
    """Add crew's routes, each table behind its guard."""
    face = CrewFace()
    mount(app, ACCOUNT, face, guard.at_home)
    mount(app, WORKSPACE, face, guard.in_workspace)
