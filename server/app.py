"""The composition root: the only file that knows everything. Builds the services and mounts the dialects."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import structlog
from aiohttp import web
from pydantic import SecretStr

from server.agents.sandbox import Sandbox
from server.agents.survivors import OWNER_MARKER, RUN_MARKER
from server.agents.tooling import McpServer, is_available, mission_tools
from server.agents.turn import TurnLimits
from server.auth import bootstrap
from server.auth.authenticator import Authenticator
from server.auth.members import Members
from server.core import CORE, Core
from server.crews.roster import Roster
from server.dialects.control.errors import ControlFace
from server.dialects.control.framework import framework_answer
from server.dialects.control.routes import ROUTES as CONTROL
from server.dialects.control.trees import TreeTeller
from server.dialects.crew import channels
from server.dialects.crew import framework as crew
from server.dialects.crew.routes import mount_crew
from server.missions.known import kinds
from server.openings import Openings
from server.operations.drain import Drain
from server.operations.health import ROUTES as OPERATIONS
from server.operations.housekeeper import Housekeeper
from server.operations.metrics import Metrics
from server.operations.requests import note_status, request_context
from server.operations.rights import Rights
from server.routing import mount
from server.runs.agents import MissionAgents
from server.runs.crew.engine import CrewEngine
from server.runs.crew.rosters import Rosters
from server.runs.keeper import RunKeeper
from server.runs.owner import this_process
from server.runs.turn import Turn
from server.settings import Settings
from server.socket import CHANNELS
from server.socket import ROUTES as SOCKET
from server.spaces import Spaces
from storage import migrations, workspaces
from storage.crewmissions import CrewMissions
from storage.embedded import EmbeddedPostgres
from storage.journal import Journal
from storage.log import Log
from storage.missions import Missions
from storage.pool import Database, connect_arguments
from storage.runs import Runs
from storage.writer import Writers
from streams.errors import Conflict
from streams.event import Event
from streams.hub import Hub

MAX_BODY_BYTES = 2 << 20
log = structlog.get_logger()


@asynccontextmanager
async def database_of(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """Arguments to connect with: to MISSIONSTREAM_DATABASE_URL, or to a PostgreSQL of our own that is started here."""
    if settings.database_url is not None:
        await asyncio.to_thread(settings.data_dir.mkdir, mode=0o700, parents=True, exist_ok=True)
        yield connect_arguments(settings.database_url.get_secret_value())
        return
    async with EmbeddedPostgres(settings.data_dir) as embedded:
        watch = asyncio.create_task(embedded.watch(), name="embedded postgres")
        try:
            yield embedded.connect_kwargs
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch


@asynccontextmanager
async def services(
    settings: Settings, *, environment: Mapping[str, str] = os.environ, url: str | None = None
) -> AsyncIterator[Core]:
    """Everything a server needs, started in order and stopped in reverse.

    `url` is where it will listen; without it agents get no tools that reach it.
    """
    async with AsyncExitStack() as stack:
        connect = await stack.enter_async_context(database_of(settings))
        await migrations.migrate(connect)
        database = Database(connect)
        await database.open()
        stack.push_async_callback(database.close)
        await _refuse_unsafe(database, settings)
        await workspaces.check_history(database)
        await bootstrap.bootstrap(database, settings.data_dir, _secret(settings.bootstrap_token))

        known = kinds()
        metrics = Metrics()
        source = Log(database)
        hub = Hub(source, gap_seconds=settings.flush_gap_ms / 1_000, heartbeat_seconds=settings.heartbeat_seconds)
        missions = Missions(database, known)
        trees = TreeTeller(missions, known, hub)
        stack.push_async_callback(trees.close)
        hearers: list[RunKeeper | CrewEngine] = []

        def publish(workspace_id: UUID, events: Sequence[Event]) -> None:
            for hearer in hearers:
                hearer.notice(events)
            hub.publish(workspace_id, events)
            trees.notice(workspace_id, events)

        writers = Writers(database, known, publish, on_batch=metrics.batch)
        stack.push_async_callback(writers.close)
        spaces = Spaces(database, settings.data_dir, settings.space_roots)
        authenticator = Authenticator(
            database,
            password=_secret(settings.password),
            jwt_secret=await bootstrap.jwt_secret(settings.data_dir, _secret(settings.jwt_secret)),
            jwt_ttl_days=settings.jwt_ttl_days,
            auth_mode="disabled" if settings.auth == "off" else "single_tenant",
            allowed_origins=settings.allowed_origins,
        )
        stack.push_async_callback(authenticator.close)

        has_tools = url is not None and is_available()
        if url is not None and not has_tools:
            log.warning("agents.no_tools", reason="missionstream_mcp is not installed; install the distribution again")

        def tools(turn: Turn) -> tuple[McpServer, ...]:
            if url is None or not has_tools:
                return ()
            token = authenticator.run_token(turn.workspace_id, turn.mission_id, turn.run_id)
            marks = {RUN_MARKER: str(turn.run_id), OWNER_MARKER: this_process()}
            return (mission_tools(url, token, str(turn.mission_id), marks),)

        records = Runs(database)
        agents = MissionAgents(
            runs=records,
            log=source,
            spaces=spaces,
            environment=environment,
            sandbox=Sandbox(
                policy=settings.agent_sandbox,
                path=environment.get("PATH", ""),
                hidden=(settings.data_dir,),
                readable=settings.agent_readable,
            ),
            limits=TurnLimits(question_seconds=settings.question_seconds),
            tools=tools,
            idle_seconds=settings.agent_idle_seconds,
            most=lambda: settings.max_parallel_missions,
        )
        keeper = RunKeeper(
            runs=records,
            missions=missions,
            writers=writers,
            hub=hub,
            kinds=known,
            agents=agents,
            max_parallel=settings.max_parallel_missions,
        )
        hearers.append(keeper)
        engine = CrewEngine(
            runs=records,
            writers=writers,
            log=source,
            hub=hub,
            keeper=keeper,
            rosters=Rosters(database, environment),
        )
        if settings.crew_engine:
            hearers.append(engine)
        rights = Rights(hub, authenticator)
        hub.on_rights_change = rights.changed
        hub.on_look = rights.look
        hub.on_apply = rights.notice
        metrics.watch(hub)
        hub.on_flush = metrics.publish_seconds.observe
        await hub.start()
        stack.push_async_callback(hub.close)
        housekeeper = Housekeeper(database, retention_days=settings.retention_days)
        housekeeper.start()
        stack.push_async_callback(housekeeper.close)
        await keeper.start()
        stack.push_async_callback(keeper.close)
        if settings.crew_engine:
            await engine.start()
            stack.push_async_callback(engine.close)
        yield Core(
            settings=settings,
            database=database,
            kinds=known,
            writers=writers,
            log=source,
            missions=missions,
            crew_missions=CrewMissions(database, known["crew"]),
            journal=Journal(database),
            openings=Openings(missions, hub),
            hub=hub,
            runs=keeper,
            spaces=spaces,
            roster=Roster(database, writers),
            members=Members(database, writers, authenticator),
            authenticator=authenticator,
            metrics=metrics,
            drain=Drain(hub, lead_seconds=settings.drain_lead_seconds),
            environment=environment,
        )


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


async def _refuse_unsafe(database: Database, settings: Settings) -> None:
    unsafe = await workspaces.unsafe_settings(database)
    if unsafe and not settings.allow_unsafe_database:
        raise Conflict(
            f"this PostgreSQL could lose acknowledged events in a crash ({', '.join(unsafe)}); turn the settings on, "
            "or accept it with MISSIONSTREAM_ALLOW_UNSAFE_DATABASE=true"
        )
    for setting in unsafe:
        log.warning("database.unsafe", setting=setting)


def application(core: Core) -> web.Application:
    """The HTTP application over running services."""
    app = web.Application(
        client_max_size=MAX_BODY_BYTES, middlewares=[request_context(crew.framework_answer, framework_answer)]
    )
    app[CORE] = core
    app[CHANNELS] = channels.CHANNELS
    app.on_response_prepare.append(note_status)
    app.on_response_prepare.append(crew.harden)
    face = ControlFace()
    mount(app, OPERATIONS, face)
    mount(app, CONTROL, face)
    mount(app, SOCKET, face)
    mount_crew(app)
    return app
