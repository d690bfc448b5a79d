"""The dialogue with one agent: greet, open a session, choose the model, prompt, cancel."""

import contextlib
from importlib import metadata
from typing import Any

import structlog
from acp import PROTOCOL_VERSION
from acp.connection import Connection

from server.agents.content import as_list, as_object, as_text
from server.agents.process import Launch
from streams.errors import AgentFailed

log = structlog.get_logger()


class Conversation:
    """One session of one agent process. Errors: RequestError as the agent sent it, ConnectionError when it ended."""

    def __init__(self, connection: Connection, launch: Launch) -> None:
        self.session_id: str | None = None
        self.model: str | None = None
        self._connection = connection
        self._launch = launch

    async def open(self) -> None:
        """Initialize and start a fresh session in the space. AgentFailed for an answer that we cannot use."""
        greeting = await self._connection.send_request(
            "initialize",
            {
                "protocolVersion": PROTOCOL_VERSION,
                "clientCapabilities": {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False},
                "clientInfo": {"name": "missionstream", "version": _version()},
            },
        )
        version = as_object(greeting).get("protocolVersion")
        if version != PROTOCOL_VERSION:
            raise AgentFailed(
                f"The agent speaks version {version!s:.40} of its protocol, not {PROTOCOL_VERSION}. Update the agent."
            )
        servers = [server.wire() for server in self._launch.mcp_servers]
        session = as_object(
            await self._connection.send_request(
                "session/new", {"cwd": str(self._launch.space.absolute()), "mcpServers": servers}
            )
        )
        if not isinstance(session.get("sessionId"), str):
            raise AgentFailed("The agent opened no session. Update the agent or choose another backend.")
        self.session_id = session["sessionId"]
        await self._choose_model(session)

    async def prompt(self, text: str) -> dict[str, Any]:
        """Run the turn; returns the agent's response when it says that the turn is over."""
        params = {"sessionId": self.session_id, "prompt": [{"type": "text", "text": text}]}
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
