"""Crew's channels: who may subscribe to which, and what each carries."""

from collections.abc import Mapping
from uuid import UUID

import msgspec

from server.auth.principal import Principal
from server.core import Core
from server.dialects.crew import ids
from server.dialects.crew.frames import CrewFrames, Faces, SpelledTimeline
from server.socket import Resolver
from server.timeline import timeline_channel
from storage import places
from streams.channels import Channel, ChannelKind
from streams.errors import NotFound
from streams.feed import Encoding, Face

NO_MISSION = UUID(int=0)


def _id(text: str) -> UUID:
    identity = ids.read(text)
    if identity is None:  # a slug, for one: channels take ids alone
        raise NotFound
    return identity


def _is_spelled(text: str) -> bool:
    return text.startswith(ids.ENTITY)


def _of_workspace(prefix: str) -> Resolver:
    faces = Faces.of(prefix)

    async def resolve(services: Core, who: Principal, text: str) -> tuple[Channel, Face]:
        here = await services.authenticator.in_workspace(who, _id(text))
        here.require("stream:view")
        return Channel(here.workspace_id, "workspace", here.workspace_id), faces.as_in(_is_spelled(text))

    return resolve


def _of(noun: places.Noun, prefix: str, kind: ChannelKind | None) -> Resolver:
    """The channel of a mission, crew or agent in any workspace of the user's; `kind` None: one that carries nothing."""
    faces = Faces.of(prefix)

    async def resolve(services: Core, who: Principal, text: str) -> tuple[Channel, Face]:
        identity = _id(text)
        workspace_id = await places.workspace_of(services.database, who.user_id, noun, identity)
        (await services.authenticator.in_workspace(who, workspace_id)).require("stream:view")
        if kind is None:
            return _silent(workspace_id, f"{prefix}:{text}")
        return Channel(workspace_id, kind, identity), faces.as_in(_is_spelled(text))

    return resolve


async def _user(services: Core, who: Principal, text: str) -> tuple[Channel, Face]:
    if _id(text) != who.user_id:
        raise NotFound
    return _silent(who.workspace_id, f"user:{text}")


async def _providers(services: Core, who: Principal, text: str) -> tuple[Channel, Face]:
    return _silent(who.workspace_id, f"providers:{text}")


async def _nobody(services: Core, who: Principal, text: str) -> tuple[Channel, Face]:
    raise NotFound


class _Silent(msgspec.Struct, frozen=True):
    """The face of a channel that only its pings go by; equal names share a feed."""

    name: str

    def __call__(self, channel: Channel, epoch: str) -> Encoding:
        return CrewFrames(self.name, "")


def _silent(workspace_id: UUID, name: str) -> tuple[Channel, Face]:
    """A channel that may be had, and on which nothing is ever said: that of a mission which is none."""
    return Channel(workspace_id, "mission", NO_MISSION), _Silent(name)


async def _timeline(services: Core, who: Principal, text: str) -> tuple[Channel, Face]:
    if not _is_spelled(text):
        return await timeline_channel(services, who, text)
    channel, _ = await timeline_channel(services, who, str(_id(text)))
    return channel, SpelledTimeline


CHANNELS: Mapping[str, Resolver] = {
    "workspace": _of_workspace("workspace"),
    "journal": _of_workspace("journal"),
    "keeper": _of_workspace("keeper"),
    "crew": _of("crew", "crew", "crew"),
    "files": _of("crew", "files", None),
    "agent": _of("agent", "agent", None),
    "mission": _of("mission", "mission", "mission"),
    "session": _of("mission", "session", "mission"),
    "user": _user,
    "providers": _providers,
    "page": _nobody,
    "timeline": _timeline,
}
"""By what stands before the colon."""
