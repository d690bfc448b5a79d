"""Tokens of runs: whom they name, how long they are good, and that they pass nowhere else."""

from uuid import UUID

import asyncpg
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from server.auth.authenticator import RUN_ENDED, Authenticator
from server.auth.sessions import RunClaim, Sessions
from storage.pool import Database
from storage.runs import Runs
from streams.errors import TokenExpired, Unauthenticated
from tests.auth.world import SIGNING, TOKEN, Asking, Clock, Owner, refusal

MISSION, RUN = UUID(int=11), UUID(int=12)
_YEAR = 365 * 24 * 3600


@pytest.fixture
async def running(connect: dict[str, object], database: Database, owner: Owner) -> asyncpg.Connection:  # type: ignore[misc]
    """A connection, to a database in which RUN goes on on MISSION."""
    connection = await asyncpg.connect(**connect)
    await connection.execute(
        "INSERT INTO missions (workspace_id, id, kind, status, phase, state_version, state, run_id, created_at,"
        " updated_at) VALUES ($1, $2, 'control', 'active', 'active', 1, '{}', $3, now(), now())",
        owner.workspace_id, MISSION, RUN,
    )  # fmt: skip
    await Runs(database).claim(owner.workspace_id, RUN, MISSION, owner="here/1/2/3", seconds=15, backend="demo")
    yield connection
    await connection.execute("DELETE FROM missions; DELETE FROM runs")
    await connection.close()


async def test_the_agent_of_a_run_holds_no_permission(
    authenticator: Authenticator, asking: Asking, owner: Owner, running: asyncpg.Connection
) -> None:
    token = authenticator.run_token(owner.workspace_id, MISSION, RUN)
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {token}"))
    assert (who.workspace_id, who.mission_id, who.role, who.permissions) == (
        owner.workspace_id, MISSION, "AGENT", frozenset(),
    )  # fmt: skip
    assert who.actor == "agent:demo"


async def test_people_are_no_agents(authenticator: Authenticator, asking: Asking, owner: Owner) -> None:
    who = await authenticator.authenticate(asking(Authorization=f"Bearer {TOKEN}"))
    assert (who.mission_id, who.actor) == (None, str(owner.user_id))


@pytest.mark.parametrize(
    "ending",
    [
        "UPDATE missions SET run_id = NULL",
        "UPDATE missions SET deleted_at = now()",
    ],
    ids=["the run is over", "the mission is deleted"],
)
async def test_a_runs_token_ends_at_once_with_its_run(
    authenticator: Authenticator, asking: Asking, owner: Owner, running: asyncpg.Connection, ending: str
) -> None:
    request = asking(Authorization=f"Bearer {authenticator.run_token(owner.workspace_id, MISSION, RUN)}")
    await authenticator.authenticate(request)
    await running.execute(ending)
    refused = await refusal(authenticator, request)
    assert (refused.message, refused.details["reason"]) == (RUN_ENDED, "session_expired")


async def test_an_agent_that_stays_up_may_speak_again_in_the_next_run(
    authenticator: Authenticator, asking: Asking, owner: Owner, database: Database, running: asyncpg.Connection
) -> None:
    request = asking(Authorization=f"Bearer {authenticator.run_token(owner.workspace_id, MISSION, RUN)}")
    await running.execute("UPDATE missions SET run_id = NULL")
    await refusal(authenticator, request)
    later = UUID(int=13)
    await Runs(database).claim(owner.workspace_id, later, MISSION, owner="here/1/2/3", seconds=15, backend="codex")
    await running.execute("UPDATE missions SET run_id = $1", later)
    who = await authenticator.authenticate(request)
    assert (who.user_id, who.actor, who.mission_id) == (later, "agent:codex", MISSION)


async def test_a_token_of_another_mission_or_workspace_is_worth_nothing(
    authenticator: Authenticator, asking: Asking, owner: Owner, running: asyncpg.Connection
) -> None:
    for claim in ((owner.workspace_id, RUN, RUN), (MISSION, MISSION, RUN)):
        token = authenticator.run_token(*claim)
        assert isinstance(await refusal(authenticator, asking(Authorization=f"Bearer {token}")), Unauthenticated)


