"""Users, members and tokens in the database, and that every change of rights shows."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
import uuid_utils.compat as uuids

from storage import identity, workspaces
from storage.pool import Database
from storage.queries import queries
from streams.errors import Conflict, NotFound, Unavailable, Unprocessable


class Crowd(NamedTuple):
    """A workspace with an owner and a member, and another one that neither belongs to."""

    workspace_id: UUID
    owner: UUID
    member: UUID
    elsewhere: UUID


@pytest.fixture
async def crowd(database: Database) -> Crowd:
    home, elsewhere = await workspaces.create(database, "home"), await workspaces.create(database, "elsewhere")
    owner, member = await identity.create_user(database, "olga"), await identity.create_user(database, "max")
    await identity.add_member(database, home, owner, "OWNER")
    await identity.add_member(database, home, member, "MEMBER")
    return Crowd(home, owner, member, elsewhere)


async def rights_version(database: Database, workspace_id: UUID) -> int:
    async with database.reading() as connection:
        version: int = await connection.fetchval("SELECT rights_version FROM workspaces WHERE id = $1", workspace_id)
        return version


async def roles(database: Database, workspace_id: UUID) -> dict[str, str]:
    return {member.user_name: member.role for member in await identity.members(database, workspace_id)}


async def test_every_statement_prepares(database: Database) -> None:
    async with database.reading() as connection:
        for name, statement in queries.identity.statements.items():
            assert queries.identity.purposes[name]
            await connection.prepare(statement)


async def test_members_have_roles_that_can_change(database: Database, crowd: Crowd) -> None:
    assert await roles(database, crowd.workspace_id) == {"olga": "OWNER", "max": "MEMBER"}
    await identity.set_role(database, crowd.workspace_id, crowd.member, "VIEWER")
    assert await roles(database, crowd.workspace_id) == {"olga": "OWNER", "max": "VIEWER"}
    await identity.remove_member(database, crowd.workspace_id, crowd.member)
    assert await roles(database, crowd.workspace_id) == {"olga": "OWNER"}


async def test_every_change_of_rights_moves_the_version(database: Database, crowd: Crowd) -> None:
    token = await identity.create_token(database, crowd.member, crowd.workspace_id, "t", b"h" * 32)
    versions = [await rights_version(database, crowd.workspace_id)]
    for change in (
        identity.set_role(database, crowd.workspace_id, crowd.member, "MANAGER"),
        identity.revoke_token(database, token.id),
        identity.remove_member(database, crowd.workspace_id, crowd.member),
        identity.add_member(database, crowd.workspace_id, crowd.member, "OWNER"),
        identity.remove_user(database, crowd.member),
    ):
        await change
        versions.append(await rights_version(database, crowd.workspace_id))
    assert versions == sorted(set(versions))
    assert await rights_version(database, crowd.elsewhere) == 0


async def test_a_refused_change_does_not_move_the_version(database: Database, crowd: Crowd) -> None:
    before = await rights_version(database, crowd.workspace_id)
    with pytest.raises(Unprocessable):
        await identity.set_role(database, crowd.workspace_id, crowd.member, "KING")
    with pytest.raises(NotFound):
        await identity.set_role(database, crowd.workspace_id, uuid4(), "VIEWER")
    with pytest.raises(NotFound):
        await identity.remove_member(database, crowd.workspace_id, uuid4())
    with pytest.raises(NotFound):
        await identity.add_member(database, crowd.workspace_id, uuid4(), "VIEWER")
    with pytest.raises(Conflict):
        await identity.add_member(database, crowd.workspace_id, crowd.member, "VIEWER")
    assert await rights_version(database, crowd.workspace_id) == before


async def test_the_last_owner_stays(database: Database, crowd: Crowd) -> None:
    with pytest.raises(Conflict):
        await identity.set_role(database, crowd.workspace_id, crowd.owner, "ADMIN")
    with pytest.raises(Conflict):
        await identity.remove_member(database, crowd.workspace_id, crowd.owner)
    with pytest.raises(Conflict):
        await identity.remove_user(database, crowd.owner)
    await identity.set_role(database, crowd.workspace_id, crowd.member, "OWNER")
    await identity.remove_user(database, crowd.owner)
    with pytest.raises(Conflict):
        await identity.set_role(database, crowd.workspace_id, crowd.member, "ADMIN")


async def test_of_users_with_one_email_the_one_here_is_found_then_the_oldest_and_no_stranger(
    database: Database, crowd: Crowd
) -> None:
    email = "same@example.org"
    stranger, older, here = [
        await identity.create_user(database, name, email) for name in ("stranger", "older", "here")
    ]

    async def found() -> UUID | None:
        return await identity.known_by_email(database, email, crowd.owner, crowd.workspace_id)

    assert await found() is None
    await identity.add_member(database, crowd.elsewhere, crowd.owner, "VIEWER")
    await identity.add_member(database, crowd.workspace_id, here, "MEMBER")
    await identity.add_member(database, crowd.elsewhere, older, "MEMBER")
    assert await found() == here
    await identity.remove_member(database, crowd.workspace_id, here)
    assert await found() == older
    await identity.remove_user(database, older)
    assert await found() is None
    assert await identity.memberships(database, stranger) == []


async def test_a_membership_is_found_by_id_and_by_slug_and_tells_strangers_nothing(
    database: Database, crowd: Crowd
) -> None:
    by_id = await identity.membership(database, crowd.member, workspace_id=crowd.workspace_id)
    assert by_id is not None
    assert (by_id.slug, by_id.role, by_id.user_name) == ("home", "MEMBER", "max")
    assert await identity.membership(database, crowd.member, slug="home") == by_id
    assert await identity.membership(database, crowd.member, slug="elsewhere") is None
    assert await identity.membership(database, crowd.member, slug="unknown") is None
    assert await identity.membership(database, crowd.member) is None


async def test_home_is_default_and_then_the_oldest(database: Database, crowd: Crowd) -> None:
    await identity.add_member(database, crowd.elsewhere, crowd.member, "VIEWER")
    home = await identity.home_membership(database, crowd.member)
    assert home is not None
    assert home.slug == "home"
    await identity.add_member(database, await workspaces.create(database, "default"), crowd.member, "VIEWER")
    home = await identity.home_membership(database, crowd.member)
    assert home is not None
    assert home.slug == "default"
    listed = await identity.memberships(database, crowd.member)
    assert [membership.slug for membership in listed] == ["default", "elsewhere", "home"]


async def test_a_token_is_found_by_its_hash_until_it_is_revoked(database: Database, crowd: Crowd) -> None:
    end = datetime.now(UTC) + timedelta(days=1)
    made = await identity.create_token(
        database, crowd.member, crowd.workspace_id, "ci", b"h" * 32, scopes=["missions:*"], expires_at=end
    )
    holder = await identity.find_by_hash(database, b"h" * 32)
    assert holder is not None
    assert holder == await identity.find_by_id(database, made.id)
    assert (holder.user_id, holder.role, holder.scopes) == (crowd.member, "MEMBER", ("missions:*",))
    assert (holder.expires_at, holder.revoked_at, holder.removed_at) == (end, None, None)
    assert await identity.find_by_hash(database, b"x" * 32) is None
    assert await identity.list_tokens(database, crowd.member) == [made]

    await identity.revoke_token(database, made.id, user_id=crowd.member)
    holder = await identity.find_by_hash(database, b"h" * 32)
    assert holder is not None
    assert holder.revoked_at is not None
    assert await identity.list_tokens(database, crowd.member) == []


async def test_only_its_user_revokes_a_token_and_only_once(database: Database, crowd: Crowd) -> None:
    made = await identity.create_token(database, crowd.member, crowd.workspace_id, "ci", b"h" * 32)
    with pytest.raises(NotFound):
        await identity.revoke_token(database, made.id, user_id=crowd.owner)
    await identity.revoke_token(database, made.id)
    with pytest.raises(NotFound):
        await identity.revoke_token(database, made.id)


async def test_one_secret_is_one_token(database: Database, crowd: Crowd) -> None:
    await identity.create_token(database, crowd.member, crowd.workspace_id, "one", b"h" * 32)
    with pytest.raises(Conflict):
        await identity.create_token(database, crowd.owner, crowd.workspace_id, "two", b"h" * 32)
    with pytest.raises(NotFound):
        await identity.create_token(database, uuids.uuid7(), crowd.workspace_id, "nobody's", b"i" * 32)


async def test_leaving_a_workspace_ends_its_tokens_for_good(database: Database, crowd: Crowd) -> None:
    await identity.add_member(database, crowd.elsewhere, crowd.member, "MEMBER")
    await identity.create_token(database, crowd.member, crowd.workspace_id, "home's", b"h" * 32)
    await identity.create_token(database, crowd.member, crowd.elsewhere, "other's", b"o" * 32)
    await identity.remove_member(database, crowd.workspace_id, crowd.member)
    await identity.add_member(database, crowd.workspace_id, crowd.member, "MEMBER")
    assert [token.name for token in await identity.list_tokens(database, crowd.member)] == ["other's"]


async def test_a_use_is_noted_once_a_minute(database: Database, crowd: Crowd) -> None:
    made = await identity.create_token(database, crowd.member, crowd.workspace_id, "ci", b"h" * 32)
    first = datetime(2030, 1, 1, tzinfo=UTC)
    for seconds in (0, 30, 60, 80):
        await identity.touch_token(database, made.id, first + timedelta(seconds=seconds))
    assert (await identity.list_tokens(database, crowd.member))[0].last_used_at == first + timedelta(seconds=60)


async def test_a_database_that_is_gone_is_unavailable() -> None:
    gone = Database({"host": "127.0.0.1", "port": 1, "user": "x", "database": "x"})
    with pytest.raises(Unavailable):
        await gone.open()
