"""`missionstream demo`: a real agent's mission on three transports, a SIGKILL in the middle, and the proof."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click

from server.cli.exits import Exit
from server.cli.options import command
from server.cli.output import Output


@command("demo")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Keep everything here instead of in a temporary folder."
)
@click.option("--keep", is_flag=True, help="Leave the server up until Ctrl-C, and keep the data.")
@click.pass_obj
def demo(output: Output, data_dir: Path | None, keep: bool) -> int:
    """Watch a real agent work, kill the server, and see that nothing is lost.

    Starts a server with its own PostgreSQL on a free port of this machine, runs a real agent process on a mission and
    follows its events over SSE, WebSocket and polling at once. Kills the server with SIGKILL in mid-stream, starts it
    again, and compares what each of the three got with the log. Exit code 1 if any of them missed or doubled anything.
    """
    from server import logs

    logs.configure("console", "debug" if output.is_debug else "error")
    return asyncio.run(_demo(output, data_dir, keep))


async def _demo(output: Output, data_dir: Path | None, keep: bool) -> int:
    from server.cli.demonstration import Demonstration

    stopped = asyncio.Event()
    async with _folder(data_dir, keep=keep) as folder, Demonstration(folder, output) as show:
        is_clean = await show.run()
        if keep:
            _stop_on_signal(stopped)
        show.farewell(is_kept=keep)
        if keep:
            await stopped.wait()
    if keep or data_dir is not None:
        output.say(f"The data is kept in {folder}.", style="dim")
    return Exit.OK if is_clean else Exit.FAILURE


def _stop_on_signal(stopped: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)


@asynccontextmanager
async def _folder(given: Path | None, *, keep: bool) -> AsyncIterator[Path]:
    """The data directory: the given one, or a new one that is removed afterwards unless kept."""
    if given is not None:
        await asyncio.to_thread(given.mkdir, mode=0o711, parents=True, exist_ok=True)
        yield given
        return
    from storage.embedded import temporary_folder

    folder = await asyncio.to_thread(temporary_folder)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield folder
    finally:
        if not keep:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
