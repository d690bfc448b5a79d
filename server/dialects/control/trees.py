"""Control's tree of agents: a mission, its tasks and its child missions, read whole and told as it changes."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog

from server.missions.kinds import MissionKind
from server.missions.tasks import Task
from storage.missions import Family, MissionRow, Missions
from streams.errors import MissionstreamError, NotFound
from streams.event import Event, Signal
from streams.hub import Hub

MAX_LEVELS = 5
MAX_MISSIONS = 200
MAX_NODES = 1_000
_PAUSE_SECONDS = 0.25
_MOST_DIRTY = 200
_CHANGES = frozenset(
    {"mission_created", "mission_status_changed", "mission_title_changed", "task_created", "task_updated"}
)
log = structlog.get_logger()

_NODE_STATUS = {
    "pending": "pending",
    "active": "running",
    "completed": "completed",
    "failed": "failed",
    "interrupted": "failed",
}


def tree_of(family: Family, kinds: Mapping[str, MissionKind]) -> dict[str, Any]:
    """The AgentTreeNode of a mission: below it its tasks, then its child missions with theirs.

    At most MAX_NODES nodes; `truncated` on the root says that there are more, or deeper ones.
    """
    below: dict[UUID, list[MissionRow]] = {}
    for row in family.descendants:
        if row.parent_id is not None:
            below.setdefault(row.parent_id, []).append(row)
    room = MAX_NODES - 1 - len(family.descendants)
    is_cut = family.is_cut
    root = _mission_node(family.root, kinds)
    level = [(root, family.root)]
    while level:
        deeper: list[tuple[dict[str, Any], MissionRow]] = []
        for node, row in level:
            tasks = kinds[row.kind].facts(row.state).tasks
            is_cut = is_cut or len(tasks) > room
            node["children"] += [_task_node(task) for task in tasks[:room]]
            room -= len(tasks[:room])
            for child in below.get(row.id, ()):
                made = _mission_node(child, kinds, name="Subagent")
                node["children"].append(made)
                deeper.append((made, child))
        level = deeper
    root["truncated"] = is_cut
    return root


def _mission_node(row: MissionRow, kinds: Mapping[str, MissionKind], *, name: str = "Root") -> dict[str, Any]:
    facts = kinds[row.kind].facts(row.state)
    node = _node(str(row.id), name, facts.agent or facts.backend, row.title or "", _NODE_STATUS[row.phase])
    return {
        **node,
        "budget_allocated": facts.budget.cost_cents or 0,
        "budget_spent": round(facts.spent.joined(facts.spent_below).cost_cents),
        "selected_model": facts.model_override,
    }


def _task_node(task: Task) -> dict[str, Any]:
    return _node(task.id, "Task", task.title, task.description, task.status)


def _node(identity: str, kind: str, name: str, description: str, status: str) -> dict[str, Any]:
    return {
        "id": identity,
        "type": kind,
        "node_type": kind,
        "name": name,
        "description": description,
        "status": status,
        "budget_allocated": 0,
        "budget_spent": 0,
        "children": [],
    }


async def read_tree(missions: Missions, kinds: Mapping[str, MissionKind], workspace_id: UUID, mission_id: UUID) -> Any:
    """The tree as of now; NotFound for a mission that is not there."""
    family = await missions.family(workspace_id, mission_id, levels=MAX_LEVELS, limit=MAX_MISSIONS)
    return tree_of(family, kinds)


class TreeTeller:
    """Says `agent_tree` on the streams of a mission and of those above it when a tree has changed.

    The trees are read while somebody is connected only, at most four times a second, and of missions with tasks or
    relatives only. Each is said once: who missed it reads /tree.
    """

    def __init__(self, missions: Missions, kinds: Mapping[str, MissionKind], hub: Hub) -> None:
        self._missions = missions
        self._kinds = kinds
        self._hub = hub
        self._dirty: dict[tuple[UUID, UUID], None] = {}
        self._telling: asyncio.Task[None] | None = None

    def notice(self, workspace_id: UUID, events: Sequence[Event]) -> None:
        """Hear of committed events. Never raises."""
        if not self._hub.connections:
            return
        for event in events:
            if event.type in _CHANGES and len(self._dirty) < _MOST_DIRTY:
                self._dirty[workspace_id, event.stream_id] = None
        if self._dirty and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell(), name="agent trees")

    async def close(self) -> None:
        """Stop telling."""
        if self._telling is not None:
            self._telling.cancel()
            with suppress(asyncio.CancelledError):
                await self._telling

    async def _tell(self) -> None:
        while self._dirty:
            await asyncio.sleep(_PAUSE_SECONDS)
            changed, self._dirty = self._dirty, {}
            try:
                for workspace_id in {workspace_id for workspace_id, _ in changed}:
                    ids = [mission_id for of, mission_id in changed if of == workspace_id]
                    for root in await self._missions.with_relatives(workspace_id, ids, levels=MAX_LEVELS):
                        await self._say(workspace_id, root)
            except MissionstreamError as error:
                log.info("trees.not_told", reason=error.message)
            except Exception:
                log.exception("trees.failed")

    async def _say(self, workspace_id: UUID, mission_id: UUID) -> None:
        with suppress(NotFound):
            family = await self._missions.family(workspace_id, mission_id, levels=MAX_LEVELS, limit=MAX_MISSIONS)
            self._hub.signal(
                Signal(
                    workspace_id=workspace_id,
                    stream_id=mission_id,
                    type="agent_tree",
                    after=family.root.head,
                    body={"tree": tree_of(family, self._kinds)},
                )
            )
