"""The LEAD: it plans by its plan or by tools, reviews once per entry into REVIEW, and sends work back."""

from datetime import UTC, datetime

from server.missions.crew.commands import CreateTask, Edit
from server.runs.crew.scheduling import NO_LEAD
from storage import agents
from tests.crew.conftest import NewWorld
from tests.crew.test_runs import answer, question
from tests.crew.world import World, a_task


async def test_a_leads_plan_becomes_tasks(world: World) -> None:
    plan = "plan: hull @ann\nplan: mast <- hull @bob x3\nplan: sail <- hull, mast !approval :: handoff: sewn [low]"
    mission = await world.started(plan)
    state = await world.until(mission, lambda state: state.stats["AWAITING_APPROVAL"])
    by_title = {task.title: task for task in state.tasks.values()}
    hull, mast, sail = (by_title[title] for title in ("hull", "mast", "sail"))
    assert (hull.agent_id, mast.agent_id) == (world.agents["Ann"].id, world.agents["Bob"].id)
    assert (mast.depends_on, set(sail.depends_on)) == ((hull.id,), {hull.id, mast.id})
    assert (mast.max_iterations, sail.approval_required, sail.confidence, sail.needs_review) == (3, True, 0.4, True)
    assert {event.data()["cause"] for event in await world.events(mission, "task_created")} == {"plan"}


async def test_steps_of_a_plan_that_names_no_dependencies_follow_each_other(world: World) -> None:
    mission = await world.started("plan: one\nplan: two\nplan: three")
    state = await world.until_status(mission, "REVIEW")
    one, two, three = state.tasks.values()
    assert (two.depends_on, three.depends_on) == ((one.id,), (two.id,))


async def test_a_lead_that_plans_by_tools_makes_tasks_over_http(new_world: NewWorld) -> None:
    """The whole chain: the demo agent, its MCP server's process, HTTP, the rules."""
    async with new_world(is_quick=False) as world:
        await world.crew(auto_accept_review=True)
        await world.agent("Lead", is_lead=True)
        await world.agent("Ann", "NONE")
        mission = await world.started(
            'tool create_task {"title": "hull", "description": "tight"}\n'
            'tool create_task {"title": "mast", "depends_on": ["Hull"], "assigned_agent": "ann"}\n'
            'tool create_task {"title": "sail", "assigned_agent": "nobody"}\n'
            "tool list_tasks\n"
            "plan: its steps are its own where it has made tasks"
        )
        state = await world.until(mission, lambda state: state.has_planned, seconds=90)
        hull, mast = state.tasks.values()
        assert (hull.title, hull.description) == ("hull", "tight")
        assert (mast.depends_on, mast.agent_id, mast.status) == ((hull.id,), world.agents["Ann"].id, "BLOCKED")
        results = [event.content for event in await world.events(mission, "tool_result")]
        assert "assigned_agent is not in the mission's crew; it has: lead, ann" in results[2]
        assert str(hull.id) in results[3]
        await world.until(mission, lambda state: any(task.waiting for task in state.tasks.values()))


async def test_an_agent_of_a_crew_reports_progress_and_makes_no_task(new_world: NewWorld) -> None:
    """The demo agent, its MCP server's process, HTTP, the rules: what the instructions ask for works."""
    async with new_world(is_quick=False) as world:
        await world.crew()
        await world.agent("Lead", is_lead=True)
        await world.agent("Ann")
        script = (
            'tool report_progress {"total_subtasks": 3, "completed_subtasks": 1, "current_subtask": "paint"}\n'
            'tool create_task {"title": "more"}'
        )
        mission = await world.started(None, a_task("only", description=script))
        await world.until(mission, lambda state: state.stats["COMPLETED"], seconds=90)
        [said] = await world.events(mission, "progress")
        assert (said.content, said.data()) == ("paint", {"total_subtasks": 3, "completed_subtasks": 1, "depth": 0})
        results = [event.content for event in await world.events(mission, "tool_result")]
        assert "made by its LEAD while it plans, and by people through /api/v1" in results[1]
        assert (await world.state(mission)).total == 1


async def test_a_person_who_adds_a_task_meanwhile_takes_nothing_of_the_leads_plan(world: World) -> None:
    mission = await world.started("ask May I?\nplan: hull\nplan: mast <- hull, keel")
    call = await question(world, mission)
    keel: CreateTask = a_task("keel")
    await world.execute(mission, keel)
    async with world.http() as http:
        await answer(http, call, "allow")
    state = await world.until(mission, lambda state: state.has_planned)
    by_title = {task.title: task for task in state.tasks.values()}
    assert by_title.keys() == {"keel", "hull", "mast"}
    assert set(by_title["mast"].depends_on) == {keel.id, by_title["hull"].id}


