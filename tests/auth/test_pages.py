"""The Origin rules on requests, and authentication switched off."""

from collections.abc import Callable

import pytest

from server.auth.authenticator import Authenticator
from server.auth.issue import issue_token
from storage import workspaces
from storage.pool import Database
from streams.errors import Forbidden, Unauthenticated
from tests.auth.world import Asking, Owner, refusal


@pytest.mark.parametrize(
    ("method", "headers", "may"),
    [
        ("POST", {}, True),
        ("POST", {"Origin": "http://here.example:8080"}, True),
        ("POST", {"Origin": "https://board.example"}, True),
        ("POST", {"Origin": "https://evil.example"}, False),
        ("DELETE", {"Referer": "https://evil.example/page"}, False),
        ("PATCH", {"Origin": "null"}, False),
        ("GET", {"Origin": "https://evil.example"}, True),
    ],
)
def test_changes_are_guarded(
    authenticators: Callable[..., Authenticator], asking: Asking, method: str, headers: dict[str, str], may: bool
) -> None:
    authenticator = authenticators(allowed_origins=["https://board.example/"])
    if may:
        authenticator.check_change(asking(method, **headers))
        return
    with pytest.raises(Forbidden) as refused:
        authenticator.check_change(asking(method, **headers))
    assert refused.value.message == "request origin not allowed"
    assert refused.value.details == {"reason": "origin_rejected"}


def test_handshakes_are_guarded(authenticator: Authenticator, asking: Asking) -> None:
    authenticator.check_connect(asking())
    authenticator.check_connect(asking(Origin="https://here.example"))
    with pytest.raises(Forbidden):
        authenticator.check_connect(asking(Origin="https://evil.example"))


async def test_with_authentication_off_everybody_is_the_developer(
    database: Database, authenticators: Callable[..., Authenticator], asking: Asking
) -> None:
    authenticator = authenticators(auth_mode="disabled")
    who = await authenticator.authenticate(asking(Host="localhost:8080"))
    assert (who.name, who.role, who.token_id) == ("dev", "OWNER", None)
    (workspace,) = await workspaces.every(database)
    assert (who.workspace_id, workspace.slug) == (workspace.id, "default")
    assert await authenticator.authenticate(asking(Host="127.0.0.1:1", Authorization="Bearer any")) == who
    assert await authenticator.ws_principal("anything") == who
    assert await authenticator.in_workspace(who, "default") == who
    assert await authenticator.still_valid(who)


@pytest.mark.parametrize(
    "headers",
    [{"Host": "localhost:8080", "Origin": "https://evil.example"}, {"Host": "rebound.evil.example:8080"}],
)
async def test_with_authentication_off_no_foreign_page_may_act(
    authenticators: Callable[..., Authenticator], asking: Asking, headers: dict[str, str]
) -> None:
    error = await refusal(authenticators(auth_mode="disabled"), asking(**headers))
    assert type(error) is Forbidden


async def test_what_was_given_out_with_authentication_off_is_no_key_later(
    database: Database, authenticators: Callable[..., Authenticator], owner: Owner, asking: Asking
) -> None:
    off, on = authenticators(auth_mode="disabled"), authenticators()
    developer = await off.authenticate(asking(Host="localhost"))
    _, secret = await issue_token(database, developer, "made by anybody")
    ticket = await off.ws_token(developer)
    assert (await refusal(on, asking(Authorization=f"Bearer {secret}"))).message == "Invalid user"
    assert not await on.still_valid(developer)
    assert (await refusal(on, asking(Authorization=f"Bearer {ticket}"))).kind == "auth"
    with pytest.raises(Unauthenticated):
        await on.ws_principal(ticket)
