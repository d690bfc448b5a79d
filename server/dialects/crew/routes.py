"""Crew's URL tables: what users do for themselves, and what members do in a workspace."""

from aiohttp import web

from server.dialects.crew import (
    accounts,
    agents,
    checkpoints,
    crews,
    entries,
    guard,
    journalstream,
    members,
    metrics,
    missions,
    moves,
    tasks,
    workspaces,
)
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
    Route("DELETE", MEMBERS + "/{memberId}", members.remove_member, "missions:view"),
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

_MISSIONS = "/api/v1/crews/{crewId}/missions"
_MISSION = _MISSIONS + "/{missionId}"
_TASK = _MISSION + "/tasks/{taskId}"
_CHECKPOINTS = "/api/v1/missions/{missionId}/checkpoints"
_CHECKPOINT = "/api/v1/checkpoints/{checkpointId}"

MISSIONS = (
    Route("GET", _MISSIONS, missions.list_crew_missions, "missions:view"),
    Route("POST", _MISSIONS, missions.create_mission, "crews:write"),
    Route("GET", _MISSION, missions.get_mission, "missions:view"),
    Route("PATCH", _MISSION, missions.update_mission, "crews:write"),
    Route("DELETE", _MISSION, missions.delete_mission, "crews:write"),
    Route("POST", _MISSION + "/start", moves.start_mission, "crews:write"),
    Route("POST", _MISSION + "/restart", moves.restart_mission, "crews:write"),
    Route("POST", _MISSION + "/resume", moves.resume_mission, "crews:write"),
    Route("POST", _MISSION + "/clone", moves.clone_mission, "crews:write"),
    Route("POST", _MISSION + "/tasks", tasks.create_task, "crews:write"),
    Route("PATCH", _TASK, tasks.update_task, "crews:write"),
    Route("POST", _TASK + "/approve", tasks.approve_task, "crews:write"),
    Route("GET", _CHECKPOINTS, checkpoints.list_checkpoints, "missions:view"),
    Route("POST", _CHECKPOINTS, checkpoints.create_checkpoint, "checkpoints:write"),
    Route("GET", _CHECKPOINT, checkpoints.get_checkpoint, "missions:view"),
    Route("DELETE", _CHECKPOINT, checkpoints.delete_checkpoint, "checkpoints:write"),
    Route("POST", _CHECKPOINT + "/restore", checkpoints.restore_checkpoint, "checkpoints:write"),
    Route("POST", _CHECKPOINT + "/fork", checkpoints.fork_checkpoint, "checkpoints:write"),
    Route("GET", "/api/v1/mission-metrics", metrics.mission_metrics, "missions:view"),
    Route("GET", "/api/v1/journal", entries.list_entries, "missions:view"),
    Route("GET", "/api/v1/journal/count", entries.count_entries, "missions:view"),
    Route("GET", "/api/v1/journal/stream", journalstream.stream_entries, "stream:view"),
    Route("GET", "/api/v1/journal/{entryId}", entries.get_entry, "missions:view"),
)
"""Missions, their tasks and checkpoints, and what happened. The workspace is named as in WORKSPACE."""

SHARED = (Route("GET", "/api/v1/missions", missions.list_missions, "missions:view"),)
"""Who names no workspace is answered for their own."""


def mount_crew(app: web.Application) -> None:
    """Add crew's routes, each table behind its guard."""
    face = CrewFace()
    mount(app, ACCOUNT, face, guard.at_home)
    mount(app, WORKSPACE, face, guard.in_workspace)
    mount(app, MISSIONS, face, guard.in_workspace)
    mount(app, SHARED, face, guard.wherever)