async def test_a_runs_token_opens_no_socket(
    authenticator: Authenticator, owner: Owner, running: asyncpg.Connection
) -> None:
    with pytest.raises(Unauthenticated):
        await authenticator.ws_principal(authenticator.run_token(owner.workspace_id, MISSION, RUN))


async def test_with_authentication_off_an_agent_is_still_only_an_agent(
    authenticators: object, asking: Asking, owner: Owner, running: asyncpg.Connection, clock: Clock
) -> None:
    off = authenticators(auth_mode="disabled")  # type: ignore[operator]
    request = asking(Host="127.0.0.1:8080", Authorization=f"Bearer {off.run_token(owner.workspace_id, MISSION, RUN)}")
    assert (await off.authenticate(request)).mission_id == MISSION
    await running.execute("UPDATE missions SET run_id = NULL")
    await refusal(off, request)
    assert (await off.authenticate(asking(Host="127.0.0.1:8080"))).name == "dev"
    assert (await off.authenticate(asking(Host="127.0.0.1:8080", Authorization="Bearer whatever"))).name == "dev"


def test_no_token_of_ours_passes_as_another(clock: Clock) -> None:
    sessions = Sessions(SIGNING, login_seconds=60, clock=clock)
    claim = RunClaim(UUID(int=1), UUID(int=2), UUID(int=3))
    token, (login, _) = sessions.run_token(claim), sessions.login(UUID(int=4), "ann")
    assert sessions.read_run_token(token) == claim
    assert sessions.read_login(token) is None
    assert sessions.read_ticket(token) is None
    assert sessions.read_run_token(login) is None
    assert Sessions("another secret, also long", login_seconds=60, clock=clock).read_run_token(token) is None


def test_a_runs_token_has_no_end_of_its_own_and_everything_else_has_one(clock: Clock) -> None:
    sessions = Sessions(SIGNING, login_seconds=60, clock=clock)
    claim = RunClaim(UUID(int=1), UUID(int=2), UUID(int=3))
    token, (login, _) = sessions.run_token(claim), sessions.login(UUID(int=4), "ann")
    clock.forward(_YEAR)
    assert sessions.read_run_token(token) == claim
    assert sessions.read_run_token(login) is None
    for read in (sessions.read_login, sessions.read_ticket):
        with pytest.raises(TokenExpired):
            read(login)
        assert read(token) is None


@pytest.mark.parametrize("auth_mode", ["single_tenant", "disabled"])
async def test_an_agent_that_stays_up_for_a_year_is_an_agent_while_a_run_goes_on_and_nobody_after_it(
    authenticators: object, asking: Asking, owner: Owner, running: asyncpg.Connection, clock: Clock, auth_mode: str
) -> None:
    authenticator = authenticators(auth_mode=auth_mode)  # type: ignore[operator]
    token = authenticator.run_token(owner.workspace_id, MISSION, RUN)
    request = asking(Host="127.0.0.1:8080", Authorization=f"Bearer {token}")
    clock.forward(_YEAR)
    assert (await authenticator.authenticate(request)).mission_id == MISSION
    await running.execute("UPDATE missions SET run_id = NULL")
    assert (await refusal(authenticator, request)).message == RUN_ENDED


@pytest.mark.parametrize("auth_mode", ["single_tenant", "disabled"])
async def test_a_runs_token_with_an_end_that_has_come_is_no_other_identity(
    authenticators: object, asking: Asking, owner: Owner, running: asyncpg.Connection, clock: Clock, auth_mode: str
) -> None:
    """Earlier versions signed one; their agents may outlive the upgrade of a server."""
    authenticator = authenticators(auth_mode=auth_mode)  # type: ignore[operator]
    claims = {"sub": str(RUN), "aud": "run", "mis": str(MISSION), "wsp": str(owner.workspace_id)}
    claims |= {"iat": int(clock()) - 120, "exp": int(clock()) - 60}  # type: ignore[dict-item]
    token = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SIGNING), algorithms=["HS256"])
    request = asking(Host="127.0.0.1:8080", Authorization=f"Bearer {token}")
    assert (await authenticator.authenticate(request)).role == "AGENT"
    await running.execute("UPDATE missions SET run_id = NULL")
    assert isinstance(await refusal(authenticator, request), Unauthenticated)
