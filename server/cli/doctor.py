"""`missionstream doctor`: what a server needs on this machine, and how to get what is missing."""

import asyncio
import os
import platform
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from server.cli.checks import Check, State
from server.cli.exits import Exit
from server.cli.options import command, database_options
from server.cli.output import Output

if TYPE_CHECKING:
    from server.settings import Settings
    from storage.datadir import DataDirectory

_STYLES: dict[State, str] = {"ok": "green", "missing": "yellow", "wrong": "bold red"}


@command("doctor")
@database_options
@click.pass_obj
def doctor(output: Output, settings: "Settings") -> int:
    """Check what a server needs on this machine.

    Looks at Python, PostgreSQL's programs, the data directory or the database, and the agents: their sandbox, their
    programs and versions, Node, their keys, and whether they answer when started. Exit code 1 when a server could not
    start, or no agent could.
    """
    from server import logs
    from server.cli.backends import backend_checks

    logs.configure("console", "debug" if output.is_debug else "warning")
    checks = [
        _python(),
        *_database(settings, output),
        _sandbox(settings),
        *asyncio.run(backend_checks(os.environ)),
    ]
    if output.is_json:
        output.value([check._asdict() for check in checks])
    else:
        _show(output, checks)
    return Exit.FAILURE if any(check.state == "wrong" for check in checks) else Exit.OK


def _show(output: Output, checks: list[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for check in checks:
        found = Text(check.found, overflow="fold")
        if check.next_step:
            found.append(f"\n{check.next_step}", style="dim")
        grid.add_row(Text(check.state, style=_STYLES[check.state]), check.name, found)
    output.show(grid)


def _python() -> Check:
    return Check("Python", "ok", f"{platform.python_version()} at {sys.executable}")


def _database(settings: "Settings", output: Output) -> Iterator[Check]:
    if settings.database_url is not None:
        yield asyncio.run(_own_postgres(settings, output))
        return
    from storage import pgbinaries
    from storage.datadir import DataDirectory
    from streams.errors import MissionstreamError

    try:
        binaries = pgbinaries.locate()
        yield Check("PostgreSQL", "ok", f"{binaries.version} at {binaries.install}")
    except MissionstreamError as error:
        yield Check("PostgreSQL", "wrong", error.message)
    yield _data_dir(DataDirectory(settings.data_dir))


async def _own_postgres(settings: "Settings", output: Output) -> Check:
    from server.cli.attaching import reached
    from server.cli.failures import failure_of
    from storage.pool import Database

    try:
        async with reached(settings, output) as connect:
            database = Database(connect, writers=1, readers=1)
            try:
                await database.open()
                await database.ping()
            finally:
                await database.close()
    except Exception as error:
        failure = failure_of(error)
        return Check("PostgreSQL", "wrong", failure.text, failure.next_step)
    return Check("PostgreSQL", "ok", "the one of MISSIONSTREAM_DATABASE_URL answers")


def _data_dir(directory: "DataDirectory") -> Check:
    """The data directory, looked at without making or changing anything."""
    from streams.errors import MissionstreamError

    top, name = directory.top, "data directory"
    try:
        account = directory.account
        barrier = account.barrier(top)
    except (MissionstreamError, OSError) as error:
        return Check(name, "wrong", str(error))
    other = "Name another directory with --data-dir."
    if barrier is not None:
        return Check(name, "wrong", f"PostgreSQL's user {account.name} cannot enter {barrier}", other)
    existing = next(folder for folder in (top, *top.parents) if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return Check(name, "wrong", f"{existing} is not ours to write to", other)
    has = "has a database" if directory.cluster.exists() else "will be made by the first start"
    return Check(name, "ok", f"{top} {has}; PostgreSQL runs as {account.name}")


def _sandbox(settings: "Settings") -> Check:
    """The sandbox, looked at by starting a program in it."""
    from server.agents.sandbox import INSTALL, SETTING, Sandbox

    name, policy = "agents' sandbox", settings.agent_sandbox
    if policy == "off":
        return Check(
            name, "missing", f"agents run without one: {SETTING} is off", f"Set {SETTING} to prefer or require."
        )
    program, fault = Sandbox(policy=policy, path=os.environ.get("PATH", "")).look()
    if fault is None:
        return Check(name, "ok", f"{program} works")
    if policy == "require":
        return Check(name, "wrong", f"{fault}; {SETTING} is require, so no agent can start", INSTALL)
    return Check(name, "missing", f"{fault}; agents run without one", INSTALL)
