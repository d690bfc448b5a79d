"""Crew's channels on /ws: who may have which, what comes, what is replayed, and what ends when rights end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

import pytest
import pytest_asyncio
import uuid_utils.compat as uuids
from aiohttp import ClientWebSocketResponse, WSMsgType

from server.auth import tokens
from server.auth.roles import ROLES
from server.dialects.crew.ids import read, spell
from server.missions.crew import commands
from storage import identity
from storage.rules import Command
from tests.conftest import Serving
from tests.dialects.conftest import new_workspace
from tests.dialects.crew.people import Person, Team, a_slug

pytestmark = pytest.mark.asyncio(loop_scope="module")


class World(NamedTuple):
    """A crew of the team's with a LEAD and one mission; `do` commands it."""

    shared: Serving
    workspace_id: UUID
    crew: str
    agent: str
    mission_id: UUID

    @property
    def mission(self) -> str:
        return spell(self.mission_id)

    async def do(self, *wishes: Command) -> None:
        for wish in wishes:
            await self.shared.core.writers.execute(self.workspace_id, self.mission_id, "crew", wish)


async def a_world(shared: Serving, boss: Person) -> World:
    crew = await boss.crew()
    lead = await boss.agent(crew_id=crew["id"], agent_role="LEAD", cli_adapter="NONE")
    mission_id = uuids.uuid7()
    world = World(shared, boss.workspace_id, crew["id"], lead["id"], mission_id)
    crew_id, lead_id = read(crew["id"]), read(lead["id"])
    assert crew_id is not None
    assert lead_id is not None
    await world.do(commands.Create(id=mission_id, crew_id=crew_id, lead_agent_id=lead_id, title="Build"))
    return world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(shared: Serving, boss: Person) -> World:
    return await a_world(shared, boss)


def _token(person: Person) -> str:
    return person.http.headers["Authorization"].removeprefix("Bearer ")


@asynccontextmanager
async def connected(person: Person) -> AsyncIterator[ClientWebSocketResponse]:
    async with person.http.ws_connect("/ws") as ws:
        await ws.send_json({"type": "auth", "token": _token(person)})
        yield ws


async def subscribed(ws: ClientWebSocketResponse, channel: str, **payload: Any) -> dict[str, Any] | None:
    """Subscribe, and give what was said against it before the next pong; None for silence."""
    await ws.send_json({"type": "subscribe", "channel": channel, **({"payload": payload} if payload else {})})
    await ws.send_json({"type": "ping"})
    said = None
    while (frame := await ws.receive_json(timeout=5))["type"] != "pong":
        said = frame if frame["type"] == "error" else said
    return said


