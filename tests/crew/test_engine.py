"""The engine with real agents' processes: a mission from its start to its end, failures, approvals, people's work."""

import asyncio

from server.missions.crew.commands import Cancel, Decide, Edit, Resume
from tests.crew.conftest import NewWorld
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
    assert (state.tasks[a.id].handoff_context, state.tasks[a.id].confidence) == ("the hull is tight", 0.7)
    await world.execute(mission, Edit(status="COMPLETED"))
    assert (await world.state(mission)).status == "COMPLETED"
    await world.settled()


async def test_unassigned_tasks_go_to_whoever_has_least_to_do_and_never_to_the_lead(world: World) -> None:
    tasks = [a_task(f"t{number}") for number in range(4)]
    mission = await world.started(None, *tasks)
    state = await world.until_status(mission, "REVIEW")
    names = {row.id: name for name, row in world.agents.items()}
    assert [names[state.tasks[task.id].agent_id or mission] for task in tasks] == ["Ann", "Bob", "Ann", "Bob"]


async def test_no_more_tasks_run_at_once_than_the_crew_and_the_server_allow(world: World) -> None:
    mission = await world.started(None, *(a_task(f"t{number}", description="sleep 0.1") for number in range(7)))
    await world.until_status(mission, "REVIEW")
    running, most = 0, 0
    for event in await world.events(mission, "run_started", "run_ended"):
        if event.data()["purpose"] == "task":
            running += 1 if event.type == "run_started" else -1
            most = max(most, running)
    assert most == 3


async def test_what_an_agent_does_is_marked_with_its_run_and_its_task(world: World) -> None:
    first, second = a_task("first", description="say one"), a_task("second", description="say two")
    mission = await world.started(None, first, second)
    await world.until_status(mission, "REVIEW")
    starts = {event.data()["run_id"]: event.data() for event in await world.events(mission, "run_started")}
    said = {
        event.data()["task_id"]: (event.content, event.data()["run_id"], event.data()["agent_id"])
        for event in await world.events(mission, "assistant_message")
        if "task_id" in event.data()
    }
    assert said.keys() == {str(first.id), str(second.id)}
    for task_id, (text, run_id, agent_id) in said.items():
        assert text.startswith("one" if task_id == str(first.id) else "two")
        assert (starts[run_id]["task_id"], starts[run_id]["agent_id"]) == (task_id, agent_id)


async def test_a_dependent_is_told_what_was_handed_off(world: World) -> None:
    first = a_task("first", description="handoff: the key is under the mat [high]")
    second = a_task("second", first, description="say go\necho brief")
    mission = await world.started(None, first, second)
    await world.until_status(mission, "REVIEW")
    said = [event.content for event in await world.events(mission, "assistant_message")]
    assert any("### first\n> the key is under the mat" in text for text in said)


async def test_a_further_attempt_is_told_why_the_one_before_failed(world: World) -> None:
    mission = await world.started(None, a_task("only", description="fail 1 times\necho brief", max_iterations=2))
    await world.until_status(mission, "REVIEW")
    said = [event.content for event in await world.events(mission, "assistant_message")]
    assert any("> The agent reported an error: attempt 1 fails" in text for text in said)


async def test_two_servers_on_one_database_do_each_task_once(new_world: NewWorld, world: World) -> None:
    tasks = [a_task(f"t{number}", description="sleep 0.2") for number in range(9)]
    mission = await world.started(None, *tasks)
    async with new_world():  # takes the mission up too, and leaves alone what the other one runs
        await world.until_status(mission, "REVIEW")
        await world.settled()
    events = await world.events(mission)
    assert [moves(events, task.id) for task in tasks] == [[("IN_PROGRESS", "claim"), ("COMPLETED", "end")]] * 9


async def test_a_failure_without_attempts_left_ends_the_mission_and_resume_goes_on(world: World) -> None:
    bad = a_task("bad", description="fail 1 times")
    after = a_task("after", bad)
    mission = await world.started(None, bad, after)
    state = await world.until_status(mission, "FAILED")
    assert (state.tasks[bad.id].status, state.tasks[after.id].status) == ("FAILED", "BLOCKED")
    assert "attempt 1 fails" in (state.tasks[bad.id].error_message or "")
    await world.execute(mission, Resume())
    state = await world.until_status(mission, "REVIEW")
    assert {task.iteration for task in state.tasks.values()} == {2}


async def test_a_task_that_waits_for_a_skipped_one_is_a_deadlock(world: World) -> None:
    first = a_task("first", agent_id=await world.agent("Hand", "NONE"))
    second = a_task("second", first)
    mission = await world.started(None, first, second)
    await world.until(mission, lambda state: state.tasks[first.id].waiting)
    await world.patch(mission, "first", status="SKIPPED")
    await world.until_status(mission, "FAILED")
    [end] = [
        event for event in await world.events(mission, "mission_status_changed") if event.data()["status"] == "FAILED"
    ]
    assert end.content == "1 of 2 tasks wait for tasks that will not be completed"


async def test_manual_agents_are_announced_once_and_people_do_their_tasks(world: World) -> None:
    hand = await world.agent("Hand", "NONE")
    first = a_task("first", agent_id=hand)
    second = a_task("second", first)
    mission = await world.started(None, first, second)
    await world.until(mission, lambda state: state.tasks[first.id].waiting)
    await world.patch(mission, "first", result_summary="nothing happens by this")
    [told] = await world.events(mission, "task_waiting")
    assert told.data() == {
        "task_id": str(first.id), "title": "first", "agent_id": str(hand), "reason": told.content,
    }  # fmt: skip
    assert told.content == "Hand has no agent program (cli_adapter NONE): people do its tasks"
    await world.patch(mission, "first", status="IN_PROGRESS")
    await world.patch(mission, "first", status="COMPLETED")
    await world.until_status(mission, "REVIEW")
    assert len(await world.events(mission, "task_waiting")) == 1


