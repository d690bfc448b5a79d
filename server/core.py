"""What the faces may use: the services of one running server, under one application key."""

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from server.auth.authenticator import Authenticator
from server.auth.members import Members
from server.auth.principal import Principal
from server.crews.roster import Roster
from server.missions.kinds import MissionKind
from server.openings import Openings
from server.operations.drain import Drain
from server.operations.metrics import Metrics
from server.runs.keeper import RunKeeper
from server.settings import Settings
from server.spaces import Spaces
from storage.crewmissions import CrewMissions
from storage.journal import Journal
from storage.log import Log
from storage.missions import Missions
from storage.pool import Database
from storage.writer import Writers
from streams.hub import Hub


@dataclass(frozen=True)
class Core:
    """The services of a running server; made in app.py and nowhere else."""

    settings: Settings
    database: Database
    kinds: dict[str, MissionKind]
    writers: Writers
    log: Log
    missions: Missions
    crew_missions: CrewMissions
    journal: Journal
    openings: Openings
    hub: Hub
    runs: RunKeeper
    spaces: Spaces
    roster: Roster
    members: Members
    authenticator: Authenticator
    metrics: Metrics
    drain: Drain
    environment: Mapping[str, str]
    """The process's environment, as agents' profiles look things up in it."""


CORE = web.AppKey("core", Core)
PRINCIPAL = web.RequestKey("principal", Principal)


def core(request: web.Request) -> Core:
    """The services of the application that serves this request."""
    return request.app[CORE]


def principal(request: web.Request) -> Principal:
    """Who asks; set by the guard of every route that is not public."""
    return request[PRINCIPAL]