async def until(ws: ClientWebSocketResponse, type: str) -> list[dict[str, Any]]:
    """Every message, without heartbeats, up to the first of a type."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["type"] != type:
        frame = await ws.receive_json(timeout=5)
        if frame["type"] != "ping":
            found.append(frame)
    return found


def names(world: World, user_id: UUID) -> dict[str, str]:
    """A channel of each prefix that somebody of the team may have."""
    workspace = spell(world.workspace_id)
    return {
        "workspace": workspace,
        "keeper": workspace,
        "journal": workspace,
        "crew": world.crew,
        "files": world.crew,
        "agent": world.agent,
        "mission": world.mission,
        "session": world.mission,
        "user": spell(user_id),
        "providers": "global",
    }


DENIED = {"message": "access denied", "error": "access denied"}


async def _me(shared: Serving, person: Person) -> UUID:
    return (await shared.core.authenticator.ws_principal(_token(person))).user_id


@pytest.mark.parametrize("role", ROLES)
async def test_every_role_may_have_every_channel_in_both_spellings(
    shared: Serving, team: Team, world: World, role: str
) -> None:
    person = team[role]
    async with connected(person) as ws:
        for prefix, text in names(world, await _me(shared, person)).items():
            assert await subscribed(ws, f"{prefix}:{text}") is None, prefix
            if (plain := read(text)) is not None:
                assert await subscribed(ws, f"{prefix}:{plain}") is None, prefix


async def test_silent_channels_ping_by_their_own_names(shared: Serving, team: Team, boss: Person) -> None:
    person, world = team["VIEWER"], await a_world(shared, boss)
    me, agent = await _me(shared, person), read(world.agent)
    silent = [f"agent:{world.agent}", f"agent:{agent}", f"files:{world.crew}", f"user:{spell(me)}", "providers:global"]
    async with connected(person) as ws, asyncio.timeout(20):
        for channel in silent:
            await ws.send_json({"type": "subscribe", "channel": channel})
        for status in ("IN_PROGRESS", "CANCELLED"):  # told in the workspace, and on none of these
            pings: set[str] = set()
            while pings != set(silent):
                frame = await ws.receive_json()
                assert (frame["type"], frame["channel"] in silent) == ("ping", True), frame
                pings.add(frame["channel"])
            await world.do(commands.Edit(status=status))


async def test_a_stranger_may_have_none_of_them_and_is_told_as_of_what_is_not_there(
    shared: Serving, team: Team, world: World
) -> None:
    stranger = team["outsider"]
    unknown = spell(uuids.uuid7())
    async with connected(stranger) as ws:
        for prefix, text in names(world, await _me(shared, team["OWNER"])).items():
            if prefix == "providers":
                continue
            foreign = await subscribed(ws, f"{prefix}:{text}")
            missing = await subscribed(ws, f"{prefix}:{unknown}")
            assert foreign is not None
            assert missing is not None
            assert (foreign["payload"], missing["payload"]) == (DENIED, DENIED), prefix
            assert foreign["channel"] == f"{prefix}:{text}"


async def test_a_slug_a_garbled_name_and_a_page_are_denied(team: Team, world: World) -> None:
    async with connected(team["OWNER"]) as ws:
        for channel in (
            "workspace:default",
            "crew:",
            ":x",
            "crew",
            "mission:nonsense",
            "page:x",
            f"nothing:{world.crew}",
        ):
            said = await subscribed(ws, channel)
            assert said is not None
            assert said["payload"] == DENIED, channel


async def test_each_channel_carries_its_own_messages_and_numbers_them(
    shared: Serving, boss: Person, world: World
) -> None:
    fresh = await a_world(shared, boss)
    async with connected(boss) as ws:
        for channel in (f"workspace:{spell(world.workspace_id)}", f"mission:{fresh.mission}", f"crew:{fresh.crew}"):
            assert await subscribed(ws, channel) is None
        task_id = uuids.uuid7()
        await fresh.do(
            commands.CreateTask(id=task_id, title="saw"),
            commands.Start(),
            commands.UpdateTask(id=task_id, status="IN_PROGRESS"),
            commands.UpdateTask(id=task_id, status="COMPLETED", result_summary="sawn"),
            commands.Edit(status="REVIEW"),
        )
        frames: list[dict[str, Any]] = []
        while len({frame["channel"] for frame in frames if frame["payload"].get("status") == "REVIEW"}) < 2:
            frame = await ws.receive_json(timeout=5)
            frames += [frame] if "seq" in frame else []
    of = {
        prefix: [(f["type"], f["payload"].get("status")) for f in frames if f["channel"].startswith(prefix)]
        for prefix in ("mission", "workspace", "crew")
    }
    assert of["crew"] == []
    assert of["mission"] == [
        ("task.created", "PENDING"),
        ("mission.status", "STARTED"),
        ("mission.updated", "IN_PROGRESS"),
        ("task.status", "IN_PROGRESS"),
        ("task.status", "COMPLETED"),
        ("mission.status", "REVIEW"),
    ]
    assert [name for name, _ in of["workspace"] if name == "task.updated"] == ["task.updated"] * 3
    for prefix in ("mission", "workspace"):
        cursor = 0
        for frame in (f for f in frames if f["channel"].startswith(prefix)):
            assert frame["prev"] <= cursor or not cursor, "nothing is missing before it"
            assert frame["seq"] >= cursor
            cursor = frame["seq"] if frame["n"] == 0 else cursor


async def test_a_channel_replays_from_a_cursor_what_it_carried(shared: Serving, boss: Person) -> None:
    fresh = await a_world(shared, boss)
    channel = f"mission:{fresh.mission}"
    async with connected(boss) as ws:
        await subscribed(ws, channel)
        await fresh.do(commands.Start(), commands.Edit(status="REVIEW"), commands.Edit(status="COMPLETED"))
        live = await until(ws, "mission.status")
        while live[-1]["payload"]["status"] != "COMPLETED":
            live += await until(ws, "mission.status")
    async with connected(boss) as ws:
        await ws.send_json({"type": "subscribe", "channel": channel, "payload": {"since_seq": 0}})
        opened, *again = await until(ws, "subscribed")
        assert opened["payload"]["outcome"] == "resumed"
        while not again or again[-1]["payload"].get("status") != "COMPLETED":
            again += await until(ws, "mission.status")
    assert [frame["prev"] for frame in again] == [frame["prev"] for frame in live]


async def test_who_leaves_a_workspace_loses_its_channels_and_keeps_the_others(shared: Serving, boss: Person) -> None:
    fresh = await a_world(shared, boss)
    database = shared.core.database
    user_id = await identity.create_user(database, "guest")
    home, _ = await new_workspace(shared, a_slug("home"))
    await identity.add_member(database, home, user_id, "OWNER")
    await identity.add_member(database, boss.workspace_id, user_id, "VIEWER")
    secret = tokens.generate()
    await identity.create_token(database, user_id, home, "guest", tokens.digest(secret))
    async with boss.http.ws_connect("/ws") as ws:
        await ws.send_json({"type": "auth", "token": secret})
        for channel in (f"mission:{fresh.mission}", f"workspace:{spell(home)}"):
            assert await subscribed(ws, channel) is None
        await identity.remove_member(database, boss.workspace_id, user_id)
        said = (await until(ws, "error"))[-1]
        assert said["channel"] == f"mission:{fresh.mission}"
        assert said["payload"] == {"message": "access revoked", "error": "access revoked"}
        await fresh.do(commands.Start())
        assert await subscribed(ws, f"workspace:{spell(home)}") is None, "the other one is still there"
        again = await subscribed(ws, f"mission:{fresh.mission}")
        assert again is not None
        assert again["payload"] == DENIED


async def test_a_deleted_crew_and_a_deleted_mission_may_be_followed_no_more(shared: Serving, boss: Person) -> None:
    fresh = await a_world(shared, boss)
    async with connected(boss) as ws:
        assert await subscribed(ws, f"mission:{fresh.mission}") is None
        await fresh.do(commands.Delete())
        said = (await until(ws, "error"))[-1]
        assert (said["channel"], said["payload"]["error"]) == (f"mission:{fresh.mission}", "access revoked")


async def test_a_revoked_token_is_told_in_crew_s_words_before_the_close(shared: Serving, team: Team) -> None:
    database = shared.core.database
    user_id = await identity.create_user(database, "leaver")
    await identity.add_member(database, team.workspace_id, user_id, "MEMBER")
    secret = tokens.generate()
    token = await identity.create_token(database, user_id, team.workspace_id, "t", tokens.digest(secret))
    async with team["OWNER"].http.ws_connect("/ws") as ws:
        await ws.send_json({"type": "auth", "token": secret})
        await subscribed(ws, f"workspace:{spell(team.workspace_id)}")
        await identity.revoke_token(database, token.id)
        said = await until(ws, "closing")
        assert said[-2] == {
            "type": "session_revoked",
            "payload": {"message": "session_revoked", "reason": "access revoked"},
        }
        message = await ws.receive(timeout=5)
        assert message.type == WSMsgType.CLOSE
        assert message.data == 4401


@pytest.mark.parametrize(
    ("frame", "channel"),
    [
        ({"type": "send_message", "payload": {"session_id": "s", "content": "hi"}}, "session:s"),
        ({"type": "send_message", "payload": '{"session_id": "s", "content": "hi"}'}, "session:s"),
        ({"type": "cancel_message", "channel": "session:s"}, "session:s"),
        ({"type": "resume", "payload": {"session_id": "s", "last_seq": 1}}, "session:s"),
        ({"type": "send_message", "payload": "no json"}, None),
        ({"type": "send_message"}, None),
    ],
)
async def test_there_is_no_chat_and_it_says_so(team: Team, frame: dict[str, Any], channel: str | None) -> None:
    async with connected(team["OWNER"]) as ws:
        await ws.send_json(frame)
        said = (await until(ws, "error"))[-1]
        assert said["payload"]["error"] in ("chat not available", "access denied")
        assert said.get("channel") == channel


async def test_timelines_may_be_spelled_as_crew_spells_ids(shared: Serving, boss: Person, world: World) -> None:
    home_token = shared.headers
    async with boss.http.ws_connect("/ws", headers={}) as ws:
        await ws.send_json({"type": "auth", "token": home_token["Authorization"].removeprefix("Bearer ")})
        channel = f"timeline:{spell(shared.workspace_id)}"
        assert await subscribed(ws, channel) is None
        async with asyncio.timeout(5):
            while (frame := await ws.receive_json())["type"] != "ping":
                pass
        assert frame["channel"] == channel
