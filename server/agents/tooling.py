"""The MCP servers that an agent's session gets: ours, which reaches the run's own mission and nothing else."""

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

NAME = "missionstream"
_TOKEN = "MISSIONSTREAM_TOKEN"  # noqa: S105 the name of a variable
_PACKAGES = ("missionstream_mcp", "missionstream_client")


class McpServer(msgspec.Struct, frozen=True, kw_only=True):
    """One stdio MCP server; `secrets` names the variables of its `environment` that must never be shown."""

    name: str
    command: str
    args: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    secrets: frozenset[str] = frozenset()

    def wire(self) -> dict[str, Any]:
        """As session/new wants it."""
        env = [{"name": name, "value": value} for name, value in self.environment.items()]
        return {"name": self.name, "command": self.command, "args": list(self.args), "env": env}


def is_available() -> bool:
    """Whether our MCP server is installed here, as it is with every distribution of ours."""
    return all(find_spec(package) is not None for package in _PACKAGES)


def mission_tools(url: str, token: str, mission_id: str, marker: Mapping[str, str]) -> McpServer:
    """Our MCP server for one run: `url` is where this server listens, `marker` finds its process again.

    Agents hand some of their environment on, or all of it, or none: what it needs stands here.
    """
    environment = {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(map(_folder, _PACKAGES))),
        "PYTHONNOUSERSITE": "1",
        "MISSIONSTREAM_URL": reachable(url),
        _TOKEN: token,
        "MISSIONSTREAM_MISSION_ID": mission_id,
        **marker,
    }
    return McpServer(
        name=NAME,
        command=sys.executable,
        args=("-P", "-m", _PACKAGES[0]),
        environment=environment,
        secrets=frozenset({_TOKEN}),
    )


def reachable(url: str) -> str:
    """Where a process on this machine finds a server that listens there: at loopback, if it listens everywhere."""
    parts = urlsplit(url)
    address = ip_address(parts.hostname or "")
    if not address.is_unspecified:
        return url
    return f"{parts.scheme}://{'[::1]' if address.version == 6 else '127.0.0.1'}:{parts.port}"


def _folder(package: str) -> str:
    """What has to stand on the path for the package to be found; it is not imported for that."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{package} is part of this distribution, yet it is not installed")
    return str(Path(found.origin).resolve().parents[1])
