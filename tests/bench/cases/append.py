"""Durable events per second through the group-committing writer, beside one transaction per event; no HTTP."""

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import NamedTuple
from uuid import UUID

import structlog
import uvloop

from server.missions.control import ControlRules, Create, Rename
from storage import migrations, workspaces
from storage.batch import Batch
from storage.embedded import EmbeddedPostgres, temporary_folder
from storage.ids import new_id
from storage.parts import Record
from storage.pool import Database
from storage.states import StateCache
from storage.writer import Writers
from streams.event import Draft
from tests.bench import machine
from tests.bench.bench import Bench
from tests.bench.record import Sample, Values, at_least

WRITERS = (1, 10, 100)
COMMANDERS = 8
LEAST_GAIN = 15.0
GROUPED, SINGLE = "group commit", "transaction each"
_KINDS = {"control": ControlRules()}
_CONTENT = "x" * 200


class Log(NamedTuple):
    """A database that survives a power cut, a workspace in it, and a mission for each writer."""

    database: Database
    workspace_id: UUID
    missions: Sequence[UUID]
    writers: Writers


def run(bench: Bench) -> None:
    """Every writer appends one event after another to a mission of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    uvloop.run(_run(bench))
    for commanders in (0, COMMANDERS):
        step = step_of(WRITERS[-1], commanders)
        ratio = bench.results.ratio("append", step, GROUPED, SINGLE, "events_per_second")
        wanted = f"{step}: at least {LEAST_GAIN:.0f}x one transaction per event"
        bench.results.judge("append", wanted, ratio, at_least(LEAST_GAIN))


def step_of(writers: int, commanders: int = 0) -> str:
    """What a step of this case is called."""
    alone = "1 writer" if writers == 1 else f"{writers} writers"
    return f"{alone} beside {commanders} commanders" if commanders else alone


async def _run(bench: Bench) -> None:
    async with _log() as log:
        await _measure(_grouped(log), log, 100, 0, 0.5)
        for number in bench.rounds(3, 1):
            for count in WRITERS:
                for commanders in (0, COMMANDERS):
                    for name, append in ((GROUPED, _grouped(log)), (SINGLE, _single(log))):
                        await asyncio.to_thread(bench.await_quiet)
                        values = await _measure(append, log, count, commanders, bench.seconds(2.0, 1.0))
                        bench.say(Sample("append", step_of(count, commanders), name, number, values))


@asynccontextmanager
async def _log() -> AsyncIterator[Log]:
    folder = temporary_folder()
    try:
        with machine.on_core(machine.SERVER_CORE):
            embedded = EmbeddedPostgres(folder)
            await embedded.start()
        os.sched_setaffinity(0, {machine.CLIENT_CORE})
        try:
            await migrations.migrate(embedded.connect_kwargs)
            database = Database(embedded.connect_kwargs)
            await database.open()
            workspace_id = await workspaces.create(database, "bench")
            writers = Writers(database, _KINDS, lambda workspace_id, events: None)
            missions = [await _mission(writers, workspace_id) for _ in range(max(WRITERS) + COMMANDERS)]
            yield Log(database, workspace_id, missions, writers)
            await writers.close()
            await database.close()
        finally:
            os.sched_setaffinity(0, set(machine.CORES))
            await embedded.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _mission(writers: Writers, workspace_id: UUID) -> UUID:
    mission_id = new_id()
    made = Create(id=mission_id, backend="demo", space_id=UUID(int=0))
    await writers.execute(workspace_id, mission_id, "control", made)
    return mission_id


Append = Callable[[UUID, Draft], Awaitable[object]]


def _grouped(log: Log) -> Append:
    async def append(mission_id: UUID, draft: Draft) -> None:
        await log.writers.record(log.workspace_id, mission_id, [draft])

    return append


def _single(log: Log) -> Append:
    """The same statements, numbering and locks, in a transaction for each event, over a pool of connections."""
    cache = StateCache()

    async def append(mission_id: UUID, draft: Draft) -> None:
        batch = Batch(log.workspace_id, [Record(stream_id=mission_id, drafts=[draft])], _KINDS, cache)
        async with log.database.writing() as connection:
            await connection.execute("BEGIN")
            await batch.apply(connection)
            await connection.execute("COMMIT")

    return append


async def _measure(append: Append, log: Log, count: int, commanders: int, seconds: float) -> Values:
    latencies: list[float] = []
    commands: list[float] = []
    ends = perf_counter() + seconds

    async def write(mission_id: UUID) -> None:
        draft = Draft(type="x_bench", content=_CONTENT)
        while (began := perf_counter()) < ends:
            try:
                await append(mission_id, draft)
            except TimeoutError:  # no connection came free: the event was not stored
                continue
            latencies.append(perf_counter() - began)

    async def command(mission_id: UUID) -> None:
        turn = 0
        while (began := perf_counter()) < ends:
            turn += 1
            await log.writers.execute(log.workspace_id, mission_id, "control", Rename(title=f"title {turn}"))
            commands.append(perf_counter() - began)

    began = perf_counter()
    await asyncio.gather(
        *(write(mission_id) for mission_id in log.missions[:count]),
        *(command(mission_id) for mission_id in log.missions[len(log.missions) - commanders :] if commanders),
    )
    took = perf_counter() - began
    latencies.sort()
    commands.sort()
    return {
        "events_per_second": len(latencies) / took,
        "commands_per_second": len(commands) / took if commanders else None,
        "p50_ms": _quantile(latencies, 0.5),
        "p99_ms": _quantile(latencies, 0.99),
        "command_p99_ms": _quantile(commands, 0.99),
    }


def _quantile(ordered: list[float], part: float) -> float | None:
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)] * 1e3 if ordered else None
