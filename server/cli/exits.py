"""The exit codes that scripts may rely on."""

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended; INTERRUPTED is what shells give to Ctrl-C."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    CONFLICT = 5
    RATE_LIMIT = 6
    SERVER = 7
    UNREACHABLE = 8
    INTERRUPTED = 130


DOCUMENTED: dict[int, str] = {
    Exit.OK: "done",
    Exit.FAILURE: "findings, or it failed",
    Exit.USAGE: "used in a wrong way",
    Exit.NOT_FOUND: "not found",
    Exit.DENIED: "not authorised",
    Exit.CONFLICT: "the state does not allow it",
    Exit.RATE_LIMIT: "too often",
    Exit.SERVER: "the server failed",
    Exit.UNREACHABLE: "cannot connect",
    Exit.INTERRUPTED: "Ctrl-C",
}
"""In words, as the help shows them."""
