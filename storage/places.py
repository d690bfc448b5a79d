"""In which of a user's workspaces something is that is named by its id alone."""

from typing import Literal
from uuid import UUID

from storage.pool import Database
from storage.queries import queries
from streams.errors import NotFound

Noun = Literal["mission", "crew", "agent"]


async def workspace_of(database: Database, user_id: UUID, noun: Noun, identity: UUID) -> UUID:
    """The workspace; NotFound for what is unknown, deleted, or in no workspace of the user's."""
    async with database.reading() as connection:
        found: UUID | None = await connection.fetchval(getattr(queries.places, noun), user_id, identity)
    if found is None:
        raise NotFound
    return found
