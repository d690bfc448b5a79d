"""Runs of crews as runs of any kind: their tokens, questions, signals, leases, and the end of the server."""

import json
from types import MethodType
from typing import Any
from uuid import UUID

from aiohttp import ClientSession

from server.missions.crew.commands import Cancel
from server.missions.crew.steps import Claim, EndRun
from server.runs.owner import this_process
from storage.runs import Runs
from streams.errors import MissionstreamError, Unavailable
from tests.crew.conftest import NewWorld
from tests.crew.world import World, a_task


async def question(world: World, mission: UUID) -> str:
    """The id of the question that is open."""
    await world.until_event(mission, "tool_call", tool_name="AskUserQuestion")
    events = await world.events(mission, "tool_call")
    return next(event.tool_call_id or "" for event in events if event.tool_name == "AskUserQuestion")


async def answer(http: ClientSession, call: str, word: str) -> dict[str, Any]:
    body = {"tool_call_id": call, "name": "AskUserQuestion", "result": word}
    async with http.post("/api/control/tool_result", json=body) as reply:
        found: dict[str, Any] = await reply.json()
        return found


async def test_a_question_of_a_crews_agent_is_answered_by_people(world: World) -> None:
    task = a_task("only", description="ask May I paint?")
    mission = await world.started(None, task)
    call = await question(world, mission)
    [asked] = [event for event in await world.events(mission, "tool_call") if event.tool_call_id == call]
    assert asked.data()["task_id"] == str(task.id)
    async with world.http() as http:
        assert await answer(http, call, "allow") == {"ok": True, "delivered": True}
    state = await world.until_status(mission, "REVIEW")
    assert "allowed" in (state.tasks[task.id].result_summary or "")


async def test_the_crews_policy_answers_what_it_allows(world: World) -> None:
    await world.adjust(permission_policy="allow_all")
    mission = await world.started(None, a_task("only", description="ask May I paint?"))
    await world.until_status(mission, "REVIEW")
    assert [event for event in await world.events(mission, "tool_call") if event.tool_name == "AskUserQuestion"] == []


async def test_a_question_of_a_mission_that_is_cancelled_is_closed(world: World) -> None:
    mission = await world.started(None, a_task("only", description="ask May I paint?"))
    call = await question(world, mission)
    await world.execute(mission, Cancel())
    await world.settled()
    [closed] = [event for event in await world.events(mission, "tool_result") if event.tool_call_id == call]
    assert closed.data()["status"] == "cancelled"


async def test_each_agent_has_a_token_of_its_own_which_ends_with_its_run(world: World) -> None:
    task = a_task("only", description="sleep 60")
    mission = await world.started(None, task)
    await world.until_working(1)
    [turn] = world.serving.core.runs.turns.values()
    token = world.serving.core.authenticator.run_token(world.workspace_id, mission, turn.run_id)
    async with ClientSession(world.serving.url, headers={"Authorization": f"Bearer {token}"}) as agent:
        async with agent.get(f"/api/control/missions/{mission}/tasks") as reply:
            assert [shown["id"] for shown in await reply.json()] == [str(task.id)]
        async with agent.post(f"/api/control/missions/{mission}/tasks", json={"title": "mine"}) as reply:
            assert reply.status == 409  # the LEAD's alone
        await world.execute(mission, Cancel())
        await world.settled()
        async with agent.get(f"/api/control/missions/{mission}/tasks") as reply:
            assert reply.status == 401


async def test_the_words_of_two_agents_at_once_are_kept_apart(world: World) -> None:
    tasks = [a_task(name, description=f"say I am {name}\nsleep 60") for name in ("one", "two")]
    mission = await world.started(None, *tasks)
    await world.until_working(2)
    async with world.http() as http:

        async def said() -> set[tuple[str, str]]:
            async with http.get(f"/api/control/missions/{mission}/snapshot") as reply:
                signals = (await reply.json())["signals"]
            return {
                (signal["task_id"], signal["content"]) for signal in signals if signal["event_type"] == "text_delta"
            }

        await world.until_true(said, lambda found: len(found) == 2)
        assert await said() == {(str(task.id), f"I am {task.title}") for task in tasks}
        await world.execute(mission, Cancel())
        await world.settled()
        assert await said() == set()


async def test_agents_at_once_have_homes_of_their_own_and_share_the_space(world: World) -> None:
    ann = world.agents["Ann"].id
    mission = await world.started(
        None, *(a_task(f"t{number}", agent_id=ann, description="sleep 60") for number in range(2))
    )
    await world.until_working(2)
    homes = world.serving.core.settings.data_dir / "homes" / str(mission)
    assert sorted(path.name for path in homes.iterdir()) == [str(ann), f"{ann}.2"]
    await world.execute(mission, Cancel())
    await world.settled()


async def test_a_server_that_is_stopped_leaves_its_tasks_to_the_next(new_world: NewWorld) -> None:
    async with new_world() as world:
        await world.crew()
        await world.agent("Lead", is_lead=True)
        await world.agent("Ann")
        task = a_task("only", description="sleep 1")
        mission = await world.started(None, task)
        await world.until_working(1)
        old = world
    async with new_world() as world:
        world.crew_id, world.agents = old.crew_id, old.agents
        state = await world.until_status(mission, "REVIEW")
        assert state.tasks[task.id].iteration == 1
        reasons = [event.data()["reason"] for event in await world.events(mission, "run_ended")]
        assert reasons[:2] == ["shutdown", "end_turn"]


