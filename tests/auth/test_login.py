"""Passwords, the logins that they give, and forged ones."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from server.auth.authenticator import Authenticator
from streams.errors import TokenExpired, TooMany, Unauthenticated
from tests.auth.world import PASSWORD, SIGNING, Asking, Clock, Owner, refusal


def signed(algorithm: str = "HS256", secret: str = SIGNING, **claims: Any) -> str:
    return jwt.encode({"alg": algorithm}, claims, OctKey.import_key(secret), algorithms=[algorithm])


async def test_a_login_gives_the_owners_jwt(
    authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking
) -> None:
    token, end = await authenticator.login(f"  {PASSWORD}\n", remote="192.0.2.1")
    assert end == int(clock.now) + 30 * 86400
    claims = jwt.decode(token, OctKey.import_key(SIGNING), algorithms=["HS256"]).claims
    assert claims == {"sub": str(owner.user_id), "usr": "owner", "iat": int(clock.now), "exp": end}
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {token}"))
    assert (who.user_id, who.workspace_id, who.role) == (owner.user_id, owner.workspace_id, "OWNER")
    assert (who.token_id, who.expires_at) == (None, datetime.fromtimestamp(end, UTC))


async def test_a_login_ends(authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking) -> None:
    token, end = await authenticator.login(PASSWORD, remote=None)
    request = asking(Authorization=f"Bearer {token}")
    clock.now = end - 1
    await authenticator.authenticate(request)
    clock.now = end + 6
    error = await refusal(authenticator, request)
    assert type(error) is TokenExpired
    assert error.message == "Invalid or expired token"


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD.upper(), PASSWORD + "x", "é", "\ud800"])
async def test_a_wrong_password_is_refused(authenticator: Authenticator, owner: Owner, password: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await authenticator.login(password, remote="192.0.2.1")
    assert refused.value.message == "Invalid password"


@pytest.mark.parametrize("configured", [None, "", "  "])
async def test_without_a_password_nobody_logs_in(
    authenticators: Callable[..., Authenticator], owner: Owner, configured: str | None
) -> None:
    for password in ("", "  ", "None"):
        with pytest.raises(Unauthenticated, match="Invalid password"):
            await authenticators(password=configured).login(password, remote="192.0.2.1")


async def test_failed_logins_are_slowed_down_by_address(
    authenticator: Authenticator, owner: Owner, clock: Clock
) -> None:
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await authenticator.login("wrong", remote="192.0.2.1")
    with pytest.raises(TooMany) as refused:
        await authenticator.login(PASSWORD, remote="192.0.2.1")
    assert 0 < refused.value.retry_after <= 60
    await authenticator.login(PASSWORD, remote="192.0.2.2")
    clock.forward(60)
    await authenticator.login(PASSWORD, remote="192.0.2.1")


async def test_a_forged_login_is_refused(
    authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking
) -> None:
    now = int(clock.now)
    good: dict[str, Any] = {"sub": str(owner.user_id), "usr": "owner", "iat": now, "exp": now + 60}
    assert await authenticator.authenticate(asking(Authorization=f"Bearer {signed(**good)}"))
    forged = [
        signed(secret="another secret, long enough too", **good),
        signed("HS512", SIGNING * 2, **good),
        signed(**(good | {"aud": "ws"})),
        signed(**(good | {"aud": "else"})),
        signed(**(good | {"iat": now + 60})),
        signed(**(good | {"nbf": now + 60})),
        signed(**(good | {"sub": "default"})),
        signed(sub=str(owner.user_id), iat=now),
        signed(iat=now, exp=now + 60),
        signed(**(good | {"exp": "soon"})),
    ]
    for token in forged:
        error = await refusal(authenticator, asking(Authorization=f"Bearer {token}"))
        assert error.message == "Invalid or expired token", token


async def test_a_login_of_an_unknown_user_is_refused(
    authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking
) -> None:
    token = signed(sub=str(uuid4()), usr="x", iat=int(clock.now), exp=int(clock.now) + 60)
    assert (await refusal(authenticator, asking(Authorization=f"Bearer {token}"))).message == "Invalid user"
