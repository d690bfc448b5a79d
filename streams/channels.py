"""Channels: named sets of subscribers, each of one workspace, and which of them an event reaches."""

from collections.abc import Iterator
from typing import Literal, NamedTuple
from uuid import UUID

from streams.event import Event

ChannelKind = Literal["workspace", "mission", "crew", "team"]


class Channel(NamedTuple):
    """`kind:id` within a workspace; the workspace's own channel has the workspace's id."""

    workspace_id: UUID
    kind: ChannelKind
    id: UUID

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


def channels_of(event: Event) -> Iterator[Channel]:
    """The channels that an event reaches: stored on it at append, so that replay equals live."""
    yield Channel(event.workspace_id, "workspace", event.workspace_id)
    if event.stream_id != event.workspace_id:
        yield Channel(event.workspace_id, "mission", event.stream_id)
    if event.crew_id is not None:
        yield Channel(event.workspace_id, "crew", event.crew_id)
    if event.team_id is not None:
        yield Channel(event.workspace_id, "team", event.team_id)
