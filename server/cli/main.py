"""The root command: commands, exit codes, and errors with a next step."""

import asyncio
import os
from pathlib import Path
from typing import Any

import click
import uvloop

from server import logs
from server.serve import serve
from server.settings import Settings


@click.group()
@click.version_option(package_name="missionstream")
def main() -> None:
    """Run missions of AI agents and field teams, and stream every event of them."""


@main.command("serve")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port; 0 takes a free one and prints it.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where everything is kept.")
@click.option("--database-url", help="A PostgreSQL of your own instead of the built-in one.")
def serve_command(**options: Any) -> None:
    """Serve until stopped."""
    settings = Settings(**{name: value for name, value in options.items() if value is not None})
    logs.configure(settings.log_format, settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, environment=os.environ))
