"""How a turn ended, and what an agent's own words for it mean."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from server.agents import failures
from server.agents.budgets import Use
from server.agents.content import as_text
from server.agents.session import Session


class TurnOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a turn ended.

    `text` is the assistant text since the last boundary, whole or partial; it has not been recorded. `reason` is
    end_turn, max_tokens, max_turn_requests, refusal, cancelled or failed, `success` true for end_turn alone. `error`
    is for people and says the next step. `usage` counts tokens by the agent's names in snake_case; `use` is what counts.
    `session` is the agent itself, where it lives on.
    """

    text: str
    success: bool
    reason: str
    error: str | None = None
    session_id: str | None = None
    session_at: datetime | None = None
    model: str | None = None
    usage: dict[str, int] = {}
    use: Use = Use()
    session: Session | None = None


def stop_reason(response: Mapping[str, Any], *, has_rejection: bool) -> str:
    """The reason in an agent's answer to its prompt; `has_rejection` says that people answered a question with no."""
    reason = as_text(response.get("stopReason"))
    if reason == "cancelled":
        # Some agents end their turn this way after a "no"; nobody called this turn off.
        return "end_turn" if has_rejection else "cancelled"
    return reason if reason == "end_turn" or reason in failures.STOPS else "failed"
