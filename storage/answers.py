"""First answers of idempotent requests, read before anything else is asked."""

from uuid import UUID

from storage import statements
from storage.pool import Database
from storage.rules import Key
from streams.errors import KeyReused


async def first(database: Database, workspace_id: UUID, key: Key) -> str | None:
    """The stored answer of a key, JSON text; None for a new key, KeyReused when it stood for another request."""
    async with database.reading() as connection:
        known = await statements.answers(connection, workspace_id, [key])
    answered = known.get((key.scope, key.key))
    if answered is None:
        return None
    if answered[0] != key.fingerprint:
        raise KeyReused(key=key.key)
    return answered[1]
