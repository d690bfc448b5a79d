"""What people read when a turn fails: what happened, and the next step."""

import json
import re
from collections.abc import Iterable
from typing import Any

from acp import RequestError

from server.agents.content import as_object, as_text, cap_text, plain
from server.agents.process import AgentProcess, Launch
from server.agents.profiles import PROFILES

_MAX_BYTES = 2000
_LOG_LINES = 5
_AUTH_CODES = frozenset({-32000, 401, 403})
_AUTH_TEXT = re.compile(
    r"(?i)\b401\b|unauthori[sz]ed|unauthenticated|(invalid|incorrect|missing|no) (api|x-api)[ -]?key|api key not valid"
)
_RETRY = "Send the message again to retry."

STOPS: dict[str, str] = {
    "max_tokens": "The agent's answer reached the model's length limit. Send a message to let it go on.",
    "max_turn_requests": "The agent used all the steps of one turn. Send a message to let it go on.",
    "failed": "The agent ended its turn without a reason that we know. Send the message again to retry.",
    "refusal": "The agent declined to do this. Change the request and send it again.",
}
"""Stop reasons that end a turn without success, and what they mean."""


def refused(error: RequestError, launch: Launch) -> str:
    """An agent's JSON-RPC error."""
    said = ": ".join(_distinct([as_text(str(error)), *_details(error.data)])) or "no reason given"
    kind = as_text(as_object(error.data).get("errorKind"))
    if error.code in _AUTH_CODES or "auth" in kind.lower() or _AUTH_TEXT.search(said):
        return _unsigned(said, launch)
    return _shown(f"The agent reported an error: {said.rstrip('.')}. {_RETRY}", launch)


def _unsigned(said: str, launch: Launch) -> str:
    """The text for a key that is missing or refused: it names the variables that the key may stand in."""
    keys = PROFILES[launch.backend].keys if launch.backend in PROFILES else ()
    given = [name for name in keys if name in launch.secrets]
    if given:
        return _shown(f"The agent's key was refused ({said}). Check {' and '.join(given)} of the server.", launch)
    hint = f"Set {' or '.join(keys[:2])} for the server." if keys else "Sign it in on the server."
    return _shown(f"The agent is not signed in ({said}). {hint}", launch)


def reported(fault: str, launch: Launch) -> str:
    """An error that an agent reported beside a normal end of its turn."""
    return _shown(f"The agent reported an error: {fault.rstrip('.')}. {_RETRY}", launch)


def died(process: AgentProcess, launch: Launch) -> str:
    """An agent that went away in the middle of a turn."""
    code = process.exit_code
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    lines = [line for line in plain(as_text(process.stderr_tail)).splitlines() if line.strip()][-_LOG_LINES:]
    tail = " The end of its log: " + "\n".join(lines) if lines else ""
    return _shown(f"The agent stopped unexpectedly ({how}). {_RETRY}{tail}", launch)


def broke(bound: str) -> str:
    """An agent that broke a bound of ours."""
    return f"{bound}; it was stopped. Ask for smaller steps and send the message again."


def _details(data: Any) -> Iterable[str]:
    if isinstance(data, str):
        return [as_text(data)]
    fields = as_object(data)
    found = [as_text(fields.get(key)) for key in ("message", "details", "error")]
    return found if any(found) or not fields else [as_text(json.dumps(fields, default=str))]


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(text.strip().rstrip(".") for text in texts if text.strip()))


def _shown(text: str, launch: Launch) -> str:
    """The text as people may see it: without the secrets the agent was given, and of bounded length."""
    return cap_text(launch.veil.text(text), _MAX_BYTES)[0]
