"""The command line: `missionstream COMMAND`. Modules import what is slow only when a command runs."""

from server.cli.main import main

__all__ = ["main"]
