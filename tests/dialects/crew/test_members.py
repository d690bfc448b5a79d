"""Workspaces and their members: who lets whom in, whose role may be changed, and that an owner always stays."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from server.auth.roles import ROLES, grantable
from server.dialects.crew.ids import read, spell
from storage import identity
from tests.conftest import Serving
from tests.dialects.crew.people import Person, Team, a_slug, a_team, dismissed, scoped

pytestmark = pytest.mark.asyncio(loop_scope="module")
WORKSPACES = "/api/v1/workspaces"


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(shared: Serving) -> AsyncIterator[Team]:
    """A team of the test's own."""
    made = await a_team(shared)
    yield made
    await dismissed(made)


def members_of(team: Team) -> str:
    return f"{WORKSPACES}/{spell(team.workspace_id)}/members"


def members_path(workspace: dict[str, Any]) -> str:
    return f"{WORKSPACES}/{workspace['id']}/members?workspace_id={workspace['id']}"


async def ids(team: Team) -> dict[str, str]:
    """The members' ids, by the names of their first tokens' roles."""
    return {row["user"]["full_name"]: row["user_id"] for row in await team["OWNER"].get(members_of(team))}


async def roles(team: Team) -> dict[str, str]:
    return {row["user"]["full_name"]: row["role"] for row in await team["OWNER"].get(members_of(team))}


# workspaces


async def test_workspaces_are_the_users_own_newest_first(shared: Serving, team: Team) -> None:
    [mine] = await team["MEMBER"].get(WORKSPACES)
    assert re.fullmatch(r"c[a-z0-9]{19,}", mine["id"])
    assert (read(mine["id"]), mine["currentUserRole"]) == (team.workspace_id, "MEMBER")
    assert {"id", "name", "slug", "currentUserRole", "created_at"} <= mine.keys()
    assert await team["MEMBER"].get(f"{WORKSPACES}/{mine['slug']}") == mine
    newer = await team["MEMBER"].post(WORKSPACES, {"name": "My own", "slug": a_slug("own")})
    assert [row["id"] for row in await team["MEMBER"].get(WORKSPACES)] == [newer["id"], mine["id"]]


async def test_whoever_makes_a_workspace_owns_it_and_can_use_it_at_once(shared: Serving, team: Team) -> None:
    viewer, slug = team["VIEWER"], a_slug("made")
    made = await viewer.post(WORKSPACES, {"name": "Made", "slug": slug})
    assert (made["name"], made["slug"], made["currentUserRole"]) == ("Made", slug, "OWNER")
    there_id = read(made["id"])
    assert there_id is not None
    there = viewer._replace(workspace_id=there_id)
    crew = await there.crew(name="First")
    events = (await there.get("/api/control/events"))["events"]
    assert crew["workspace_id"] == made["id"]
    assert events == []  # control acts at home; the event is in the new workspace
    assert (await shared.core.hub.opening(there_id, None)).head == 1


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": "x"}, "name must be between"),
        ({"slug": "x"}, "slug must be 2 to 50"),
        ({"slug": "a_b"}, "slug must be 2 to 50"),
        ({"slug": "Upper"}, "slug must be 2 to 50"),
        ({"slug": "c" + "0" * 25}, "slug must be 2 to 50"),
        ({"slug": "0" * 32}, "slug must be 2 to 50"),
        ({"slug": str(uuid4())}, "slug must be 2 to 50"),
        ({"slug": "default"}, "Workspace slug already taken"),
    ],
)
async def test_what_no_workspace_can_be_is_refused(boss: Person, fields: dict[str, str], text: str) -> None:
    answer = await boss.ask("POST", WORKSPACES, {"name": "A workspace", "slug": a_slug("w"), **fields})
    assert answer.status == (409 if "taken" in text else 400)
    assert answer.json["error"].startswith(text)


async def test_a_repeated_key_makes_one_workspace(boss: Person) -> None:
    body = {"name": "Once", "slug": a_slug("once")}
    answers = await asyncio.gather(*(boss.ask("POST", WORKSPACES, body, Idempotency_Key="w") for _ in range(5)))
    assert {(answer.status, answer.json["id"]) for answer in answers} == {(201, answers[0].json["id"])}
    without = await boss.ask("POST", WORKSPACES, body)
    assert without.status == 409


async def test_a_narrow_token_makes_no_workspace(team: Team) -> None:
    for caller in ("reader", "writer"):
        answer = await team[caller].ask("POST", WORKSPACES, {"name": "Wide", "slug": a_slug("wide")})
        assert (answer.status, answer.json["error"]) == (403, "Forbidden")
    assert (await team["admin"].ask("POST", WORKSPACES, {"name": "Wide", "slug": a_slug("wide")})).status == 201


# members


