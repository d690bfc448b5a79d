"""How control's writes execute a command on a mission of whatever kind."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from aiohttp import web

from server.core import Core, core, principal
from server.dialects.control import wire
from server.keys import key_of
from server.missions.kinds import command
from server.runs.families import spent_above
from storage.rules import Key, Outcome

_NEW_WORK = ("send", "resume")
_MEANT = ("status", "title", "content", "message_id", "whole_mission", "agent", "permission_policy", "budget")
"""The fields of a command that its sender chose; an idempotency key stands for these."""


async def execute(
    request: web.Request,
    mission_id: UUID,
    verb: str,
    *,
    answer: Callable[[Any], Any] = lambda state: {"ok": True},
    key: Key | None = None,
    **fields: Any,
) -> Outcome:
    """One command, by its verb, on a mission of whatever kind.

    Forbidden for people without the kind's permission, which need not be the route's. Agents hold none: their routes let
    them in.
    """
    services, who = core(request), principal(request)
    row = await services.missions.get(who.workspace_id, mission_id)
    if verb in _NEW_WORK and row.parent_id is not None:
        fields["spent_above"] = await spent_above(services.missions, services.kinds, row)
    kind = services.kinds[row.kind]
    wish = command(kind, verb, **fields, by=who.actor)
    if who.mission_id is None:
        who.require(kind.permission)
    if key is None:
        meant = {name: fields[name] for name in _MEANT if name in fields}
        key = key_of(request, f"control.{verb}:{mission_id}", meant)
    return await services.writers.execute(who.workspace_id, mission_id, row.kind, wish, answer=answer, key=key)


def shown(services: Core, kind: str) -> Callable[[Any], Any]:
    """Renders a state just decided as a Mission object."""
    rules = services.kinds[kind]

    def answer(state: Any) -> Any:
        row = rules.row(state)
        return wire.mission(
            state.id,
            kind,
            row.status,
            row.phase,
            row.title,
            rules.facts(state),
            created_at=row.created_at,
            updated_at=row.updated_at,
            parent_id=row.parent_id,
        )

    return answer