async def test_a_claim_whose_answer_was_lost_is_the_runs_own(world: World) -> None:
    runs = Runs(world.serving.core.database)
    claim, others = Runs.claim, []

    async def unheard(self: Runs, workspace_id: UUID, run_id: UUID, *rest: Any, owner: str, **how: Any) -> bool:
        is_ours = await claim(self, workspace_id, run_id, *rest, owner=owner, **how)
        others.append(await claim(runs, workspace_id, run_id, *rest, owner="there/1/2/3", **how))
        if len(others) == 1:
            raise Unavailable()
        return is_ours

    world.serving.core.runs._runs.claim = MethodType(unheard, runs)  # type: ignore[method-assign]
    mission = await world.started(None, a_task("only"))
    await world.until_status(mission, "REVIEW")
    ends = [event.data() for event in await world.events(mission, "run_ended")]
    assert [end["reason"] for end in ends if end["purpose"] == "task"] == ["end_turn"]
    assert others[:2] == [False, False]
    await world.settled()
    run_id = UUID(ends[0]["run_id"])
    assert not await runs.claim(
        world.workspace_id, run_id, mission, owner=this_process(), seconds=15, backend="demo"
    ), "a run that is over is nobody's"


async def test_a_lost_run_that_cannot_be_ended_keeps_no_other_from_its_end(new_world: NewWorld) -> None:
    async with new_world(crew_engine=False) as world:
        await world.crew()
        await world.agent("Lead", is_lead=True, lead_mode="passive")
        core, tasks = world.serving.core, [a_task(f"t{number}") for number in range(3)]
        execute, lost = core.writers.execute, [task.id for task in tasks]  # any ids will do for runs

        async def refuse_two(*where: Any, **how: Any) -> Any:
            if isinstance(where[3], EndRun) and where[3].run_id in lost[:2]:
                raise MissionstreamError("refused")
            return await execute(*where, **how)

        core.writers.execute = refuse_two  # type: ignore[method-assign]
        mission = await world.started(None, *tasks)
        host = this_process().partition("/")[0]
        for run_id in lost:
            agent_id = world.agents["Lead"].id
            await world.execute(mission, Claim(task_id=run_id, agent_id=agent_id, run_id=run_id))
            await Runs(core.database).claim(
                world.workspace_id, run_id, mission, owner=f"{host}/before/1/1", seconds=15, backend="demo"
            )
        await world.until(mission, lambda state: state.tasks[lost[2]].status == "PENDING", seconds=10)
        assert await world.statuses(mission) == {"t0": "IN_PROGRESS", "t1": "IN_PROGRESS", "t2": "PENDING"}


async def test_an_engine_that_is_off_leaves_everything_to_people(new_world: NewWorld) -> None:
    async with new_world(crew_engine=False) as world:
        await world.crew()
        await world.agent("Lead", is_lead=True)
        mission = await world.started(None, a_task("only"))
        await world.patch(mission, "only", status="IN_PROGRESS")
        await world.patch(mission, "only", status="COMPLETED")
        assert (await world.state(mission)).status == "IN_PROGRESS"
        assert await world.events(mission, "run_started") == []


async def test_the_gate_of_the_crew_asks_people_where_agents_are_unsure(world: World) -> None:
    gate = {"require_approval_below": 0.5, "notify_threshold": 0.8, "auto_approve_threshold": 0.9}
    await world.adjust(escalation_config=json.dumps(gate))
    low, middle = a_task("low", description="handoff: x [low]"), a_task("middle", description="handoff: x [medium]")
    high = a_task("high", description="handoff: x [high]", approval_required=True)
    silent = a_task("silent", description="say x\nhandoff: none")
    mission = await world.started(None, low, middle, high, silent)
    state = await world.until(mission, lambda state: state.stats["COMPLETED"] == 3 and not state.stats["IN_PROGRESS"])
    assert state.tasks[low.id].status == "AWAITING_APPROVAL"
    [told] = await world.events(mission, "confidence_low")
    assert told.data() == {"task_id": str(middle.id), "level": "notify"}


async def test_the_leads_run_is_shown_among_those_that_run(world: World) -> None:
    mission = await world.started("sleep 60")
    await world.until(mission, lambda state: state.run is not None)
    async with world.http() as http, http.get("/api/control/running") as reply:
        assert [shown["mission_id"] for shown in await reply.json()] == [str(mission)]
    await world.execute(mission, Cancel())
    await world.settled()


async def test_a_hand_off_that_tools_and_words_follow_passes_the_gate(world: World) -> None:
    await world.adjust(escalation_config=json.dumps({"require_approval_below": 0.5}))
    task = a_task("low", description="handoff: unsure [low]\nthen more")
    mission = await world.started(None, task)
    state = await world.until(mission, lambda state: state.tasks[task.id].completed_at is not None)
    assert state.tasks[task.id].status == "AWAITING_APPROVAL"
    assert state.tasks[task.id].handoff_context == "unsure"
