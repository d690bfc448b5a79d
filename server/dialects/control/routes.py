"""Control's URL table."""

from server.dialects.control import appending, messages, missions, reading, resources, tasks
from server.dialects.control.streaming import stream
from server.routing import PUBLIC, Route

MISSIONS = "/api/control/missions"

ROUTES = (
    Route("GET", "/api/health", resources.health, PUBLIC),
    Route("POST", "/api/auth/login", resources.login, PUBLIC),
    # events; first, since the router asks one after another, and these are asked for most
    Route("GET", MISSIONS + "/{id}/events", reading.mission_events, "missions:view", is_for_agents=True),
    Route("POST", MISSIONS + "/{id}/events", appending.append_events, "missions:append"),
    Route("GET", MISSIONS + "/{id}/snapshot", reading.snapshot, "missions:view", is_for_agents=True),
    Route("GET", "/api/control/events", reading.workspace_events, "stream:view"),
    Route("GET", "/api/control/stream", stream, "stream:view"),
    # missions
    Route("POST", MISSIONS, missions.create_mission, "missions:create", is_for_agents=True),
    Route("GET", MISSIONS, reading.list_missions, "missions:view"),
    Route("GET", f"{MISSIONS}/current", reading.current_mission, "missions:view"),
    Route("POST", f"{MISSIONS}/cleanup", missions.cleanup, "missions:create"),
    Route("GET", MISSIONS + "/{id}", reading.get_mission, "missions:view"),
    Route("DELETE", MISSIONS + "/{id}", missions.delete_mission, "missions:create"),
    Route("POST", MISSIONS + "/{id}/load", missions.load_mission, "missions:view"),
    Route("POST", MISSIONS + "/{id}/cancel", missions.cancel_mission, "missions:create"),
    Route("POST", MISSIONS + "/{id}/status", missions.set_status, "missions:create"),
    Route("POST", MISSIONS + "/{id}/title", missions.set_title, "missions:create"),
    Route("POST", MISSIONS + "/{id}/settings", missions.configure_mission, "missions:create"),
    Route("POST", MISSIONS + "/{id}/resume", missions.resume_mission, "missions:create"),
    Route("POST", MISSIONS + "/{id}/parallel", messages.run_parallel, "missions:create"),
    Route("GET", MISSIONS + "/{id}/tree", reading.tree, "missions:view"),
    Route("POST", MISSIONS + "/{id}/progress", tasks.report_progress, "missions:create", is_for_agents=True),
    Route("GET", MISSIONS + "/{id}/tasks", tasks.list_tasks, "missions:view", is_for_agents=True),
    Route("POST", MISSIONS + "/{id}/tasks", tasks.create_task, "missions:create", is_for_agents=True),
    Route("PATCH", MISSIONS + "/{id}/tasks/{task_id}", tasks.update_task, "missions:create", is_for_agents=True),
    # turns
    Route("POST", "/api/control/message", messages.send_message, "missions:create"),
    Route("POST", "/api/control/cancel", missions.cancel_current, "missions:create"),
    Route("POST", "/api/control/tool_result", appending.tool_result, "agents:answer"),
    Route("GET", "/api/control/running", reading.list_running, "missions:view"),
    Route("GET", "/api/control/queue", reading.list_queue, "missions:view"),
    Route("DELETE", "/api/control/queue", messages.clear_queue, "missions:create"),
    Route("DELETE", "/api/control/queue/{id}", messages.remove_queued, "missions:create"),
    Route("GET", "/api/control/progress", reading.progress, "missions:view"),
    Route("GET", "/api/control/parallel/config", reading.parallel_config, "missions:view"),
    # spaces and backends
    Route("GET", "/api/workspaces", resources.list_spaces, "spaces:view"),
    Route("POST", "/api/workspaces", resources.create_space, "spaces:manage"),
    Route("GET", "/api/backends", resources.list_backends, "missions:view"),
    Route("GET", "/api/backends/{id}", resources.get_backend, "missions:view"),
    Route("GET", "/api/backends/{id}/agents", resources.backend_agents, "missions:view"),
    Route("GET", "/api/backends/{id}/config", resources.backend_config, "missions:view"),
    Route("GET", "/api/library/{rest:.*}", resources.no_library, "missions:view"),
)