async def test_a_backend_that_is_not_installed_makes_an_agent_manual_until_somebody_changes_it(world: World) -> None:
    gone = await world.agent("Gone", "GROK")
    mission = await world.started(None, a_task("only", agent_id=gone))
    state = await world.until(mission, lambda state: any(task.waiting for task in state.tasks.values()))
    [task] = state.tasks.values()
    assert (task.status, task.run_id) == ("PENDING", None)
    assert "grok is not installed on this server" in (task.waiting or "")
    await world.turn("Gone", cli_adapter="DEMO")
    await world.until_status(mission, "REVIEW")


async def test_an_agent_of_no_crew_of_the_missions_fails_its_task(world: World) -> None:
    mission = await world.started(None, a_task("only", agent_id=world.crew_id))
    state = await world.until_status(mission, "FAILED")
    [task] = state.tasks.values()
    assert task.error_message == "the assigned agent is not, or no longer, in the mission's crew"


async def test_an_agent_that_fails_three_times_in_a_row_gets_no_more_until_somebody_resumes(world: World) -> None:
    await world.adjust(max_parallel_tasks=1)
    ann = world.agents["Ann"].id
    bad = [a_task(f"bad {number}", agent_id=ann, order=number, description="fail 1 times") for number in range(3)]
    last = a_task("last", agent_id=ann, order=9)
    mission = await world.started(None, *bad, last, a_task("other", agent_id=world.agents["Bob"].id))
    state = await world.until_status(mission, "FAILED")
    assert state.tasks[last.id].error_message == "circuit breaker: agent has 3 consecutive failures (threshold: 3)"
    assert moves(await world.events(mission), last.id) == [("FAILED", "dispatch")]
    assert state.stats["COMPLETED"] == 1
    await world.execute(mission, Resume())
    state = await world.until_status(mission, "REVIEW")
    assert state.stats["COMPLETED"] == 5


async def test_cancelling_in_mid_run_calls_the_agents_off_and_leaves_no_process(world: World) -> None:
    mission = await world.started(None, *(a_task(f"t{number}", description="sleep 60") for number in range(3)))
    await world.until(mission, lambda state: state.stats["IN_PROGRESS"] == 3)
    await world.until_working(3)
    assert len(world.processes()) == 3
    await world.execute(mission, Cancel())
    state = await world.until(mission, lambda state: not any(task.run_id for task in state.tasks.values()))
    await world.settled()
    assert world.processes() == []
    assert state.status == "CANCELLED"
    assert {task.status for task in state.tasks.values()} == {"PENDING"}
    assert {event.data()["reason"] for event in await world.events(mission, "run_ended")} == {"cancelled"}


async def test_a_person_who_takes_a_task_over_calls_its_agent_off(world: World) -> None:
    mission = await world.started(None, a_task("only", description="sleep 60"))
    await world.until_working(1)
    await world.patch(mission, "only", status="COMPLETED", result_summary="done by hand")
    await world.until_status(mission, "REVIEW")
    await world.settled()
    task = await world.task(mission, "only")
    assert (task.status, task.result_summary, task.run_id) == ("COMPLETED", "done by hand", None)
    assert world.processes() == []


async def test_a_mission_whose_time_is_up_fails_and_what_runs_is_called_off(world: World) -> None:
    await world.adjust(mission_timeout_seconds=1)
    waiting = a_task("waiting", approval_required=True)
    slow = a_task("slow", description="sleep 60")
    mission = await world.started(None, waiting, slow)
    state = await world.until_status(mission, "FAILED")
    assert (state.tasks[waiting.id].status, state.tasks[waiting.id].error_message) == ("FAILED", "mission timed out")
    await world.settled()
    assert world.processes() == []
    assert (await world.task(mission, "slow")).status == "PENDING"


async def test_a_patch_to_in_progress_does_not_engage_the_engine(world: World) -> None:
    mission = await world.mission(None, a_task("only"))
    await world.execute(mission, Edit(status="IN_PROGRESS"))
    other = await world.started(None, a_task("only"))
    await world.until_status(other, "REVIEW")
    assert await world.statuses(mission) == {"only": "PENDING"}


async def test_runs_of_crews_and_of_conversations_share_the_slots(world: World) -> None:
    world.serving.core.runs.max_parallel = 1
    one = await world.started(None, a_task("only", description="sleep 0.3"))
    two = await world.started(None, a_task("only"))
    for mission in (one, two):
        await world.until(mission, lambda state: state.review is not None)
    starts = [
        *(await world.events(one, "run_started", "run_ended")),
        *(await world.events(two, "run_started", "run_ended")),
    ]
    types = [event.type for event in sorted(starts, key=lambda event: event.position)]
    assert types == ["run_started", "run_ended"] * (len(types) // 2)


async def test_fifty_starts_at_once_begin_each_task_once(world: World) -> None:
    tasks = [a_task(f"t{number}") for number in range(3)]
    mission = await world.mission(None, *tasks)
    started = await asyncio.gather(*(world.start(mission) for _ in range(50)), return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in started) == 1
    await world.until_status(mission, "REVIEW")
    claims = [event for event in await world.events(mission, "run_started") if event.data()["purpose"] == "task"]
    assert sorted(event.data()["task_id"] for event in claims) == sorted(str(task.id) for task in tasks)