async def test_members_are_listed_to_admins(fresh: Team) -> None:
    rows = await fresh["ADMIN"].get(members_of(fresh))
    by_role = {row["role"]: row for row in rows if row["user"]["full_name"] != "scoped"}
    assert set(by_role) == set(ROLES)
    row = by_role["VIEWER"]
    assert row == {
        "id": row["user_id"],
        "workspace_id": spell(fresh.workspace_id),
        "user_id": row["user_id"],
        "role": "VIEWER",
        "user": {"id": row["user_id"], "email": None, "full_name": "viewer", "avatar_url": None},
    }


async def test_somebody_new_is_let_in_by_email(shared: Serving, fresh: Team) -> None:
    email = f"{a_slug('grace')}@Example.COM"
    body = {"email": email, "full_name": "Grace", "role": "MANAGER"}
    made = await fresh["OWNER"].post(members_of(fresh), body, Idempotency_Key="grace")
    assert (made["role"], made["user"]["full_name"], made["user"]["email"]) == ("MANAGER", "Grace", email.lower())
    assert await fresh["OWNER"].post(members_of(fresh), body, Idempotency_Key="grace") == made
    again = await fresh["OWNER"].ask("POST", members_of(fresh), body)
    assert (again.status, again.json["error"]) == (409, "User is already a member")
    # whoever knows them lets the same user into another workspace, by email or id
    for name, body in (("by-email", {"email": email}), ("by-id", {"user_id": made["user_id"]})):
        path = members_path(await fresh["VIEWER"].post(WORKSPACES, {"name": "Another", "slug": a_slug(name)}))
        there = await fresh["VIEWER"].post(path, body)
        assert (there["user_id"], there["role"]) == (made["user_id"], "MEMBER")


async def test_an_email_or_an_id_tells_nothing_of_strangers(shared: Serving, fresh: Team) -> None:
    email, unused = (f"{a_slug('v')}@example.com" for _ in range(2))
    stranger = await identity.create_user(shared.core.database, "Victoria Secret", email)
    await identity.add_member(shared.core.database, fresh.elsewhere, stranger, "OWNER")
    path = members_path(await fresh["VIEWER"].post(WORKSPACES, {"name": "Mine", "slug": a_slug("mine")}))
    for asked in (email, unused):
        made = await fresh["VIEWER"].post(path, {"email": asked})
        assert made["user"] == {
            "id": made["user_id"],
            "email": asked,
            "full_name": asked.partition("@")[0],
            "avatar_url": None,
        }
        assert read(made["user_id"]) != stranger
        again = await fresh["VIEWER"].ask("POST", path, {"email": asked})
        assert (again.status, again.json["error"]) == (409, "User is already a member")
    assert len(await identity.memberships(shared.core.database, stranger)) == 1


async def test_an_email_that_comes_many_times_at_once_is_one_member(fresh: Team) -> None:
    body = {"email": f"{a_slug('many')}@example.com"}
    answers = await asyncio.gather(*(fresh["OWNER"].ask("POST", members_of(fresh), body) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 5
    assert (
        len([row for row in await fresh["OWNER"].get(members_of(fresh)) if row["user"]["email"] == body["email"]]) == 1
    )


async def test_a_user_whom_nobody_here_knows_is_not_found_by_id(shared: Serving, fresh: Team) -> None:
    stranger = await identity.create_user(shared.core.database, "Linus")
    await identity.add_member(shared.core.database, fresh.elsewhere, stranger, "MEMBER")
    gone = await identity.create_user(shared.core.database, "Gone")
    await identity.add_member(shared.core.database, fresh.workspace_id, gone, "MEMBER")
    await identity.remove_user(shared.core.database, gone)
    for unknown in (spell(stranger), spell(gone), spell(uuid4()), "nothing"):
        answer = await fresh["ADMIN"].ask("POST", members_of(fresh), {"user_id": unknown})
        assert (answer.status, answer.json["error"]) == (404, "User not found")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "user_id or email is required"),
        ({"email": "nobody"}, "email must be an email address"),
        ({"email": "a b@example.com"}, "email must be an email address"),
        ({"email": "a@example.com", "role": "KING"}, "role must be one of OWNER, ADMIN"),
        ({"email": ["a@example.com"]}, "Invalid JSON body"),
    ],
)
async def test_nobody_is_let_in_by_a_bad_body(fresh: Team, body: dict[str, Any], text: str) -> None:
    before = await roles(fresh)
    answer = await fresh["OWNER"].ask("POST", members_of(fresh), body)
    assert answer.status == 400
    assert answer.json["error"].startswith(text)
    assert await roles(fresh) == before


