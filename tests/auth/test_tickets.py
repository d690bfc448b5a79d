"""Tickets for the WebSocket, and how long an open stream may go on."""

from datetime import UTC, datetime

import pytest

from server.auth import tokens
from server.auth.authenticator import Authenticator
from server.auth.credentials import COOKIE
from storage import identity
from storage.pool import Database
from streams.errors import TokenExpired, Unauthenticated
from tests.auth.world import PASSWORD, TOKEN, Asking, Clock, Owner, refusal


@pytest.fixture(params=["token", "login"])
async def credential(request: pytest.FixtureRequest, authenticator: Authenticator, owner: Owner) -> str:
    return TOKEN if request.param == "token" else (await authenticator.login(PASSWORD, remote=None))[0]


async def test_a_ticket_stands_for_who_asked_for_it(
    authenticator: Authenticator, credential: str, clock: Clock, asking: Asking
) -> None:
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {credential}"))
    ticket = await authenticator.ws_token(who)
    for _ in range(2):
        assert await authenticator.ws_principal(ticket) == who
    clock.forward(15 * 60 + 6)
    with pytest.raises(TokenExpired) as refused:
        await authenticator.ws_principal(ticket)
    assert refused.value.message == "invalid or expired ws-token"


async def test_a_ticket_opens_nothing_but_the_socket(
    authenticator: Authenticator, credential: str, asking: Asking
) -> None:
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {credential}"))
    ticket = await authenticator.ws_token(who)
    for headers in (
        {"Authorization": f"Bearer {ticket}"},
        {"Cookie": f"{COOKIE}={ticket}"},
        {"X_Wede_API_Key": ticket},
    ):
        assert (await refusal(authenticator, asking(**headers))).message == "Invalid or expired token"


async def test_the_socket_takes_tokens_and_logins_too(
    authenticator: Authenticator, credential: str, asking: Asking
) -> None:
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {credential}"))
    assert await authenticator.ws_principal(credential) == who


@pytest.mark.parametrize("token", ["", "wrong", "a.b.c", "\udcff", "a.\ud800.c", "mst_" + "a" * 36])
async def test_a_wrong_ticket_is_refused(authenticator: Authenticator, owner: Owner, token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await authenticator.ws_principal(token)
    assert refused.value.message == "invalid or expired ws-token"


async def test_a_ticket_dies_with_its_token(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {TOKEN}"))
    ticket = await authenticator.ws_token(who)
    await authenticator.ws_principal(ticket)
    await identity.revoke_token(database, owner.token_id)
    authenticator.forget(owner.workspace_id)
    with pytest.raises(Unauthenticated) as refused:
        await authenticator.ws_principal(ticket)
    assert refused.value.details == {"reason": "session_revoked"}
    assert not await authenticator.still_valid(who)


async def test_a_ticket_does_not_outlive_a_token_that_ends(
    database: Database, authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking
) -> None:
    end = datetime.fromtimestamp(clock.now + 60, UTC)
    await identity.create_token(
        database, owner.user_id, owner.workspace_id, "short", tokens.digest("short lived"), expires_at=end
    )
    who = await authenticator.authenticate(asking(Authorization="Bearer short lived"))
    ticket = await authenticator.ws_token(who)
    assert (await authenticator.ws_principal(ticket)).expires_at == end
    assert await authenticator.still_valid(who)
    clock.forward(60)
    with pytest.raises(TokenExpired):
        await authenticator.ws_principal(ticket)
    assert not await authenticator.still_valid(who)


async def test_an_open_stream_of_a_login_ends_with_it(
    authenticator: Authenticator, owner: Owner, clock: Clock, asking: Asking
) -> None:
    token, end = await authenticator.login(PASSWORD, remote=None)
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {token}"))
    through_ticket = await authenticator.ws_principal(await authenticator.ws_token(who))
    clock.forward(3600)
    assert await authenticator.still_valid(who)
    assert await authenticator.still_valid(through_ticket)
    clock.now = end
    assert not await authenticator.still_valid(who)
    assert not await authenticator.still_valid(through_ticket)


async def test_a_removed_user_streams_no_more(
    database: Database, authenticator: Authenticator, owner: Owner, asking: Asking
) -> None:
    boss = await identity.create_user(database, "boss")
    await identity.add_member(database, owner.workspace_id, boss, "OWNER")
    login, _ = await authenticator.login(PASSWORD, remote=None)
    streams = [await authenticator.authenticate(asking(Authorization=f"Bearer {text}")) for text in (TOKEN, login)]
    await identity.remove_user(database, owner.user_id)
    authenticator.forget(owner.workspace_id)
    assert [await authenticator.still_valid(who) for who in streams] == [False, False]
