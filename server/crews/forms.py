"""What crews and agents may look like: names, slugs, roles, adapters, settings. Every refusal is a BadRequest."""

import re
from collections.abc import Mapping

from server.agents.policy import POLICIES
from streams.errors import BadRequest

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{1,49}")

LEAD = "LEAD"
ROLES = ("AGENT", LEAD)
LEAD_MODES = ("active", "passive")
TOOL_PROFILES = ("MINIMAL", "CODING", "FULL")
"""Kept for clients. What an agent may do unasked is its crew's permission policy."""

ADAPTERS: Mapping[str, str | None] = {
    "CLAUDE_CODE": "claudecode",
    "OPENCODE": "opencode",
    "CODEX": "codex",
    "GEMINI": "gemini",
    "GROK": "grok",
    "DEMO": "demo",
    "NONE": None,
}
"""The backend behind each cli_adapter. NONE has none: people, or programs of theirs, do such an agent's tasks."""
_ALSO = {"CODEX_CLI": "CODEX", "GEMINI_CLI": "GEMINI"}
"""Other names that crew's clients have for adapters."""

PARALLEL, TIMEOUT, AGENT_TIMEOUT = (1, 64), (1, 30 * 86_400), (1, 86_400)
"""The least and the most of max_parallel_tasks, and of mission_timeout_seconds and timeout_seconds of an agent."""


def name(text: str) -> str:
    """A name of 2 to 100 characters, without spaces around it."""
    text = text.strip()
    if not 2 <= len(text) <= 100:
        raise BadRequest("name must be between 2 and 100 characters")
    return text


def slug(text: str) -> str:
    """A slug of 2 to 50 characters."""
    if not _SLUG.fullmatch(text):
        raise BadRequest(
            "slug must be 2 to 50 lower-case letters, digits, hyphens or underscores, and begin with a letter or a digit"
        )
    return text


def role(text: str) -> str:
    """AGENT or LEAD."""
    return _one_of("agent_role", text, ROLES, "agent_role must be AGENT or LEAD")


def lead_mode(text: str) -> str:
    """active or passive."""
    return _one_of("lead_mode", text, LEAD_MODES, "lead_mode must be 'active' or 'passive'")


def adapter(text: str) -> str:
    """One of ADAPTERS."""
    return _one_of("cli_adapter", _ALSO.get(text, text), ADAPTERS)


def tool_profile(text: str) -> str:
    """One of TOOL_PROFILES."""
    return _one_of("tool_profile", text, TOOL_PROFILES)


def policy(text: str) -> str:
    """ask, allow_reads or allow_all."""
    return _one_of("permission_policy", text, POLICIES)


def within(field: str, value: int, bounds: tuple[int, int]) -> int:
    """A number within its bounds."""
    least, most = bounds
    if not least <= value <= most:
        raise BadRequest(f"{field} must be between {least} and {most}")
    return value


def _one_of(field: str, text: str, allowed: Mapping[str, object] | tuple[str, ...], refusal: str | None = None) -> str:
    if text not in allowed:
        raise BadRequest(refusal or f"{field} must be one of {', '.join(allowed)}")
    return text
