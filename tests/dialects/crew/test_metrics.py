"""Mission metrics: the documented meaning, against a small world and windows that begin between its events."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.dialects.crew import ids
from storage.crewmissions import Metrics
from tests.conftest import Serving
from tests.dialects.crew.people import a_team, dismissed
from tests.dialects.crew.world import Crew, a_crew

pytestmark = pytest.mark.asyncio(loop_scope="module")
METRICS = "/api/v1/mission-metrics"
NOTHING = Metrics(0, 0, 0, 0, 0, 0.0, 0, 0, 0)


async def now(crew: Crew) -> datetime:
    """A moment after everything that was answered, and before everything that will be asked."""
    await asyncio.sleep(0.002)
    moment = datetime.now(UTC)
    await asyncio.sleep(0.002)
    return moment


async def metrics(crew: Crew, since: datetime) -> Metrics:
    return await crew.shared.core.crew_missions.metrics(crew.boss.workspace_id, since)


async def test_the_metrics_mean_what_they_say(shared: Serving) -> None:
    team = await a_team(shared)
    crew = await a_crew(shared, team["OWNER"])
    assert await crew.boss.get(METRICS) == NOTHING._asdict()

    begin = await now(crew)
    done = await crew.mission()
    for tokens, cost in ((100, 0.1), (200, 0.2)):
        task = await crew.task(done, "IN_PROGRESS")
        await crew.patch(done, task, token_count=tokens, estimated_cost=cost)
        await crew.turned(done, task, "COMPLETED")
    skipped = await crew.task(done, "SKIPPED")
    await crew.patch(done, skipped, token_count=7)
    unfinished = await crew.task(done, "IN_PROGRESS")
    await crew.patch(done, unfinished, token_count=1_000_000)
    await crew.moved(done, "IN_PROGRESS", "REVIEW", "COMPLETED")
    took = await took_ms(crew, done)

    middle = await now(crew)
    failed = await crew.mission()
    broken = await crew.task(failed, "FAILED")
    await crew.patch(failed, broken, token_count=30)
    await crew.moved(failed, "IN_PROGRESS", "FAILED")
    await crew.mission("CANCELLED")
    for status in ("PLANNING", "IN_PROGRESS", "REVIEW"):
        await crew.mission(status)

    everything = Metrics(
        total_missions=6,
        active_missions=3,
        completed_24h=1,
        failed_24h=1,
        total_tokens_24h=337,
        total_cost_24h=0.3,
        avg_completion_time_ms=took,
        tasks_completed_24h=2,
        tasks_failed_24h=1,
    )
    answer = await crew.boss.ask("GET", METRICS)
    assert answer.json == everything._asdict()
    assert isinstance(answer.json["avg_completion_time_ms"], int)
    assert await metrics(crew, begin) == everything

    since_middle = everything._replace(
        completed_24h=0, total_tokens_24h=30, total_cost_24h=0.0, avg_completion_time_ms=0, tasks_completed_24h=0
    )
    assert await metrics(crew, middle) == since_middle

    end = await now(crew)
    nothing_since = since_middle._replace(failed_24h=0, total_tokens_24h=0, tasks_failed_24h=0)
    assert await metrics(crew, end) == nothing_since

    # an edit of a completed mission is no completion; one of a failure counts as the failure being touched
    await crew.boss.ask("PATCH", crew.path(done), {"title": "renamed"})
    await crew.boss.ask("PATCH", crew.path(failed), {"title": "renamed"})
    assert await metrics(crew, end) == nothing_since._replace(failed_24h=1)
    await crew.patch(failed, broken, error_message="why")
    assert await metrics(crew, end) == nothing_since._replace(failed_24h=1, tasks_failed_24h=1)

    # a restart takes the failure back, and a deletion takes the mission and its tasks out of everything
    assert (await crew.act(failed, "restart")).status == 200
    assert (await metrics(crew, begin))[:5] == (6, 4, 1, 0, 307)
    assert (await crew.act(done, "restart")).status == 200
    assert (await metrics(crew, begin))[2:8] == (0, 0, 300, 0.3, 0, 2)
    assert (await crew.boss.ask("DELETE", crew.path(done))).status == 204
    assert await metrics(crew, begin) == Metrics(5, 4, 0, 0, 0, 0.0, 0, 0, 0)
    await dismissed(team)


async def took_ms(crew: Crew, mission: dict[str, Any]) -> int:
    """How long a mission took, from the log itself."""
    mission_id = ids.read(mission["id"])
    assert mission_id is not None
    state = (await crew.shared.core.missions.whole(crew.boss.workspace_id, mission_id)).state
    return round((state.completed_at - state.created_at) / timedelta(milliseconds=1))


async def test_the_window_is_of_a_day(shared: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    team = await a_team(shared)
    asked: list[datetime] = []
    missions = shared.core.crew_missions
    real = missions.metrics

    async def noted(workspace_id: Any, since: datetime) -> Metrics:
        asked.append(since)
        return await real(workspace_id, since)

    monkeypatch.setattr(missions, "metrics", noted)
    before = datetime.now(UTC)
    assert await team["VIEWER"].get(METRICS) == NOTHING._asdict()
    after = datetime.now(UTC)
    assert before - timedelta(days=1) <= asked[0] <= after - timedelta(days=1)
    await dismissed(team)
