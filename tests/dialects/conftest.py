"""For tests of dialects: a server for each module, its owner's session, people of other roles and of another workspace."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest_asyncio
from aiohttp import ClientSession

from server.auth import tokens
from storage import identity, workspaces
from tests.conftest import Cluster, Serving, fresh_database, serving_on

PASSWORD = "open sesame, please"

NewToken = Callable[..., Awaitable[dict[str, str]]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(cluster: Cluster) -> AsyncIterator[Serving]:
    """A server that all tests of a module use."""
    with tempfile.TemporaryDirectory(prefix="missionstream-test-") as name:
        Path(name).chmod(0o711)
        async with (
            fresh_database(cluster) as connect,
            serving_on(connect, Path(name), password=PASSWORD, space_roots=(Path(name),), crew_engine=False) as server,
        ):
            yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def owner(shared: Serving) -> AsyncIterator[ClientSession]:
    """The owner's session."""
    async with ClientSession(shared.url, headers=shared.headers) as session:
        yield session


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nobody(shared: Serving) -> AsyncIterator[ClientSession]:
    """A session without a token."""
    async with ClientSession(shared.url) as session:
        yield session


async def new_member(shared: Serving, role: str, workspace_id: UUID | None = None) -> dict[str, str]:
    """The headers of a new user with this role, by default in the owner's workspace."""
    database = shared.core.database
    workspace_id = workspace_id or shared.workspace_id
    user_id = await identity.create_user(database, role.lower())
    await identity.add_member(database, workspace_id, user_id, role)
    secret = tokens.generate()
    await identity.create_token(database, user_id, workspace_id, "test", tokens.digest(secret))
    return {"Authorization": f"Bearer {secret}"}


async def new_workspace(shared: Serving, slug: str) -> tuple[UUID, dict[str, str]]:
    """Another workspace, and the headers of its owner."""
    workspace_id = await workspaces.create(shared.core.database, slug)
    return workspace_id, await new_member(shared, "OWNER", workspace_id)
