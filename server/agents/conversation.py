"""The dialogue with one agent: greet, open or load a session, choose the model and the mode, prompt, cancel."""

import asyncio
import contextlib
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import structlog
from acp import PROTOCOL_VERSION, RequestError
from acp.connection import Connection

from server.agents import modes
from server.agents.content import as_list, as_object, as_text
from server.agents.memory import Past
from server.agents.process import Launch
from server.agents.replay import Replay
from streams.errors import AgentFailed

log = structlog.get_logger()


async def initialize(connection: Connection) -> dict[str, Any]:
    """Greet the agent; returns its answer. Its own file and shell tools are what a server wants it to use."""
    params = {
        "protocolVersion": PROTOCOL_VERSION,
        "clientCapabilities": {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False},
        "clientInfo": {"name": "missionstream", "version": _version()},
    }
    return as_object(await connection.send_request("initialize", params))


class Conversation:
    """One session of one agent process. Errors: RequestError as the agent sent it, ConnectionError when it ended.

    `session_at` is when the session was begun or loaded here; `is_loading` is true while an earlier one is asked for,
    `is_loaded` when it came.
    """

    def __init__(self, connection: Connection, launch: Launch, *, load_seconds: float) -> None:
        self.session_id: str | None = None
        self.session_at: datetime | None = None
        self.model: str | None = None
        self.is_loading = False
        self.is_loaded = False
        self._connection = connection
        self._launch = launch
        self._load_seconds = load_seconds
        self._summary = ""
        self._replay = Replay()
        self._left: str | None = None

    def is_past(self, session_id: Any) -> bool:
        """Whether an update of this session tells again what the log has already."""
        return self.is_loading or (self._left is not None and session_id == self._left)

    def retold(self, update: dict[str, Any]) -> None:
        """Hear what is told again."""
        self._replay.hear(update)

    async def open(self, past: Past) -> None:
        """Initialize, then load the mission's session, or start a fresh one that is told the past by the first prompt.

        AgentFailed for an answer that we cannot use.
        """
        greeting = await initialize(self._connection)
        version = greeting.get("protocolVersion")
        if version != PROTOCOL_VERSION:
            raise AgentFailed(
                f"The agent speaks version {version!s:.40} of its protocol, not {PROTOCOL_VERSION}. Update the agent."
            )
        session = None
        if as_object(greeting.get("agentCapabilities")).get("loadSession") is True:
            session = await self._loaded(past)
        if session is None:
            session = as_object(await self._connection.send_request("session/new", self._place()))
            if not isinstance(session.get("sessionId"), str):
                raise AgentFailed("The agent opened no session. Update the agent or choose another backend.")
            self.session_id = session["sessionId"]
            self._summary = past.summary
        elif not self._replay.has(past.answer):
            # an agent that was killed may not have written its last words down
            self._summary = past.summary
        self.session_at = datetime.now(UTC)
        await self._choose_model(session)
        assert self.session_id is not None
        if self._launch.mode and (request := modes.request_for(session, self.session_id, self._launch.mode)):
            await self._connection.send_request(*request)

    async def _loaded(self, past: Past) -> dict[str, Any] | None:
        """The mission's earlier session; None when there is none, or the agent cannot bring it back."""
        loading, home = self._launch.loading, self._launch.home
        if past.session_id is None or not loading.may_load(past, datetime.now(UTC)):
            return None
        self.is_loading = True
        await asyncio.to_thread(loading.keep, home)
        try:
            async with asyncio.timeout(self._load_seconds):
                answer = await self._connection.send_request(
                    "session/load", {"sessionId": past.session_id, **self._place()}
                )
                await self._replay.over(loading.quiet_seconds)
        except (RequestError, TimeoutError) as error:
            log.info("agent did not load its session", backend=self._launch.backend, error=str(error))
            self._left = past.session_id
            await asyncio.to_thread(loading.put_back, home)
            self.is_loading = False
            return None
        self.is_loading = False
        self.is_loaded = True
        self.session_id = past.session_id
        return as_object(answer)

    def _place(self) -> dict[str, Any]:
        servers = [server.wire() for server in self._launch.mcp_servers]
        return {"cwd": str(self._launch.space.absolute()), "mcpServers": servers}

    async def prompt(self, text: str) -> dict[str, Any]:
        """Run a turn; returns the agent's response when it says that the turn is over."""
        texts = [self._summary, text] if self._summary else [text]
        self._summary = ""
        params = {"sessionId": self.session_id, "prompt": [{"type": "text", "text": text} for text in texts]}
        return as_object(await self._connection.send_request("session/prompt", params))

    async def cancel(self) -> None:
        """Ask the agent to end its turn; does nothing when there is no session, or no agent any more."""
        if self.session_id is not None:
            with contextlib.suppress(ConnectionError):
                await self._connection.send_notification("session/cancel", {"sessionId": self.session_id})

    async def _choose_model(self, session: dict[str, Any]) -> None:
        option = _model_option(session)
        models = as_object(session.get("models"))
        self.model = as_text(option.get("currentValue")) or as_text(models.get("currentModelId")) or None
        wanted = self._launch.model
        if not wanted or wanted == self.model:
            return
        if option:
            params = {"sessionId": self.session_id, "configId": option.get("id"), "value": wanted}
            await self._connection.send_request("session/set_config_option", params)
        elif models:
            params = {"sessionId": self.session_id, "modelId": wanted}
            await self._connection.send_request("session/set_model", params)
        else:
            log.warning("agent offers no choice of model", backend=self._launch.backend, model=wanted)
            return
        self.model = wanted


def _model_option(session: dict[str, Any]) -> dict[str, Any]:
    options = map(as_object, as_list(session.get("configOptions")))
    return next((option for option in options if option.get("category") == "model"), {})


def _version() -> str:
    try:
        return metadata.version("missionstream")
    except metadata.PackageNotFoundError:
        return "0"
