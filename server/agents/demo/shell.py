"""Running a real command for the demo agent: bounded output, and ended with everything in its process group."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

OUTPUT_BYTES = 64 << 10

_LAST_WORDS_SECONDS = 0.2

Show = Callable[[str], Awaitable[None]]


async def run_command(command: str, space: Path, show: Show) -> tuple[str, int]:
    """Run a shell command in the space; its output (both streams, the first 64 KiB) and exit code.

    `show` gets the output so far whenever there is more. Programs that the command leaves running in its process
    group are killed when it ends, and all of them when the calling task is cancelled.
    """
    reading, writing = os.pipe()
    output = bytearray()
    reader = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
    )
    try:
        # Our own pipe: the process's end must not wait for those it left behind with its output open.
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            command,
            cwd=space,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            start_new_session=True,
        )
    finally:
        os.close(writing)
    collecting = asyncio.create_task(_collect(reader, output, show))
    try:
        code = await process.wait()
        await asyncio.wait({collecting}, timeout=_LAST_WORDS_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        collecting.cancel()
        await asyncio.wait({collecting})
        pipe.close()
        await asyncio.shield(process.wait())
    return output.decode(errors="replace"), code


async def _collect(reader: asyncio.StreamReader, output: bytearray, show: Show) -> None:
    while chunk := await reader.read(OUTPUT_BYTES):
        if len(output) < OUTPUT_BYTES:
            output += chunk[: OUTPUT_BYTES - len(output)]
            await show(output.decode(errors="replace"))