async def test_people_have_the_crew_api_for_tasks_and_no_other(world: World) -> None:
    mission = await world.mission()
    async with world.http() as http, http.post(f"/api/control/missions/{mission}/tasks", json={"title": "x"}) as answer:
        assert answer.status == 409
        assert (
            await answer.text()
            == "tasks of a crew mission are made by its LEAD while it plans, and by people through /api/v1"
        )


async def test_a_mission_whose_lead_was_deleted_waits_for_a_new_one_and_says_so(new_world: NewWorld) -> None:
    async with new_world() as world:
        await world.crew()
        lead = await world.agent("Lead", "NONE", is_lead=True)
        mission = await world.started("plan: hull")
        state = await world.until(mission, lambda state: state.waiting)
        assert state.waiting == "Lead has no agent program (cli_adapter NONE): people do its tasks"
        now = datetime.now(UTC)
        await world.change(agents.removed(world.workspace_id, lead, now), "agent.deleted", id=lead)
        await world.until(mission, lambda state: state.waiting == NO_LEAD)
        new = await world.agent("New", is_lead=True)
        state = await world.until(mission, lambda state: state.has_planned)
        assert [task.title for task in state.tasks.values()] == ["hull"]
        [plan] = [run for run in await world.events(mission, "run_started") if run.data()["purpose"] == "plan"]
        assert plan.data()["agent_id"] == str(new)


async def test_a_passive_lead_leaves_planning_to_people(world: World) -> None:
    await world.turn("Lead", lead_mode="passive")
    mission = await world.started("plan: hull")
    other = await world.started(None, a_task("only"))
    await world.until_status(other, "REVIEW")
    state = await world.state(mission)
    assert (state.total, state.run, state.status) == (0, None, "IN_PROGRESS")
    await world.execute(mission, a_task("by hand"))
    state = await world.until_status(mission, "REVIEW")
    await world.settled()
    assert (await world.state(mission)).review is None


async def test_a_lead_that_cannot_plan_fails_the_mission(world: World) -> None:
    mission = await world.started("fail I have no idea")
    await world.until_status(mission, "FAILED")
    [end] = [
        event for event in await world.events(mission, "mission_status_changed") if event.data()["status"] == "FAILED"
    ]
    assert "planning failed" in end.content
    assert "I have no idea" in end.content


async def test_a_review_that_accepts_completes_the_mission_where_the_crew_says_so(world: World) -> None:
    await world.adjust(auto_accept_review=True)
    mission = await world.started(None, a_task("only"))
    state = await world.until_status(mission, "COMPLETED")
    assert state.review is not None
    assert (state.review.verdict, state.review.is_automatic, state.review.by) == (
        "accept",
        True,
        world.agents["Lead"].id,
    )


async def test_a_verdict_that_tools_and_words_follow_counts(world: World) -> None:
    await world.adjust(auto_accept_review=True)
    mission = await world.started("then more", a_task("only"))
    state = await world.until_status(mission, "COMPLETED")
    assert state.review is not None
    assert (state.review.verdict, state.review.notes) == ("accept", "review 1: accept")


async def test_a_review_sends_work_back_and_what_builds_on_it_is_done_again(world: World) -> None:
    hull = a_task("Paint the hull")
    mast = a_task("Mend the mast")
    sail = a_task("sail", hull)
    mission = await world.started("verdict: rework paint the hull\nverdict: accept", hull, mast, sail)
    state = await world.until(mission, lambda state: state.review and state.review.verdict == "accept")
    assert [state.tasks[task.id].iteration for task in (hull, mast, sail)] == [2, 1, 2]
    assert state.status == "REVIEW"
    verdicts = [event.data()["verdict"] for event in await world.events(mission, "review_recorded")]
    assert verdicts == ["rework", "accept"]
    reviews = [event for event in await world.events(mission, "run_started") if event.data()["purpose"] == "review"]
    assert len(reviews) == 2


async def test_a_person_who_sends_a_mission_back_engages_the_engine_again(world: World) -> None:
    mission = await world.started(None, a_task("only"))
    await world.until(mission, lambda state: state.review is not None)
    await world.execute(mission, Edit(status="IN_PROGRESS"))
    await world.settled()
    assert (await world.state(mission)).status == "IN_PROGRESS"  # all is done, but a person wants more
    more: CreateTask = a_task("more")
    await world.execute(mission, more)
    state = await world.until(mission, lambda state: state.status == "REVIEW" and state.review is not None)
    assert state.tasks[more.id].status == "COMPLETED"


async def test_a_person_who_accepts_during_the_review_ends_it(world: World) -> None:
    mission = await world.started("verdict: sleep", a_task("only"))
    await world.until(mission, lambda state: state.run is not None and state.status == "REVIEW")
    await world.execute(mission, Edit(status="COMPLETED"))
    await world.settled()
    state = await world.state(mission)
    assert (state.status, state.run, state.review) == ("COMPLETED", None, None)
    assert world.processes() == []
