"""`missionstream space`: the directories that agents work in."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.cli.options import database_options, group
from server.cli.output import Output

if TYPE_CHECKING:
    from server.settings import Settings
    from server.spaces import Spaces
    from storage.pool import Database


@group("space")
def space() -> None:
    """Spaces: the directories that agents work in."""


@space.command("add")
@click.argument("name")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--workspace", "workspace_name", default="default", show_default=True, help="Whose: slug or id.")
@database_options
@click.pass_obj
def add(output: Output, settings: "Settings", name: str, path: Path | None, workspace_name: str) -> None:
    """Add a space: a directory below the data directory, or PATH.

    A PATH must lie below one of MISSIONSTREAM_SPACE_ROOTS, here and in the server's own environment.
    """
    from server.cli.attaching import opened, run, workspace_named

    whole = None if path is None else str(path.absolute())

    async def work() -> dict[str, Any]:
        async with opened(settings, output) as database:
            home = await workspace_named(database, workspace_name)
            spaces = _spaces(database, settings)
            made = await spaces.create(home.id, name, whole)
            return made._asdict() | {"path": str(await spaces.directory(home.id, made.id))}

    made = run(work(), output)
    if output.is_json:
        output.value(made)
        return
    output.show(f"Space {name}: {made['id']}")
    output.show(str(made["path"]))


@space.command("list")
@click.option("--workspace", "workspace_name", default="default", show_default=True, help="Whose: slug or id.")
@database_options
@click.pass_obj
def list_spaces(output: Output, settings: "Settings", workspace_name: str) -> None:
    """List a workspace's spaces, oldest first."""
    from server.cli.attaching import opened, run, workspace_named
    from server.cli.tables import moment, table

    async def work() -> list[dict[str, Any]]:
        async with opened(settings, output) as database:
            home = await workspace_named(database, workspace_name)
            spaces = _spaces(database, settings)
            rows = await spaces.listed(home.id)
            return [row._asdict() | {"path": str(spaces.path(home.id, row))} for row in rows]

    found = run(work(), output)
    if output.is_json:
        output.value(found)
        return
    output.show(
        table(
            ("name", "id", "path", "created"),
            [(row["name"], row["id"], row["path"], moment(row["created_at"])) for row in found],
        )
    )


def _spaces(database: "Database", settings: "Settings") -> "Spaces":
    from server.spaces import Spaces

    return Spaces(database, settings.data_dir, settings.space_roots)
