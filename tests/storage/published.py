"""A workspace with writers, of which everything that they publish is kept."""

from collections.abc import Sequence
from uuid import UUID

from server.missions.known import kinds
from storage.pool import Database
from storage.writer import Writers
from streams.event import Event


class Published:
    """What tests of writing begin with."""

    def __init__(self, database: Database, workspace_id: UUID) -> None:
        self.database = database
        self.workspace_id = workspace_id
        self.published: list[Event] = []
        self.writers = Writers(database, kinds(), self._publish)

    def _publish(self, workspace_id: UUID, events: Sequence[Event]) -> None:
        self.published.extend(events)