async def test_a_changed_role_counts_at_once(fresh: Team) -> None:
    viewer = (await ids(fresh))["viewer"]
    assert (await fresh["VIEWER"].ask("POST", "/api/v1/crews", {})).status == 403
    changed = (await fresh["OWNER"].ask("PATCH", f"{members_of(fresh)}/{viewer}", {"role": "MANAGER"})).json
    assert (changed["status"], changed["member_id"], changed["role"]) == ("updated", viewer, "MANAGER")
    assert (await fresh["VIEWER"].ask("POST", "/api/v1/crews", {})).status == 400
    assert (await fresh["OWNER"].ask("DELETE", f"{members_of(fresh)}/{viewer}")).json == {"success": True}
    assert (await fresh["VIEWER"].ask("GET", "/api/v1/crews")).status in (401, 403)
    assert (await fresh["OWNER"].ask("DELETE", f"{members_of(fresh)}/{viewer}")).status == 404


@pytest.mark.parametrize("actor", ["OWNER", "ADMIN"])
@pytest.mark.parametrize("target", ["ADMIN", "MANAGER", "MEMBER", "VIEWER", "OWNER"])
@pytest.mark.parametrize("role", ROLES)
async def test_roles_are_given_and_taken_below_ones_own(fresh: Team, actor: str, target: str, role: str) -> None:
    second = await fresh["OWNER"].post(members_of(fresh), {"email": f"{a_slug('x')}@example.com", "role": target})
    answer = await fresh[actor].ask("PATCH", f"{members_of(fresh)}/{second['user_id']}", {"role": role})
    may = actor == "OWNER" or {target, role} <= grantable("ADMIN")
    assert answer.status == (200 if may else 403)
    assert may or answer.json["error"] == "Forbidden"
    removed = await fresh["ADMIN"].ask("DELETE", f"{members_of(fresh)}/{second['user_id']}")
    assert removed.status == (200 if (role if may else target) in grantable("ADMIN") else 403)


async def test_grantable_roles_shrink_down_the_ladder() -> None:
    sizes = [len(grantable(role)) for role in ROLES]
    assert sizes == [5, 3, 2, 1, 0]


async def test_the_last_owner_stays(shared: Serving, team: Team) -> None:
    made = await team["MEMBER"].post(WORKSPACES, {"name": "Alone", "slug": a_slug("alone")})
    there = read(made["id"])
    assert there is not None
    alone = team["MEMBER"]._replace(workspace_id=there)
    path = f"{WORKSPACES}/{made['id']}/members"
    [me] = await alone.get(path)
    for answer in (
        await alone.ask("PATCH", f"{path}/{me['user_id']}", {"role": "VIEWER"}),
        await alone.ask("DELETE", f"{path}/{me['user_id']}"),
    ):
        assert answer.status == 409
    assert [row["role"] for row in await alone.get(path)] == ["OWNER"]


async def test_of_two_owners_that_leave_at_once_one_stays(shared: Serving, team: Team) -> None:
    for _ in range(3):
        made = await team["MEMBER"].post(WORKSPACES, {"name": "Two", "slug": a_slug("two")})
        there = read(made["id"])
        assert there is not None
        one = team["MEMBER"]._replace(workspace_id=there)
        path = f"{WORKSPACES}/{made['id']}/members"
        second = await scoped(shared, there, "OWNER")
        other = Person(ClientSession(shared.url, headers=second), there)
        ids = [row["user_id"] for row in await one.get(path)]
        answers = await asyncio.gather(one.ask("DELETE", f"{path}/{ids[0]}"), other.ask("DELETE", f"{path}/{ids[1]}"))
        await other.http.close()
        assert sorted(answer.status for answer in answers) == [200, 409]
        rows = await identity.members(shared.core.database, there)
        assert [row.role for row in rows] == ["OWNER"]


@pytest.mark.parametrize("role", [role for role in ROLES if role != "OWNER"])
async def test_everybody_may_go_by_themself_and_sends_nobody_else_away(fresh: Team, role: str) -> None:
    members = await ids(fresh)
    if role != "ADMIN":
        for other in members.values():
            if other != members[role.lower()]:
                assert (await fresh[role].ask("DELETE", f"{members_of(fresh)}/{other}")).status == 403
    assert (await fresh[role].ask("DELETE", f"{members_of(fresh)}/{members[role.lower()]}")).status == 200
    assert (await fresh[role].ask("GET", "/api/v1/crews")).status in (401, 403)
    assert (await ids(fresh)).keys() == members.keys() - {role.lower()}


async def test_a_narrow_token_does_not_take_its_user_away(shared: Serving, fresh: Team) -> None:
    for caller, status in (("reader", 403), ("admin", 200)):
        me = (await fresh[caller].get("/api/v1/auth/cli-token/validate"))["user_id"]
        assert (await fresh[caller].ask("DELETE", f"{members_of(fresh)}/{me}")).status == status
