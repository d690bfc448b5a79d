"""How long a token is believed, in which workspace it acts, and what the log tells."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from server.auth import roles, tokens
from server.auth.authenticator import Authenticator
from storage import founding, identity, migrations, workspaces
from storage.embedded import throwaway
from storage.pool import Database
from streams.errors import Forbidden, TokenExpired, Unauthenticated, Unavailable
from tests.auth.world import PASSWORD, SIGNING, TOKEN, Asking, Clock, Owner, refusal


async def test_an_expired_token_says_so_even_from_memory(
    database: Database, authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking
) -> None:
    end = datetime.fromtimestamp(clock.now + 3, UTC)
    await identity.create_token(
        database, owner.user_id, owner.workspace_id, "short", tokens.digest("short lived"), expires_at=end
    )
    request = asking(Authorization="Bearer short lived")
    assert (await authenticator.authenticate(request)).expires_at == end
    clock.forward(3)
    error = await refusal(authenticator, request)
    assert type(error) is TokenExpired
    assert (error.message, error.details) == ("Invalid or expired token", {"reason": "session_expired"})


async def test_a_revoked_token_is_refused_within_five_seconds(
    database: Database, authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking
) -> None:
    request = asking(Authorization=f"Bearer {TOKEN}")
    await authenticator.authenticate(request)
    await identity.revoke_token(database, owner.token_id)
    clock.forward(4.9)
    await authenticator.authenticate(request)
    clock.forward(0.1)
    error = await refusal(authenticator, request)
    assert (error.message, error.details) == ("Invalid or expired token", {"reason": "session_revoked"})


async def test_a_revoked_token_is_refused_at_once_when_the_rights_move(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    request = asking(Authorization=f"Bearer {TOKEN}")
    await authenticator.authenticate(request)
    await identity.revoke_token(database, owner.token_id)
    authenticator.forget(uuid4())
    await authenticator.authenticate(request)
    authenticator.forget(owner.workspace_id)
    assert (await refusal(authenticator, request)).details == {"reason": "session_revoked"}


async def test_a_users_end_is_told_apart_from_a_tokens(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    member = await identity.create_user(database, "max")
    await identity.add_member(database, owner.workspace_id, member, "MEMBER")
    await identity.create_token(database, member, owner.workspace_id, "t", tokens.digest("max's token"))
    assert (await authenticator.authenticate(asking(Authorization="Bearer max's token"))).role == "MEMBER"
    async with database.reading() as connection:
        await connection.execute("DELETE FROM members WHERE user_id = $1", member)
    authenticator.forget(owner.workspace_id)
    error = await refusal(authenticator, asking(Authorization="Bearer max's token"))
    assert type(error) is Unauthenticated
    assert error.message == "Invalid user"


async def test_a_herd_is_served_by_one_reading(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = 0
    find = identity.find_by_hash

    async def counting(*given: Any) -> Any:
        nonlocal readings
        readings += 1
        return await find(*given)

    monkeypatch.setattr(identity, "find_by_hash", counting)
    request = asking(Authorization=f"Bearer {TOKEN}")
    await asyncio.gather(*(authenticator.authenticate(request) for _ in range(200)))
    assert readings == 1


async def test_a_use_is_noted_in_the_background_once_a_minute(
    database: Database, authenticators: Callable[..., Authenticator], owner: Owner, clock: Clock, asking: Asking
) -> None:
    authenticator, request = authenticators(), asking(Authorization=f"Bearer {TOKEN}")
    begun = clock.now
    for seconds in (0, 59, 1, 30):
        clock.forward(seconds)
        await authenticator.authenticate(request)
    await authenticator.close()
    (token,) = await identity.list_tokens(database, owner.user_id)
    assert token.last_used_at == datetime.fromtimestamp(begun + 60, UTC)


async def test_a_lost_database_is_unavailable_and_not_a_wrong_token(asking: Asking) -> None:
    async with throwaway() as postgres:
        await migrations.migrate(postgres.connect_kwargs)
        database = Database(postgres.connect_kwargs, writers=1, readers=2)
        await database.open()
        authenticator = Authenticator(database, password=PASSWORD, jwt_secret=SIGNING)
        await founding.adopt_token(database, "bootstrap", tokens.digest(TOKEN), as_first=False)
        login, _ = await authenticator.login(PASSWORD, remote=None)
        await postgres.stop()
        for token in (TOKEN, login, "no such token"):
            assert type(await refusal(authenticator, asking(Authorization=f"Bearer {token}"))) is Unavailable
        with pytest.raises(Unavailable):
            await authenticator.login(PASSWORD, remote=None)
        await authenticator.close()
        await database.close()


async def test_a_principal_acts_in_the_workspaces_it_belongs_to(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    other = await workspaces.create(database, "other")
    await workspaces.create(database, "foreign")
    await identity.add_member(database, other, owner.user_id, "VIEWER")
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {TOKEN}"))
    for name in (other, str(other), "other"):
        there = await authenticator.in_workspace(who, name)
        assert (there.workspace_id, there.role, there.permissions) == (other, "VIEWER", roles.ROLES["VIEWER"])
        assert there.token_id == owner.token_id
    assert await authenticator.in_workspace(who, owner.workspace_id) == who
    assert await authenticator.in_workspace(who, "default") == who
    for name in ("foreign", "unknown", uuid4(), str(uuid4()), "", "No Slug", "a\0b", "x" * 1000):
        with pytest.raises(Forbidden) as refused:
            await authenticator.in_workspace(who, name)
        assert (refused.value.message, refused.value.details) == ("Not a member of this workspace", {})


async def test_scopes_narrow_in_every_workspace(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    other = await workspaces.create(database, "other")
    await identity.add_member(database, other, owner.user_id, "ADMIN")
    await identity.create_token(
        database, owner.user_id, owner.workspace_id, "n", tokens.digest("narrow token"), scopes=["crews:write"]
    )
    who = await authenticator.authenticate(asking(Authorization="Bearer narrow token"))
    there = await authenticator.in_workspace(who, "other")
    assert there.permissions == who.permissions == roles.permissions("ADMIN", ["crews:write"])


async def test_a_lost_membership_ends_with_the_rights_version(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    other = await workspaces.create(database, "other")
    boss = await identity.create_user(database, "boss")
    await identity.add_member(database, other, boss, "OWNER")
    await identity.add_member(database, other, owner.user_id, "MEMBER")
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {TOKEN}"))
    there = await authenticator.in_workspace(who, "other")
    assert await authenticator.still_valid(there)
    await identity.remove_member(database, other, owner.user_id)
    authenticator.forget(other)
    with pytest.raises(Forbidden):
        await authenticator.in_workspace(who, "other")
    assert not await authenticator.still_valid(there)
    assert await authenticator.still_valid(who)


async def test_no_secret_reaches_the_log(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking, log_lines: list[Any], tmp_path: Path
) -> None:
    wrong = "a wrong password or token"
    login, _ = await authenticator.login(PASSWORD, remote="192.0.2.1")
    with pytest.raises(Unauthenticated):
        await authenticator.login(wrong, remote="192.0.2.1")
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {TOKEN}"))
    error = await refusal(authenticator, asking(Authorization=f"Bearer {wrong}"))
    ticket = await authenticator.ws_token(who)
    assert [line["event"] for line in log_lines] == ["login.done", "login.refused"]
    told = str(log_lines) + repr(who) + repr(error) + repr(error.details) + msgspec.json.encode(who).decode()
    for secret in (PASSWORD, SIGNING, TOKEN, wrong, login, ticket):
        assert secret not in told
