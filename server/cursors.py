"""From a mission's sequence to the workspace's cursor, so that every input is one cursor in the end."""

from uuid import UUID

from server.core import Core
from streams.cursor import MAX_POSITION, Cursor
from streams.errors import CursorAhead, CursorGone


async def after_sequence(services: Core, workspace_id: UUID, mission_id: UUID, sequence: int) -> Cursor:
    """The cursor after a mission's event; 0 is before all that is kept.

    Raises CursorAhead for a sequence that the mission does not have yet, and CursorGone when retention has removed the
    event after it.
    """
    follower = await services.hub.follower(workspace_id)
    if sequence <= 0:
        return Cursor(follower.epoch, follower.floor)
    place = await services.log.place(workspace_id, mission_id, min(sequence, MAX_POSITION - 1))
    if sequence > place.head:
        raise CursorAhead
    if sequence + 1 < place.first:
        raise CursorGone
    return Cursor(follower.epoch, follower.floor if place.position is None else place.position)


async def sequence_of(services: Core, workspace_id: UUID, mission_id: UUID, cursor: Cursor) -> int:
    """The sequence up to which a reader at this cursor has a mission. Raises CursorLost."""
    head = await services.log.head(workspace_id)
    cursor.check(epoch=head.epoch, floor=head.floor, head=head.head)
    return await services.log.sequence_at(workspace_id, mission_id, cursor.position)
