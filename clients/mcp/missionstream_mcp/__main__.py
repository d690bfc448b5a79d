"""Serve MCP on stdin and stdout: `missionstream-mcp`, or `python -P -m missionstream_mcp`."""

import asyncio
import os
import sys

from missionstream_client import Client
from missionstream_mcp.surroundings import Surroundings
from missionstream_mcp.tools import server_of


def main() -> None:
    """Serve until stdin ends. Exits with 1, and says why on stderr, when the environment does not name a server."""
    try:
        surroundings = Surroundings.of(os.environ)
        asyncio.run(_serve(surroundings))
    except ValueError as error:
        sys.exit(f"missionstream-mcp: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


async def _serve(surroundings: Surroundings) -> None:
    async with Client(surroundings.url, surroundings.token) as client:
        await server_of(client, surroundings.mission_id).run_stdio_async()


if __name__ == "__main__":
    main()
