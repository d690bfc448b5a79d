"""Tokens that users make for themselves."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from server.auth import roles, tokens
from server.auth.authenticator import Authenticator
from server.auth.issue import issue_token
from server.auth.principal import Principal
from storage import founding, identity
from storage.pool import Database
from streams.errors import Forbidden, Unprocessable
from tests.auth.world import Asking


@pytest.fixture
async def owner(database: Database) -> Principal:
    found = await founding.found(database)
    return Principal(
        user_id=found.owner_id,
        name="owner",
        workspace_id=found.workspace_id,
        role="OWNER",
        permissions=roles.permissions("OWNER"),
    )


def through(owner: Principal, *scopes: str) -> Principal:
    return msgspec.structs.replace(owner, scopes=scopes, permissions=roles.permissions(owner.role, scopes))


async def test_the_secret_is_shown_once_and_works(
    database: Database, owner: Principal, authenticator: Authenticator, asking: Asking
) -> None:
    made, secret = await issue_token(database, owner, "ci", scopes=["missions:*", "missions:*"])
    assert not tokens.is_misspelt(secret)
    assert secret not in repr(made)
    assert [token.name for token in await identity.list_tokens(database, owner.user_id)] == ["ci"]
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {secret}"))
    assert (who.token_id, who.scopes) == (made.id, ("missions:*",))
    assert who.permissions == roles.permissions("OWNER", ["missions:*"])


@pytest.mark.parametrize(
    ("held", "wanted", "is_allowed"),
    [
        ((), (), True),
        ((), ("*",), True),
        (("*",), (), True),
        (("tokens:manage",), (), False),
        (("tokens:manage",), ("*",), False),
        (("tokens:manage", "missions:create"), ("missions:*",), False),
        (("tokens:manage", "missions:*"), ("missions:create",), True),
        (("tokens:manage", "crews:write"), ("workspace:admin",), False),
        (("tokens:manage",), ("unheard:of",), True),
        (("missions:create",), ("missions:create",), False),
    ],
)
async def test_a_token_makes_none_with_more_rights(
    database: Database, owner: Principal, held: tuple[str, ...], wanted: tuple[str, ...], is_allowed: bool
) -> None:
    if is_allowed:
        await issue_token(database, through(owner, *held), "child", scopes=wanted)
        return
    with pytest.raises(Forbidden):
        await issue_token(database, through(owner, *held), "child", scopes=wanted)
    assert await identity.list_tokens(database, owner.user_id) == []


@pytest.mark.parametrize("wanted", [(), ("*",), ("workspace:admin",), ("missions:create",)])
async def test_a_scope_that_the_role_does_not_reach_is_not_had_from_it(
    database: Database, owner: Principal, wanted: tuple[str, ...]
) -> None:
    """The token would have it where its user is more than here."""
    viewer = msgspec.structs.replace(owner, role="VIEWER")
    with pytest.raises(Forbidden):
        await issue_token(database, through(viewer, "tokens:manage"), "child", scopes=wanted)
    await issue_token(database, through(viewer), "child", scopes=wanted)


async def test_a_token_that_ends_makes_none_that_outlives_it(database: Database, owner: Principal) -> None:
    parent, _ = await issue_token(database, owner, "parent", expires_in_seconds=3600)
    held = msgspec.structs.replace(owner, token_id=parent.id, expires_at=parent.expires_at)
    for wanted in (None, 7200):
        child, _ = await issue_token(database, held, "child", expires_in_seconds=wanted)
        assert child.expires_at == parent.expires_at
    child, _ = await issue_token(database, held, "child", expires_in_seconds=60)
    assert child.expires_at is not None
    assert child.expires_at < datetime.now(UTC) + timedelta(seconds=61)


async def test_a_login_makes_lasting_tokens(database: Database, owner: Principal) -> None:
    login = msgspec.structs.replace(owner, expires_at=datetime.now(UTC) + timedelta(days=30))
    made, _ = await issue_token(database, login, "lasting")
    assert made.expires_at is None


@pytest.mark.parametrize(
    ("name", "scopes", "life"),
    [("", (), None), ("x" * 201, (), None), ("a\0b", (), None), ("n", ("all",), None), ("n", (), 0), ("n", (), 10**12)],
)
async def test_a_wrong_wish_is_refused(
    database: Database, owner: Principal, name: str, scopes: tuple[str, ...], life: int | None
) -> None:
    with pytest.raises(Unprocessable):
        await issue_token(database, owner, name, scopes=scopes, expires_in_seconds=life)
