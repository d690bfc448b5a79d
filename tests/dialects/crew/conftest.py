"""A team for each module of tests of the crew dialect."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.conftest import Serving
from tests.dialects.crew.people import Person, Team, a_team, dismissed
from tests.dialects.crew.world import Crew, a_crew


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def team(shared: Serving) -> AsyncIterator[Team]:
    made = await a_team(shared)
    yield made
    await dismissed(made)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def boss(team: Team) -> Person:
    """The team's OWNER."""
    return team["OWNER"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crew(shared: Serving, boss: Person) -> Crew:
    """A crew of the team's OWNER."""
    return await a_crew(shared, boss)
