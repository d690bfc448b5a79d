"""`missionstream migrate`, `verify` and `epoch`: upkeep of the database itself."""

from typing import TYPE_CHECKING, Any

import click

from server.cli.exits import Exit
from server.cli.options import command, database_options, group
from server.cli.output import Output

if TYPE_CHECKING:
    from rich.progress import Progress

    from server.settings import Settings


@command("migrate")
@database_options
@click.pass_obj
def migrate(output: Output, settings: "Settings") -> None:
    """Bring the database's schema to this release's.

    A server does so itself when it starts; use this to do it beforehand, or to make the built-in database.
    """
    from server.cli.attaching import reached, run
    from storage import migrations

    async def work() -> str | None:
        async with reached(settings, output, create=True) as connect:
            with output.waiting("Migrating …"):
                return await migrations.migrate(connect)

    before, after = run(work(), output), migrations.HEAD
    if output.is_json:
        output.value({"before": before, "after": after, "is_changed": before != after})
    elif before == after:
        output.show(f"The schema is {after} already; nothing to do.")
    else:
        output.show(f"The schema is {after} now; it was {before or 'empty'}.")


@command("verify")
@database_options
@click.pass_obj
def verify(output: Output, settings: "Settings") -> int:
    """Prove that the log is whole and every row follows from it.

    Folds the events of every stream again, in one consistent reading, and compares with the numbers and rows that the
    server uses. Exit code 1 when something does not hold. With --json each finding is a line, the last line the sums.
    """
    from server.cli.attaching import run

    streams, found = run(_verify(settings, output), output)
    if output.is_json:
        output.line({"streams": streams, "findings": found})
    elif not found:
        output.show(
            f"Verified {_count(streams, 'stream')}: every number is there once, every row follows from the log."
        )
    else:
        output.show(f"Verified {_count(streams, 'stream')}: {_count(found, 'finding')}.")
    return Exit.FAILURE if found else Exit.OK


async def _verify(settings: "Settings", output: Output) -> tuple[int, int]:
    from server.cli.attaching import opened
    from server.missions.known import kinds
    from storage.verify import Finding
    from storage.verify import verify as check

    streams = found = 0
    async with opened(settings, output) as database:
        with _progress(output) as progress:
            task = progress.add_task("Verifying", total=None, findings="no findings")
            async for item in check(database, kinds()):
                if isinstance(item, Finding):
                    found += 1
                    _show_finding(output, item)
                else:
                    streams += 1
                progress.update(task, completed=streams, findings=_count(found, "finding"))
    return streams, found


def _show_finding(output: Output, finding: Any) -> None:
    if output.is_json:
        output.line(finding._asdict())
        return
    where = f"stream {finding.stream_id}" if finding.stream_id else f"workspace {finding.workspace_id}"
    output.show(f"{where}: {finding.what}")


def _progress(output: Output) -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed} streams, {task.fields[findings]}"),
        TimeElapsedColumn(),
        console=output.notes,
        transient=True,
        disable=not output.notes.is_terminal,
        redirect_stdout=not output.is_json,
    )


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


@group("epoch")
def epoch() -> None:
    """Epochs: which history a cursor belongs to."""


@epoch.command("new")
@database_options
@click.pass_obj
def new_epoch(output: Output, settings: "Settings") -> None:
    """Give every workspace a new epoch.

    Do so after restoring a copy of the database's files: clients whose cursors come from the other history are then
    told to begin again, instead of being given wrong events. A server notices by itself when
    it meets another cluster or another timeline.
    """
    from server.cli.attaching import opened, run
    from storage import workspaces

    async def work() -> list[workspaces.Workspace]:
        async with opened(settings, output) as database:
            await workspaces.renew_epochs(database)
            return await workspaces.every(database)

    renewed = run(work(), output)
    if output.is_json:
        output.value([{"workspace": workspace.slug, "epoch": workspace.epoch} for workspace in renewed])
        return
    for workspace in renewed:
        output.show(f"{workspace.slug}: epoch {workspace.epoch}")
