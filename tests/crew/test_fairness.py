"""One slot for crews and conversations: neither waits for all of the other's work."""

from server.missions.crew.commands import Cancel
from tests.crew.conftest import NewWorld
from tests.crew.world import World, a_task


async def say(world: World, words: str) -> None:
    """A new conversation that begins with these words."""
    async with world.http() as http:
        async with http.post("/api/control/missions", json={"title": "talk"}) as reply:
            mission_id = (await reply.json())["id"]
        async with http.post("/api/control/message", json={"content": words, "mission_id": mission_id}) as reply:
            assert reply.status == 200, await reply.text()


async def kinds_in_order(world: World) -> list[str]:
    """The kinds of the turns that began, one after another."""
    async with world.serving.core.database.reading() as connection:
        rows = await connection.fetch("SELECT agent_id FROM runs ORDER BY started_at")
    return ["control" if row["agent_id"] is None else "crew" for row in rows]


async def test_crews_and_conversations_take_turns(new_world: NewWorld) -> None:
    async with new_world(max_parallel_missions=1, is_quick=False) as world:
        await world.crew()
        await world.agent("Lead", is_lead=True, lead_mode="passive")
        await world.agent("Ann")
        await say(world, "sleep 3")
        for number in range(4):
            await say(world, f"say {number}")
        mission = await world.started(None, *(a_task(f"t{number}", description="say x") for number in range(4)))

        await world.until_true(lambda: kinds_in_order(world), lambda order: len(order) >= 7, seconds=60)
        await world.execute(mission, Cancel())
        assert (await kinds_in_order(world))[:7] == ["control", *["crew", "control"] * 3]
