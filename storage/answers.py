"""First answers of idempotent requests."""

from collections.abc import Mapping
from uuid import UUID

from storage import statements
from storage.pool import Database
from storage.rules import Key
from streams.errors import KeyReused

Answers = Mapping[tuple[str, str], tuple[str, str]]
"""Fingerprints and answers, by scope and key."""


def answer_of(known: Answers, key: Key) -> str | None:
    """The first answer of a key, JSON text; None for a new key, KeyReused when it stood for another request."""
    found = known.get((key.scope, key.key))
    if found is None:
        return None
    fingerprint, answer = found
    if fingerprint != key.fingerprint:
        raise KeyReused(key=key.key)
    return answer


async def first(database: Database, workspace_id: UUID, key: Key) -> str | None:
    """The same of what is stored, read before anything else is asked."""
    async with database.reading() as connection:
        return answer_of(await statements.answers(connection, workspace_id, [key]), key)
