"""What a stream's first frame needs of the database, read once for a herd that opens together."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from storage.missions import MissionRow, Missions
from streams.channels import Channel
from streams.hub import Hub

_FRESH_SECONDS = 1.0
_MOST = 1_000


class _Read(NamedTuple):
    at: float
    applied: int
    rows: "asyncio.Task[Sequence[MissionRow]]"


class Openings:
    """The missions behind a channel: the one that it narrows to, or the workspace's busy ones.

    A reading is shared while nothing was applied to the workspace since, for a second at the longest.
    """

    def __init__(self, missions: Missions, hub: Hub) -> None:
        self._missions = missions
        self._hub = hub
        self._reads: dict[Channel, _Read] = {}

    async def rows(self, channel: Channel) -> Sequence[MissionRow]:
        """The missions; NotFound for a mission that is not there."""
        now = asyncio.get_running_loop().time()
        applied = (await self._hub.follower(channel.workspace_id)).applied
        known = self._reads.get(channel)
        if known is None or known.applied != applied or now - known.at > _FRESH_SECONDS:
            if len(self._reads) >= _MOST:
                self._reads.clear()
            known = self._reads[channel] = _Read(now, applied, asyncio.create_task(self._read(channel)))
        return await asyncio.shield(known.rows)

    async def _read(self, channel: Channel) -> Sequence[MissionRow]:
        if channel.kind == "mission":
            return [await self._missions.get(channel.workspace_id, channel.id)]
        return await self._missions.busy(channel.workspace_id)
