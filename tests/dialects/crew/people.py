"""What the tests of the crew dialect do again and again: a team of every role, crews, agents, calls of a route."""

import re
from typing import Any, NamedTuple
from uuid import UUID

import uuid_utils.compat as uuids
from aiohttp import ClientSession

from server.auth import tokens
from server.auth.roles import ROLES
from server.dialects.crew.ids import spell
from server.routing import Route
from storage import identity
from tests.conftest import Serving
from tests.dialects.conftest import new_member, new_workspace
from tests.dialects.control.driving import Answer, ask

CREWS, AGENTS = "/api/v1/crews", "/api/v1/agents"


class Person(NamedTuple):
    """A session of somebody, and the workspace that they name."""

    http: ClientSession
    workspace_id: UUID

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request in the person's workspace."""
        options = {} if body is None else {"json": body}
        here = {
            "X-Workspace-ID": spell(self.workspace_id),
            **{name.replace("_", "-"): headers[name] for name in headers},
        }
        return await ask(self.http, method, path, headers=here, **options)

    async def get(self, path: str) -> Any:
        answer = await self.ask("GET", path)
        assert answer.status == 200, answer
        return answer.json

    async def post(self, path: str, body: Any, status: int = 201, **headers: str) -> Any:
        answer = await self.ask("POST", path, body, **headers)
        assert answer.status == status, answer
        return answer.json

    async def crew(self, **fields: Any) -> dict[str, Any]:
        return await self.post(CREWS, {"name": "A crew", "slug": a_slug("crew"), **fields})  # type: ignore[no-any-return]

    async def agent(self, **fields: Any) -> dict[str, Any]:
        return await self.post(AGENTS, {"name": "An agent", "slug": a_slug("agent"), **fields})  # type: ignore[no-any-return]


def a_slug(begin: str) -> str:
    """A slug that nobody has yet."""
    return f"{begin}-{uuids.uuid7().hex[-12:]}"


async def scoped(shared: Serving, workspace_id: UUID, role: str, *scopes: str) -> dict[str, str]:
    """The headers of a new member's token with these scopes."""
    database = shared.core.database
    user_id = await identity.create_user(database, "scoped")
    await identity.add_member(database, workspace_id, user_id, role)
    secret = tokens.generate()
    await identity.create_token(database, user_id, workspace_id, "t", tokens.digest(secret), scopes=scopes)
    return {"Authorization": f"Bearer {secret}"}


class Team(NamedTuple):
    """A workspace with a person of every role, and others: nobody, outsider, reader, writer (by scope), agent."""

    people: dict[str, Person]
    workspace_id: UUID
    elsewhere: UUID

    def __getitem__(self, name: str) -> Person:
        return self.people[name]


async def a_team(shared: Serving) -> Team:
    """A new team; close its sessions with `dismissed`."""
    here, _ = await new_workspace(shared, a_slug("team"))
    elsewhere, outsider = await new_workspace(shared, a_slug("other"))
    headers = {
        "nobody": {},
        "wrong": {"Authorization": "Bearer wrong"},
        **{role: await new_member(shared, role, here) for role in ROLES},
        "outsider": outsider,
        "reader": await scoped(shared, here, "OWNER", "missions:view"),
        "writer": await scoped(shared, here, "OWNER", "crews:write"),
        "admin": await scoped(shared, here, "OWNER", "workspace:admin"),
    }
    people = {name: Person(ClientSession(shared.url, headers=head), here) for name, head in headers.items()}
    return Team(people, here, elsewhere)


async def dismissed(team: Team) -> None:
    for person in team.people.values():
        await person.http.close()


def path_of(route: Route, identity: str, workspace: str) -> str:
    """The route's path with the workspace in its place, and the id in every other."""
    return re.sub(r"\{[^}]*\}", identity, route.path.replace("{workspaceId}", workspace))
