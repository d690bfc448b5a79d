"""kill -9 of the server, idle and busy: what was acknowledged is in the log once, and every follower has the log."""

from tests.system.flood import Flood, missions_of, settle, survive, watching
from tests.system.node import Node


async def test_killing_the_idle_server_costs_its_followers_nothing(node: Node) -> None:
    missions = await missions_of(node, 1)
    flood = Flood(node, missions)
    async with watching(node, missions[0]) as watchers:
        await flood.append(20, appenders=2)
        for watcher in watchers:
            await watcher.reached(20)
        await node.killed_and_started()
        await flood.append(5, appenders=1)
        await settle(node, flood, 25, watchers)
        assert {watcher.name: watcher.follow.reconnects > 0 for watcher in watchers} == {
            "sse": True, "ws": True, "mission": True, "poll": True,
        }  # fmt: skip


async def test_killing_the_busy_server_loses_and_repeats_nothing(node: Node) -> None:
    flood = await survive(node, 10_000, [node.killed_and_started] * 4)
    assert flood.losses > 0  # appends were under way when it was killed
