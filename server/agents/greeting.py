"""Asking an agent whether it is there: started, greeted once, and ended; no session, no model, no cost."""

import asyncio
from typing import Any

import msgspec
from acp import PROTOCOL_VERSION, RequestError
from acp.connection import Connection

from server.agents import failures
from server.agents.acp_transport import AgentTransport
from server.agents.content import as_object, as_text
from server.agents.conversation import initialize
from server.agents.process import AgentProcess, Launch
from server.agents.spawning import spawn
from streams.errors import AgentFailed

_LINE_BYTES = 1 << 20


class Greeting(msgspec.Struct, frozen=True):
    """What an agent says of itself, empty where it says nothing, and how long it took to say so, from its start."""

    name: str
    version: str
    seconds: float


async def greet(launch: Launch, *, seconds: float = 30) -> Greeting:
    """Start the agent, send `initialize`, and leave nothing of it behind. AgentFailed, with a text for people."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    process = await spawn(launch)
    transport = AgentTransport(
        process.stdout, process.stdin, line_bytes=_LINE_BYTES, wire_bytes=8 * _LINE_BYTES, veil=launch.veil
    )
    connection = Connection(_refuse, transport)
    answering = asyncio.create_task(initialize(connection))
    gone = asyncio.create_task(process.exited())
    try:
        await asyncio.wait({answering, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            # What it said before it went may still be in the pipe.
            await asyncio.wait({answering}, timeout=1 if gone.done() else 0)
        took = loop.time() - began_at
        is_late = not answering.done() and not gone.done()
    finally:
        gone.cancel()
        await _end(answering, process, connection)
    if is_late:
        raise AgentFailed(f"The agent did not answer within {seconds:g} s")
    return _greeting(answering, process, launch, took)


def _greeting(
    answering: "asyncio.Task[dict[str, Any]]", process: AgentProcess, launch: Launch, seconds: float
) -> Greeting:
    error = asyncio.CancelledError() if answering.cancelled() else answering.exception()
    if isinstance(error, RequestError):
        raise AgentFailed(failures.refused(error, launch))
    if error is not None:
        raise AgentFailed(failures.died(process, launch))
    answer = answering.result()
    version = answer.get("protocolVersion")
    if version != PROTOCOL_VERSION:
        raise AgentFailed(f"The agent speaks version {version!s:.40} of its protocol, not {PROTOCOL_VERSION}")
    about = as_object(answer.get("agentInfo"))
    return Greeting(as_text(about.get("name"))[:80], as_text(about.get("version"))[:40], round(seconds, 2))


async def _refuse(method: str, params: Any, is_notification: bool) -> Any:
    if not is_notification:
        raise RequestError.method_not_found(method)


async def _end(answering: "asyncio.Task[dict[str, Any]]", process: AgentProcess, connection: Connection) -> None:
    answering.cancel()
    await asyncio.wait({answering})
    await process.close(exit_seconds=1, term_seconds=1)
    await connection.close()
    process.release()
