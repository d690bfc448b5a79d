"""`missionstream workspace`: the tenants of a server."""

from typing import TYPE_CHECKING, Any

import click

from server.cli.options import database_options, group
from server.cli.output import Output

if TYPE_CHECKING:
    from server.settings import Settings


@group("workspace")
def workspace() -> None:
    """Workspaces: the tenants of a server, each with its own missions, members and numbers."""


@workspace.command("create")
@click.argument("slug")
@click.option("--name", help="A name for people; the slug unless given.")
@database_options
@click.pass_obj
def create(output: Output, settings: "Settings", slug: str, name: str | None) -> None:
    """Create a workspace. The server's owner becomes its OWNER."""
    from server.cli.attaching import opened, run
    from storage import founding, identity, workspaces

    async def work() -> Any:
        async with opened(settings, output) as database:
            owner = (await founding.found(database)).owner_id
            made = await workspaces.create(database, slug, name)
            await identity.add_member(database, made, owner, "OWNER")
            return made

    made = run(work(), output)
    if output.is_json:
        output.value({"id": made, "slug": slug, "name": name or slug})
        return
    output.show(f"Workspace {slug}: {made}")
    output.say(f"Make a token for it with `missionstream token create NAME --workspace {slug}`.", style="dim")


@workspace.command("list")
@database_options
@click.pass_obj
def list_workspaces(output: Output, settings: "Settings") -> None:
    """List the workspaces, oldest first."""
    from server.cli.attaching import opened, run
    from server.cli.tables import moment, table
    from storage import workspaces

    async def work() -> list[workspaces.Workspace]:
        async with opened(settings, output) as database:
            return await workspaces.every(database)

    found = run(work(), output)
    if output.is_json:
        output.value([row._asdict() for row in found])
        return
    output.show(
        table(
            ("slug", "name", "id", "events", "epoch", "created"),
            [(w.slug, w.name, w.id, w.head - w.floor, w.epoch, moment(w.created_at)) for w in found],
        )
    )
