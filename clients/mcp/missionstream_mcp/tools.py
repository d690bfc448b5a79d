"""The tools: what each does, said to the model that chooses among them."""

from importlib import metadata
from typing import Annotated, Any, Literal

import msgspec
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from missionstream_client import Client, Task
from missionstream_mcp.pages import page_of
from missionstream_mcp.refusals import told
from missionstream_mcp.surroundings import MISSION

INSTRUCTIONS = (
    "You work on a mission of Missionstream, and people follow it live. For work of several steps: break it into tasks "
    "with create_task, set each to running when you begin it and to completed or failed when it is over with "
    "update_task (list_tasks gives their ids), and say how far you are with report_progress whenever a step is done. "
    "For work of one step use none of these. read_events gives what has happened on the mission before, when you need "
    "it. In a crew the server keeps the tasks: only its LEAD makes them, while it plans; do your own, report_progress, and "
    "name what is missing in your hand-off. create_child_mission proposes a part of the work that should be done apart; people start it, so do not wait "
    "for it. If your tools are found by a search, search for missionstream."
)
"""What a host puts before its model, once for each session: nothing of it stands in the prompts of turns."""

MissionId = Annotated[str | None, Field(description="The mission's id. Leave it out for the mission you work on.")]
Title = Annotated[str, Field(min_length=1, max_length=200, description="One short line.")]
Description = Annotated[str | None, Field(max_length=4_000, description="What is to be done, or was found.")]
DependsOn = Annotated[
    list[str] | None,
    Field(max_length=200, description="Ids, or titles, of tasks that must be completed before this one may begin."),
]
AssignedAgent = Annotated[
    str | None,
    Field(max_length=200, description="The slug of the crew's agent that is to do it; anybody's without one."),
]
Count = Annotated[int, Field(ge=0, le=10_000)]
Status = Literal["pending", "running", "completed", "failed"]


def server_of(client: Client, mission_id: str | None) -> MCPServer:
    """An MCP server over an open client; `mission_id` is the mission that tools act on unless told otherwise."""
    server = MCPServer("missionstream", instructions=INSTRUCTIONS, version=_version(), log_level="ERROR")
    tools = Tools(client, mission_id)
    for tool in (
        tools.report_progress,
        tools.list_tasks,
        tools.create_task,
        tools.update_task,
        tools.create_child_mission,
        tools.read_events,
    ):
        server.add_tool(tool)
    return server


class Tools:
    """Each method is a tool; its docstring is what the model reads."""

    def __init__(self, client: Client, mission_id: str | None) -> None:
        self._client = client
        self._mission_id = mission_id

    def _mission(self, mission_id: str | None) -> str:
        chosen = mission_id or self._mission_id
        if chosen is None:
            raise ToolError(f"Which mission? Give mission_id: this server was started without {MISSION}.")
        return chosen

    async def report_progress(
        self,
        total_subtasks: Count,
        completed_subtasks: Count,
        current_subtask: Annotated[str | None, Field(max_length=200)] = None,
        depth: Annotated[int, Field(ge=0, le=100)] = 0,
        mission_id: MissionId = None,
    ) -> dict[str, Any]:
        """Tell the people who watch how far the work is: steps in all, steps done, and the one that you are at.

        Call it when you have a plan and whenever a step is done. Each report replaces the one before it.
        """
        with told():
            return await self._client.report_progress(
                self._mission(mission_id), total_subtasks, completed_subtasks, current_subtask, depth=depth
            )

    async def list_tasks(self, mission_id: MissionId = None) -> dict[str, Any]:
        """List the mission's tasks, oldest first, with their ids and statuses (pending, running, completed, failed)."""
        with told():
            tasks = await self._client.tasks(self._mission(mission_id))
        return {"tasks": [_row(task) for task in tasks]}

    async def create_task(
        self,
        title: Title,
        description: Description = None,
        depends_on: DependsOn = None,
        assigned_agent: AssignedAgent = None,
        mission_id: MissionId = None,
    ) -> dict[str, Any]:
        """Add a task to the mission; it starts as pending. Keep the id for update_task, or for later tasks' depends_on.

        In a crew only its LEAD may, while it plans: whoever does a task names what is missing in the hand-off.
        depends_on and assigned_agent are for the LEAD of a crew, which has up to 5,000 tasks; others have up to 200.
        """
        with told():
            made = await self._client.create_task(
                self._mission(mission_id),
                title,
                description,
                depends_on=depends_on or (),
                assigned_agent=assigned_agent,
            )
        return _row(made)

    async def update_task(
        self,
        task_id: Annotated[str, Field(description="As create_task or list_tasks gave it.")],
        status: Status | None = None,
        title: Annotated[str | None, Field(min_length=1, max_length=200)] = None,
        description: Description = None,
        mission_id: MissionId = None,
    ) -> dict[str, Any]:
        """Change a task of a mission that has no crew: running when you begin it, completed or failed when it is over. Only what you give changes."""
        with told():
            return _row(
                await self._client.update_task(
                    self._mission(mission_id), task_id, status=status, title=title, description=description
                )
            )

    async def create_child_mission(
        self,
        title: Title,
        backend: Annotated[str | None, Field(description="Another kind of agent than yours.")] = None,
        mission_id: MissionId = None,
    ) -> dict[str, Any]:
        """Propose a part of the work as a mission of its own, below this one and in the same space.

        It stays pending: people start it by sending it a message. Do not wait for it in this turn.
        """
        with told():
            made = await self._client.create_mission(
                title, backend=backend, parent_mission_id=self._mission(mission_id)
            )
        return {"id": made.id, "title": made.title, "status": made.status, "backend": made.backend}

    async def read_events(
        self,
        since_seq: Annotated[int, Field(ge=0, description="Give what follows this sequence; 0 from the start.")] = 0,
        limit: Annotated[int, Field(ge=1, le=200)] = 50,
        mission_id: MissionId = None,
    ) -> dict[str, Any]:
        """Read what has happened on the mission, in order. Go on with since_seq = next_since_seq while has_more.

        Long contents are cut; cut_characters says by how much.
        """
        with told():
            page = await self._client.events(self._mission(mission_id), since_seq=since_seq, limit=limit)
        return page_of(page.events, since_seq, page.max_sequence or 0)


def _row(task: Task) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(task)
    return {name: row[name] for name in ("id", "title", "description", "status")}


def _version() -> str:
    for name in ("missionstream-mcp", "missionstream"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "0"
