"""GET /api/v1/mission-metrics: how a workspace's missions do."""

from datetime import UTC, datetime, timedelta

from aiohttp import web

from server.core import core, principal
from server.dialects.crew.answers import reply

WINDOW = timedelta(hours=24)


async def mission_metrics(request: web.Request) -> web.Response:
    """Counts of all missions, and what happened in the last 24 hours."""
    since = datetime.now(UTC) - WINDOW
    metrics = await core(request).crew_missions.metrics(principal(request).workspace_id, since)
    return reply(metrics._asdict())
