"""What a client wants of the journal: the filters of a request, for the log and for what comes live."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from server.body import word
from server.dialects.crew import ids, journal
from server.dialects.crew.journal import KINDS, Kind
from storage.journal import Wanted
from streams.channels import Channel
from streams.errors import BadRequest
from streams.event import Event

MOST_WORDS = 200
_ONE_OF = {"severity": journal.SEVERITIES, "priority": journal.PRIORITIES, "actor_type": journal.ACTORS}


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Filters that an entry must all pass; None and an empty tuple ask nothing. Equal ones share a feed."""

    mission: UUID | None = None
    crews: tuple[UUID, ...] | None = None
    agents: tuple[str, ...] | None = None
    run: str | None = None
    types: tuple[str, ...] = ()
    other_types: tuple[str, ...] = ()
    """Entry types that are not wanted."""
    severities: tuple[str, ...] = ()
    priorities: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None

    def kinds(self) -> tuple[Kind, ...]:
        """The sorts of entries that may pass."""
        return tuple(kind for kind in KINDS if self._may_be(kind))

    def _may_be(self, kind: Kind) -> bool:
        return (
            (not self.types or kind.entry_type in self.types)
            and kind.entry_type not in self.other_types
            and (not self.severities or kind.severity in self.severities)
            and (not self.priorities or kind.priority in self.priorities)
        )

    def wanted(self) -> Wanted:
        """The same, as the log is asked."""
        kinds = self.kinds()
        return Wanted(
            facets=tuple(kind.facet for kind in kinds),
            but=tuple(kind.facet for kind in KINDS if kind not in kinds and kind.what != "%"),
            mission=self.mission,
            crews=self.crews,
            agents=self.agents,
            run=self.run,
            since=self.since,
            until=self.until,
            text=None if self.text is None else f"%{_escaped(self.text)}%",
            authors=self.actors or None,
            unsigned=tuple(kind.facet for kind in kinds if kind.actor in self.actors),
        )

    def admits(self, event: Event) -> Kind | None:
        """The sort of an event's entry when it passes; None when it does not, or is no entry."""
        kind = journal.kind_of(event)
        if kind is None or not self._may_be(kind):
            return None
        data = event.data()
        at = event.at.replace(microsecond=event.at.microsecond // 1_000 * 1_000)
        fits = (
            self.mission in (None, event.stream_id)
            and (self.crews is None or event.crew_id in self.crews)
            and (self.agents is None or journal.agent_of(data) in self.agents)
            and self.run in (None, journal.run_of(data))
            and (not self.actors or journal.author_of(event, kind) in self.actors)
            and (self.since is None or event.at >= self.since)
            and (self.until is None or at <= self.until)
            and (self.text is None or any(self.text in said.lower() for said in (event.content, _text(data))))
        )
        return kind if fits else None

    def channel(self, workspace_id: UUID) -> Channel:
        """The narrowest channel that has all that may pass."""
        if self.mission is not None:
            return Channel(workspace_id, "mission", self.mission)
        if self.crews is not None and len(self.crews) == 1:
            return Channel(workspace_id, "crew", self.crews[0])
        return Channel(workspace_id, "workspace", workspace_id)


def filters_of(request: web.Request) -> Filters:
    """The filters of a query; BadRequest for a value that none could have."""
    for name, allowed in _ONE_OF.items():
        if not set(_listed(request, name)) <= set(allowed):
            raise BadRequest(f"invalid {name}; one of {', '.join(allowed)}")
    crews, agents = _ids(request, "crew_id", "crew_ids"), _ids(request, "agent_id", "agent_ids")
    run = word(request, "run_id")
    return Filters(
        mission=_mission(request),
        crews=crews,
        agents=None if agents is None else tuple(map(str, agents)),
        run=str(ids.read(run, ids.ASSIGNMENT) or ids.known(run)) if run else None,
        types=_listed(request, "entry_type"),
        other_types=_listed(request, "exclude_entry_type"),
        severities=_listed(request, "severity"),
        priorities=_listed(request, "priority"),
        actors=_listed(request, "actor_type"),
        since=_moment(request, "since"),
        until=_moment(request, "until"),
        text=_words(request),
    )


def _mission(request: web.Request) -> UUID | None:
    named = {journal.mission_named(text) for name in ("mission_id", "trace_id") if (text := request.query.get(name))}
    if len(named) > 1:
        return ids.known("")  # one mission is not another
    return next(iter(named), None)


def _ids(request: web.Request, *names: str) -> tuple[UUID, ...] | None:
    """What all the parameters that are there agree on; each lists ids."""
    asked = [{ids.known(text) for text in listed} for name in names if (listed := _listed(request, name))]
    return tuple(sorted(set.intersection(*asked))) if asked else None


def _listed(request: web.Request, name: str) -> tuple[str, ...]:
    text = word(request, name) or ""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _moment(request: web.Request, name: str) -> datetime | None:
    text = word(request, name)
    if not text:
        return None
    wrong = BadRequest(f"bad {name}: {text[:60]!r} is no time like 2026-01-15T10:00:00Z")
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise wrong
        return at.astimezone(UTC)
    except (ValueError, OverflowError):  # of no form, or before the first year
        raise wrong from None


def _words(request: web.Request) -> str | None:
    text = word(request, "q")
    if text and len(text) > MOST_WORDS:
        raise BadRequest(f"q has at most {MOST_WORDS} characters")
    return text.lower() if text else None


def _text(data: dict[str, Any]) -> str:
    """Metadata as the database shows it when it is asked for words."""
    return msgspec.json.encode(data).decode()


def _escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in "\\%_" else character for character in text)
