"""`missionstream serve`: the server in the foreground."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.cli.options import command, settings_of
from server.cli.output import Output

if TYPE_CHECKING:
    from server.core import Core
    from server.settings import Settings


@command("serve")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port; 0 takes a free one.  [default: 8080]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where everything is kept.")
@click.option("--database-url", help="A PostgreSQL of your own instead of the built-in one.")
@click.pass_obj
def serve(output: Output, /, **given: Any) -> None:
    """Serve until stopped.

    Prints its URL on stdout as soon as it takes requests (with --json a line with url, data_dir and token_file), and
    logs on stderr. Ctrl-C and SIGTERM drain: streams are told to come back, running turns store what was said.

    Every setting can also be given in the environment: MISSIONSTREAM_HOST, MISSIONSTREAM_PORT, MISSIONSTREAM_DATA_DIR,
    MISSIONSTREAM_DATABASE_URL and others.
    """
    settings = settings_of(given)
    import uvloop

    from server import logs
    from server.serve import serve as run

    logs.configure(settings.log_format, "debug" if output.is_debug else settings.log_level)
    announce = Announcement(settings, output)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings, environment=os.environ, ready=announce))


class Announcement:
    """Says where the server is, and at the first start where the owner's token is."""

    def __init__(self, settings: "Settings", output: Output) -> None:
        self._settings = settings
        self._output = output
        self._token_file = settings.data_dir / "owner-token"
        self._had_token = self._token_file.exists()
        if settings.database_url is None and not (settings.data_dir / "postgres").exists():
            output.say(f"First start: making a PostgreSQL in {settings.data_dir}, which takes a few seconds.")

    def __call__(self, url: str, core: "Core") -> None:
        has_token = self._token_file.exists()
        if self._output.is_json:
            token_file = str(self._token_file) if has_token else None
            self._output.line({"url": url, "data_dir": str(self._settings.data_dir), "token_file": token_file})
            return
        print(url, flush=True)
        if has_token and not self._had_token:
            self._output.say(f"The owner's token, made now, is in {self._token_file}; keep it secret.")
