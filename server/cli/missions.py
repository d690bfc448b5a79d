"""`missionstream missions`: what people do with missions, over HTTP."""

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from server.cli.connection import Access, access_options
from server.cli.options import group
from server.cli.output import Output

if TYPE_CHECKING:
    from missionstream_client import Mission, Sent, Snapshot

STATUSES = ("pending", "active", "completed", "failed", "interrupted")


@group("missions")
def missions() -> None:
    """Missions: pieces of work of an agent, each with its own log of events."""


@missions.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only missions of this status.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="How many at most.")
@click.pass_obj
@access_options
def list_missions(output: Output, access: Access, status: str | None, limit: int) -> None:
    """List missions, the last changed first."""

    async def work() -> "list[Mission]":
        async with access.client() as client:
            return await client.missions(limit=limit, status=status)

    found = asyncio.run(work())
    if output.is_json:
        output.value(found)
        return
    from server.cli.render import plain
    from server.cli.tables import moment, table

    output.show(
        table(
            ("id", "status", "title", "backend", "changed"),
            [(m.id, m.status, plain(m.title or ""), m.backend, moment(m.updated_at)) for m in found],
        )
    )


@missions.command("show")
@click.argument("mission_id", metavar="MISSION")
@click.option(
    "--events", "last", type=click.IntRange(0, 500), default=20, show_default=True, help="Last events to show."
)
@click.pass_obj
@access_options
def show(output: Output, access: Access, mission_id: str, last: int) -> None:
    """Show a mission: its state, and its last events."""

    async def work() -> "Snapshot":
        async with access.client() as client:
            return await client.snapshot(mission_id)

    snapshot = asyncio.run(work())
    if output.is_json:
        output.value(snapshot)
        return
    _show(output, snapshot, last)


def _show(output: Output, snapshot: "Snapshot", last: int) -> None:
    from rich.table import Table
    from rich.text import Text

    from server.cli.render import STATUS_STYLES, event_text, plain
    from server.cli.tables import moment

    mission = snapshot.mission
    reason = f"  ({mission.terminal_reason})" if mission.terminal_reason else ""
    rows: dict[str, Text | str] = {
        "title": Text(plain(mission.title or "untitled"), style="bold"),
        "id": mission.id,
        "status": Text(mission.status + reason, style=STATUS_STYLES.get(mission.status, "")),
        "backend": mission.backend or "–",
        "space": mission.workspace_name or mission.workspace_id or "–",
        "created": moment(mission.created_at),
        "changed": moment(mission.updated_at),
        "events": f"{snapshot.latest_sequence}, cursor {snapshot.cursor}",
    }
    facts = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        facts.add_row(Text(name, style="dim"), value)
    output.show(facts)
    events = snapshot.events[-last:] if last else []
    if events:
        output.show("")
    for event in events:
        output.data.print(event_text(event, width=output.data.width), soft_wrap=True)


@missions.command("create")
@click.argument("title", required=False)
@click.option("--backend", help="The agent's backend; the server's default unless given. `demo` needs no key.")
@click.option("--model", help="A model for the backend instead of its own default.")
@click.option("--space", "space_id", help="The id of the space to work in; the default space unless given.")
@click.option("--message", help="Send this message at once; - reads it from stdin.")
@click.pass_obj
@access_options
def create(
    output: Output,
    access: Access,
    title: str | None,
    backend: str | None,
    model: str | None,
    space_id: str | None,
    message: str | None,
) -> None:
    """Create a mission; its id is alone on stdout."""
    content = None if message is None else _content(message)

    async def work() -> "tuple[Mission, Sent | None]":
        async with access.client() as client:
            made = await client.create_mission(title, backend=backend, model_override=model, workspace_id=space_id)
            return made, None if content is None else await client.send(made.id, content)

    made, sent = asyncio.run(work())
    if output.is_json:
        import msgspec

        output.value(msgspec.to_builtins(made) | {"message_id": sent.id if sent else None})
        return
    print(made.id)
    verb = "Watch it with" if sent else "Give it work with"
    command = f"missionstream tail {made.id}" if sent else f'missionstream missions send {made.id} "…"'
    output.say(f"{verb} `{command}`.", style="dim")


@missions.command("send")
@click.argument("mission_id", metavar="MISSION")
@click.argument("message")
@click.option("--key", help="A UUID for this very message: a repeat with it does nothing twice.")
@click.pass_obj
@access_options
def send(output: Output, access: Access, mission_id: str, message: str, key: str | None) -> None:
    """Send a message to a mission; - reads it from stdin."""
    content = _content(message)

    async def work() -> "Sent":
        async with access.client() as client:
            return await client.send(mission_id, content, client_message_id=key)

    sent = asyncio.run(work())
    if output.is_json:
        output.value(sent)
        return
    output.show("Queued: the agent is busy." if sent.queued else "Sent: the agent begins.")


@missions.command("cancel")
@click.argument("mission_id", metavar="MISSION")
@click.pass_obj
@access_options
def cancel(output: Output, access: Access, mission_id: str) -> None:
    """Stop what a mission runs, and drop the messages that wait."""

    async def work() -> None:
        async with access.client() as client:
            await client.cancel(mission_id)

    asyncio.run(work())
    if output.is_json:
        output.value({"id": mission_id, "is_cancelled": True})
        return
    output.show("Cancelled; what the agent had said is kept.")


def _content(message: str) -> str:
    content = sys.stdin.read() if message == "-" else message
    if not content.strip():
        raise click.UsageError("the message is empty")
    return content
