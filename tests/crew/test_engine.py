"""The engine with real agents' processes: from a start to the end, with failures, approvals, rework and people's work."""

from server.missions.crew.commands import Decide, Edit
from tests.crew.world import World, a_task, moves


async def test_a_diamond_of_six_tasks_goes_from_start_to_its_end(world: World) -> None:
    a = a_task("a", description="handoff: the hull is tight [medium]")
    b = a_task("b", a, description="fail 1 times", max_iterations=2)
    c = a_task("c", a, approval_required=True)
    d = a_task("d", a)
    e = a_task("e", b, c, d)
    f = a_task("f", e)
    mission = await world.started(None, a, b, c, d, e, f)
    await world.until(
        mission, lambda state: state.tasks[c.id].status == "AWAITING_APPROVAL" and state.stats["COMPLETED"] == 3
    )
    assert (await world.statuses(mission))["e"] == "BLOCKED"
    await world.execute(mission, Decide(task_id=c.id, approved=True, user="somebody"))
    state = await world.until(mission, lambda state: state.review is not None)
    assert state.status == "REVIEW"
    assert state.review is not None
    assert (state.review.verdict, state.review.is_automatic) == ("accept", False)
    events = await world.events(mission)
    assert moves(events, b.id) == [
        ("PENDING", "unblock"), ("IN_PROGRESS", "claim"), ("PENDING", "retry"), ("IN_PROGRESS", "claim"),
        ("COMPLETED", "end"),
    ]  # fmt: skip
    assert state.tasks[a.id].handoff_context == "the hull is tight"
    assert state.tasks[a.id].confidence == 0.7
    await world.execute(mission, Edit(status="COMPLETED"))
    assert (await world.state(mission)).status == "COMPLETED"
    await world.settled()
