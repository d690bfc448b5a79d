"""Ids: UUIDs of the driver's own class, a uuid.UUID in every way, which it sends as it stands and which is quick to hash.

The class makes a difference only where an id is a key many times over, as in the writer; any other UUID is taken too.
"""

from uuid import UUID

import uuid_utils.compat as uuids
from asyncpg.pgproto import pgproto


def new_id() -> UUID:
    """An id that nothing has, of version 7: later ones are greater."""
    made: UUID = pgproto.UUID(uuids.uuid7().bytes)
    return made


def parse_id(text: str) -> UUID:
    """The id of 32 hexadecimal digits, with hyphens or without; ValueError for anything else."""
    parsed: UUID = pgproto.UUID(text)
    return parsed
