"""The root command: which commands there are, and the exit code of whatever happens in them."""

import asyncio
import importlib
import sys
from typing import NamedTuple

import click

from server.cli.exits import DOCUMENTED, Exit
from server.cli.options import Group
from server.cli.output import Output


class Entry(NamedTuple):
    """A command that is imported when it is asked for: where it is, and what it does in a line."""

    target: str
    summary: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Begin": {
        "demo": Entry(
            "server.cli.demo:demo", "Watch a real agent work, kill the server, and see that nothing is lost."
        ),
        "serve": Entry("server.cli.serving:serve", "Serve until stopped."),
        "doctor": Entry("server.cli.doctor:doctor", "Check what a server needs on this machine."),
    },
    "Missions (over HTTP, with a token)": {
        "missions": Entry("server.cli.missions:missions", "List, show, create, send to and cancel missions."),
        "tail": Entry("server.cli.tail:tail", "Follow a mission, or all of them, live."),
    },
    "Upkeep (on the database, also while a server runs)": {
        "workspace": Entry("server.cli.workspaces:workspace", "Create and list workspaces, the tenants of a server."),
        "token": Entry("server.cli.tokens:token", "Create, list and revoke API tokens."),
        "space": Entry("server.cli.spaces:space", "Add and list spaces, the directories that agents work in."),
        "migrate": Entry("server.cli.database:migrate", "Bring the database's schema to this release's."),
        "verify": Entry("server.cli.database:verify", "Prove that the log is whole and every row follows from it."),
        "epoch": Entry("server.cli.database:epoch", "Mark the history as another one after restoring a copy."),
    },
}


class Root(Group):
    """Commands by section; none is imported before it is asked for, so that help answers at once."""

    entries = {name: entry for section in SECTIONS.values() for name, entry in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.entries:
            return None
        module, _, attribute = self.entries[name].target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.summary) for name, entry in entries.items()])


@click.group(cls=Root, epilog="Exit codes: " + ", ".join(f"{code} {words}" for code, words in DOCUMENTED.items()) + ".")
@click.version_option(package_name="missionstream")
def root() -> None:
    """Run missions of AI agents and field teams, and stream every event of them."""


def main() -> int:
    """Run the command line and give its exit code; a failure is one line with a next step, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    output = Output()
    try:
        code = root.main(prog_name="missionstream", standalone_mode=False, obj=output)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt, asyncio.CancelledError):
        return Exit.INTERRUPTED
    except Exception as error:
        if output.is_debug:
            raise
        return _failed(error, output)
    return code if isinstance(code, int) else Exit.OK


def _failed(error: Exception, output: Output) -> Exit:
    from server.cli.failures import failure_of

    failure = failure_of(error)
    output.fail(failure.text, failure.next_step)
    return failure.exit
