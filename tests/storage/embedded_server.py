"""A server's stand-in for test_embedded: runs the database of a data directory until SIGTERM, or until it is killed.

Prints the postmaster's pid when the database is up. Arguments: the data directory, the settings as JSON, and (optional)
the folder with the packages of the PostgreSQL to use.
"""

import asyncio
import json
import signal
import sys
from pathlib import Path

import structlog
import uvloop

from storage.embedded import EmbeddedPostgres
from storage.pgbinaries import Binaries, locate


async def main(folder: str, settings: str, packages: str = "") -> None:
    binaries = Binaries(Path(packages), locate().version) if packages else None
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, {signal.SIGTERM: over.set}.get(number, lambda: None))
    async with EmbeddedPostgres(Path(folder), settings=json.loads(settings), binaries=binaries) as database:
        print(database.pid, flush=True)
        watching = asyncio.create_task(database.watch())
        await over.wait()
        watching.cancel()


structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
uvloop.run(main(*sys.argv[1:]))
