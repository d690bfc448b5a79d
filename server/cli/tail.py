"""`missionstream tail`: a mission, or all of them, as a live timeline that survives a server's restart."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from server.cli.connection import Access, access_options
from server.cli.exits import Exit
from server.cli.options import command
from server.cli.output import Output

if TYPE_CHECKING:
    from missionstream_client import Client, Event, Follow, Signal
    from server.cli.timeline import Timeline

WORKSPACE = "workspace"
_LOOK_SECONDS = 0.1
_ACTIVITY = frozenset({"tool_call", "tool_result", "thinking", "assistant_message", "user_message", "agent_event"})


class Wish(NamedTuple):
    """What a tail was asked for."""

    channel: str
    transport: Any
    since: str | None
    last: int
    has_signals: bool
    until_idle: bool


class Beginning(NamedTuple):
    """Where a follow begins; for a mission also its status, and the sequence that it is true at."""

    since: str | int | None
    status: str | None = None
    kind: str | None = None
    sequence: int = 0


@command("tail")
@click.argument("channel", metavar="[MISSION|workspace]", default=WORKSPACE)
@click.option("--transport", type=click.Choice(("sse", "ws", "poll")), default="sse", show_default=True)
@click.option("--since", help="After this cursor (epoch:position) or, of a mission, sequence; 0 is the beginning.")
@click.option(
    "--last",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Without --since: old events of a mission to begin with.",
)
@click.option(
    "--signals", "has_signals", is_flag=True, help="Show what an agent is just saying, too (terminal or --json)."
)
@click.option(
    "--until-idle", is_flag=True, help="End when the mission is not active any more; exit code 1 unless it completed."
)
@click.pass_obj
@access_options
def tail(
    output: Output,
    access: Access,
    channel: str,
    transport: str,
    since: str | None,
    last: int,
    has_signals: bool,
    until_idle: bool,
) -> int:
    """Follow a mission, or all of them, live.

    Every event is shown once and in order, across lost connections and restarts of the server. The last line, on
    stderr, tells the numbers and the cursor to go on from. With --json each event is a line as it stands in the log.
    """
    wish = Wish(channel, transport, since, last, has_signals, until_idle)
    _check(wish)
    return asyncio.run(_tail(access, wish, output))


def _check(wish: Wish) -> None:
    is_sequence = wish.since is not None and ":" not in wish.since
    if is_sequence and not (wish.since or "").isdecimal():
        raise click.UsageError("--since is a cursor such as c55fc10f839d725e:12, or a sequence such as 12")
    if wish.channel == WORKSPACE and is_sequence and wish.since != "0":
        raise click.UsageError("a sequence counts the events of one mission; name one, or give a cursor or 0")
    if wish.channel == WORKSPACE and wish.until_idle:
        raise click.UsageError("--until-idle waits for one mission; name it")
    if wish.transport == "poll" and wish.has_signals:
        raise click.UsageError("polling carries no signals; use --transport sse or ws")


async def _tail(access: Access, wish: Wish, output: Output) -> int:
    from server.cli.timeline import Timeline

    timeline = Timeline(output, has_titles=wish.channel == WORKSPACE)
    async with access.client() as client:
        begin = await _begin(client, wish)
        follow = client.follow(wish.channel, begin.since, transport=wish.transport, signals=wish.has_signals)
        async with follow, _told(follow, output):
            try:
                return await _show(client, follow, begin, wish, timeline)
            finally:
                timeline.close()
                output.say(_sums(timeline.count, follow), style="dim")


async def _begin(client: "Client", wish: Wish) -> Beginning:
    if wish.channel == WORKSPACE:
        since = await _oldest(client) if wish.since == "0" else wish.since
        if wish.since is None:
            await client.feed(limit=1)  # refusals and wrong addresses come out before we wait for news
        return Beginning(since)
    snapshot = await client.snapshot(wish.channel)
    since = wish.since
    at: str | int = since if since is not None and ":" in since else int(since or 0)
    if since is None:
        at = max(0, snapshot.latest_sequence - wish.last)
    return Beginning(at, snapshot.mission.status, snapshot.mission.kind, snapshot.latest_sequence)


async def _oldest(client: "Client") -> str:
    page = await client.feed(limit=1)
    epoch, _, position = page.cursor.partition(":")
    return f"{epoch}:{page.events[0].position - 1 if page.events else position}"


async def _show(
    client: "Client", follow: "Follow[Event | Signal]", begin: Beginning, wish: Wish, timeline: "Timeline"
) -> int:
    """Show what comes until the mission rests (if that was asked for), or until cancelled."""
    from missionstream_client import Event

    status = begin.status
    if wish.until_idle and _is_over(status) and not _is_behind(begin, wish):
        return _exit(status)
    async for item in follow:
        if not isinstance(item, Event):
            timeline.signal(item)
            continue
        timeline.event(item)
        if wish.until_idle and item.sequence >= begin.sequence:
            if item.sequence > begin.sequence:
                status = await _status_after(client, wish.channel, begin.kind, item, status)
            if _is_over(status):
                return _exit(status)
    return Exit.OK


def _is_behind(begin: Beginning, wish: Wish) -> bool:
    """Whether the follow has old events to show first."""
    if isinstance(begin.since, int):
        return begin.since < begin.sequence
    return wish.since is not None


async def _status_after(
    client: "Client", mission: str, kind: str | None, event: "Event", status: str | None
) -> str | None:
    if event.event_type == "mission_status_changed":
        return str(event.metadata.get("status"))
    if kind == "control" or event.event_type in _ACTIVITY:
        return status
    return (await client.mission(mission)).status  # other kinds have status events of their own


def _is_over(status: str | None) -> bool:
    return status not in (None, "pending", "active")


def _exit(status: str | None) -> int:
    return Exit.OK if status == "completed" else Exit.FAILURE


@asynccontextmanager
async def _told(follow: "Follow[Any]", output: Output) -> AsyncIterator[None]:
    """Say on stderr when the connection is lost, and when it is back."""
    logger, handler = logging.getLogger("missionstream_client"), _Losses(output)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    watching = asyncio.create_task(_watch(follow, output))
    try:
        yield
    finally:
        watching.cancel()
        logger.removeHandler(handler)


class _Losses(logging.Handler):
    """The client's log lines as dim lines."""

    def __init__(self, output: Output) -> None:
        super().__init__(logging.INFO)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        self._output.say(f"reconnecting: {record.getMessage()}", style="dim")


async def _watch(follow: "Follow[Any]", output: Output) -> None:
    seen = follow.reconnects
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if follow.reconnects != seen:
            seen = follow.reconnects
            output.say(f"{follow.outcome}: going on from {follow.cursor}", style="dim")


def _sums(count: int, follow: "Follow[Any]") -> str:
    return (
        f"{count} events, {follow.gap_count} gaps, {follow.duplicate_count} duplicates, "
        f"{follow.reconnects} reconnects; cursor {follow.cursor or 'none'}"
    )
