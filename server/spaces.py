"""Spaces on disk: where an agent works, and its home. Paths of people's own only below the configured roots."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID, uuid5

from server.missions.kinds import NO_SPACE
from storage import spaces
from storage.ids import new_id
from storage.pool import Database
from storage.rules import Key
from storage.spaces import SpaceRow
from streams.errors import NotFound, Unprocessable

DEFAULT_NAME = "host"


class Spaces:
    """The spaces of all workspaces. Each workspace has a default one, under the nil UUID."""

    def __init__(self, database: Database, data_dir: Path, roots: Sequence[Path]) -> None:
        self._database = database
        self._data_dir = data_dir
        self._roots = [root.resolve() for root in roots]

    async def listed(self, workspace_id: UUID) -> Sequence[SpaceRow]:
        """All spaces of a workspace, the default one among them."""
        await spaces.ensure(self._database, workspace_id, NO_SPACE, DEFAULT_NAME)
        return await spaces.listed(self._database, workspace_id)

    async def create(self, workspace_id: UUID, name: str, path: str | None, *, key: Key | None = None) -> SpaceRow:
        """Make a space; Unprocessable for a path outside MISSIONSTREAM_SPACE_ROOTS, Conflict for a known name.

        The id is made of the idempotency key, if there is one: so a repeat finds the first one's space.
        """
        if path is not None:
            await asyncio.to_thread(self._check, Path(path))
        await self.listed(workspace_id)
        space_id = new_id() if key is None else uuid5(workspace_id, f"{key.scope}:{key.key}")
        return await spaces.create(self._database, workspace_id, space_id, name, path)

    def _check(self, path: Path) -> None:
        resolved = path.resolve()
        if not path.is_absolute() or not any(resolved.is_relative_to(root) for root in self._roots):
            allowed = ", ".join(map(str, self._roots)) or "none is configured"
            raise Unprocessable(f"a space's path must lie below MISSIONSTREAM_SPACE_ROOTS ({allowed})")
        if not resolved.is_dir():
            raise Unprocessable(f"{resolved} is not a directory")

    def path(self, workspace_id: UUID, space: SpaceRow) -> Path:
        """Where a space lies."""
        return Path(space.path) if space.path else self._data_dir / "spaces" / str(workspace_id) / str(space.id)

    async def directory(self, workspace_id: UUID, space_id: UUID) -> Path:
        """A space's directory, made when it is ours and missing. NotFound for an unknown space."""
        if space_id == NO_SPACE:
            await spaces.ensure(self._database, workspace_id, NO_SPACE, DEFAULT_NAME)
        space = await spaces.one(self._database, workspace_id, space_id)
        if space is None:
            raise NotFound(f"Workspace {space_id} not found; GET /api/workspaces lists them")
        path = self.path(workspace_id, space)
        if space.path is None:
            await asyncio.to_thread(path.mkdir, mode=0o700, parents=True, exist_ok=True)
        else:
            await asyncio.to_thread(self._check, path)  # a link may have been put in its place since
        return path

    def home(self, mission_id: UUID, seat: str | None = None) -> Path:
        """The home directory of a mission's agent, or of one of its agents: sessions, configuration, caches."""
        home = self._data_dir / "homes" / str(mission_id)
        return home if seat is None else home / seat
