"""The demo agent's ACP side: sessions, one turn at a time, cancel."""

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from acp import PROTOCOL_VERSION, RequestError, update_agent_message_text, update_user_message_text
from acp.interfaces import Client
from acp.schema import (
    AgentCapabilities,
    Implementation,
    InitializeResponse,
    LoadSessionResponse,
    McpServerStdio,
    NewSessionResponse,
    PromptResponse,
    TextContentBlock,
    Usage,
)

from server.agents.demo.transcript import Transcript
from server.agents.demo.turn import DemoTurn, Outlet

_CHARACTERS_PER_TOKEN = 4


class DemoAgent:
    """Needs no model and no key; the same message in the same space gives the same turn."""

    def __init__(self, delay_seconds: float) -> None:
        self._delay_seconds = delay_seconds
        self._spaces: dict[str, Path] = {}
        self._transcripts: dict[str, Transcript] = {}
        self._servers: dict[str, list[McpServerStdio]] = {}
        self._turns: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._client: Client | None = None

    def on_connect(self, conn: Client) -> None:
        self._client = conn

    async def initialize(self, protocol_version: int, **kwargs: Any) -> InitializeResponse:
        return InitializeResponse(
            protocol_version=PROTOCOL_VERSION,
            agent_capabilities=AgentCapabilities(load_session=True),
            agent_info=Implementation(name="missionstream-demo", title="Demo agent", version="1"),
            auth_methods=[],
        )

    async def new_session(
        self, cwd: str, mcp_servers: Sequence[Any] | None = None, **kwargs: Any
    ) -> NewSessionResponse:
        session_id = str(uuid.uuid4())
        self._servers[session_id] = _stdio(mcp_servers)
        self._spaces[session_id] = await asyncio.to_thread(_directory, cwd)
        self._transcripts[session_id] = Transcript.new(session_id)
        return NewSessionResponse(session_id=session_id)

    async def load_session(
        self, cwd: str, session_id: str, mcp_servers: Sequence[Any] | None = None, **kwargs: Any
    ) -> LoadSessionResponse:
        """Go on with a session of an earlier process: what was said in it is sent again first."""
        assert self._client is not None
        transcript = await asyncio.to_thread(Transcript.read, session_id)
        if transcript is None:
            raise RequestError.resource_not_found(session_id)
        self._servers[session_id] = _stdio(mcp_servers)
        self._spaces[session_id] = await asyncio.to_thread(_directory, cwd)
        self._transcripts[session_id] = transcript
        for line in transcript.lines:
            make = update_user_message_text if line.speaker == "user" else update_agent_message_text
            await self._client.session_update(session_id=session_id, update=make(line.text))
        return LoadSessionResponse()

    async def prompt(self, session_id: str, prompt: list[Any], **kwargs: Any) -> PromptResponse:
        if session_id not in self._spaces:
            raise RequestError.resource_not_found(session_id)
        if session_id in self._turns:
            raise RequestError.invalid_request({"details": "this session is busy"})
        assert self._client is not None
        message = "\n".join(block.text for block in prompt if isinstance(block, TextContentBlock))
        transcript = self._transcripts[session_id]
        transcript.add("user", message)
        outlet = Outlet(self._client, session_id, self._delay_seconds)
        # A task of its own, so that session/cancel ends the turn and the prompt is still answered.
        turn = asyncio.create_task(
            DemoTurn(outlet, self._spaces[session_id], transcript, self._servers[session_id]).run(message)
        )
        self._turns[session_id] = turn
        try:
            await asyncio.wait({turn})
        finally:
            turn.cancel()
            await asyncio.wait({turn})
            del self._turns[session_id]
            transcript.add("agent", outlet.said)
        was_cancelled = session_id in self._cancelled
        self._cancelled.discard(session_id)
        if not turn.cancelled():
            turn.result()
        return PromptResponse(
            stop_reason="cancelled" if was_cancelled or turn.cancelled() else "end_turn",
            usage=_usage(len(message), outlet.characters, outlet.tokens),
        )

    async def cancel(self, session_id: str, **kwargs: Any) -> None:
        if session_id in self._turns:
            self._cancelled.add(session_id)
            self._turns[session_id].cancel()


def _stdio(servers: Sequence[Any] | None) -> list[McpServerStdio]:
    return [server for server in servers or () if isinstance(server, McpServerStdio)]


def _directory(cwd: str) -> Path:
    path = Path(cwd)
    if not path.is_absolute() or not path.is_dir():
        raise RequestError.invalid_params({"details": f"not a directory: {cwd}"})
    return path.resolve()


def _usage(heard: int, said: int, spent: int) -> Usage:
    read, written = spent + -(-heard // _CHARACTERS_PER_TOKEN), -(-said // _CHARACTERS_PER_TOKEN)
    return Usage(input_tokens=read, output_tokens=written, total_tokens=read + written)
