"""The command line: `missionstream COMMAND`."""

from server.cli.main import main

__all__ = ["main"]
