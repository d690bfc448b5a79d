"""What a tool says when the server did not do what was asked: the server's words and the next step."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mcp.server.mcpserver.exceptions import ToolError

from missionstream_client import (
    ApiError,
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    UnavailableError,
)

_NEXT_STEP: Mapping[type[ApiError], str] = {
    AuthenticationError: "The token is not good any more; an agent's ends with its turn. Do not repeat this.",
    ForbiddenError: "This token may not do it. Go on without it.",
    NotFoundError: "Check the id: list_tasks gives those of tasks. An agent sees its own mission only.",
    ConflictError: "Look at what is there, with list_tasks, before you try something else.",
    RateLimitedError: "Wait some seconds, then repeat it once.",
    UnavailableError: "The server cannot be reached now. Go on with your work and repeat it later.",
}
_OTHERWISE = "Change what you ask for as the text says."
_LONGEST = 500


@contextmanager
def told() -> Iterator[None]:
    """Turn what the client raises into a tool's error for the model to read."""
    try:
        yield
    except ApiError as error:
        step = next((text for kind, text in _NEXT_STEP.items() if isinstance(error, kind)), _OTHERWISE)
        raise ToolError(f"{error.text[:_LONGEST].rstrip('. ')}. {step}") from None
