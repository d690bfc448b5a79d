"""Roles, permissions and token scopes, as tables."""

import re
from collections.abc import Iterable

from streams.errors import Unprocessable

PERMISSIONS = {
    "missions:view": "read missions, their events and snapshots, teams and automations",
    "stream:view": "follow the workspace's streams",
    "spaces:view": "list spaces and read their files",
    "tokens:manage": "make, list and revoke one's own tokens",
    "missions:receive": "report on a field mission that one was sent on",
    "missions:create": "create control missions and automations, send to them, cancel, rename and delete them",
    "agents:answer": "answer what an agent asks (tool_result)",
    "missions:manage": "change any mission of any kind",
    "missions:append": "append events to a mission's log from an outside program",
    "spaces:manage": "make, change and remove spaces",
    "dispatch:assign": "send field teams to incidents",
    "teams:manage": "change field teams and their members",
    "webhooks:manage": "change webhooks and see their deliveries",
    "crews:write": "change crews, their agents, missions and tasks",
    "checkpoints:write": "make, restore, fork and delete checkpoints",
    "workspace:admin": "change the workspace itself: members, roles, other users' tokens",
}
"""Every permission, and what it lets one do."""

_VIEWER = frozenset({"missions:view", "stream:view", "spaces:view", "tokens:manage"})
_MEMBER = _VIEWER | {"missions:receive", "missions:create", "agents:answer"}
_MANAGER = _MEMBER | {
    "missions:manage",
    "missions:append",
    "spaces:manage",
    "dispatch:assign",
    "teams:manage",
    "webhooks:manage",
    "crews:write",
    "checkpoints:write",
}

ROLES: dict[str, frozenset[str]] = {
    "OWNER": frozenset(PERMISSIONS),
    "ADMIN": frozenset(PERMISSIONS),
    "MANAGER": _MANAGER,
    "MEMBER": _MEMBER,
    "VIEWER": _VIEWER,
}
"""What each role may do. Each includes the next one's."""


def grantable(role: str) -> frozenset[str]:
    """The roles that somebody of this role may give to others and take from them: those below it; an OWNER, any."""
    ranks = list(ROLES)
    return frozenset(ROLES) if role == ranks[0] else frozenset(ranks[ranks.index(role) + 1 :])


_ALSO = {"workspace:admin": frozenset({"checkpoints:write"})}
"""Crew's word for its checkpoint routes is the scope workspace:admin, though any MANAGER may use them."""

_VIEWS = frozenset(permission for permission in PERMISSIONS if permission.endswith(":view"))
_SCOPE = re.compile(r"\*|[a-z][a-z_-]*:(?:\*|[a-z][a-z_-]*)")


def check_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """The scopes without repeats; Unprocessable for one that is not `*`, `resource:*` or `resource:verb`."""
    unique = tuple(dict.fromkeys(scopes))
    for scope in unique:
        if not _SCOPE.fullmatch(scope):
            raise Unprocessable(f"a scope looks like missions:view, missions:* or *, not like {scope[:40]!r}")
    return unique


def permissions(role: str, scopes: Iterable[str] = ()) -> frozenset[str]:
    """What a role may do through a token with these scopes.

    No scope at all means everything of the role. Otherwise `*` grants all, `missions:*` all permissions of missions,
    and any other scope the permission of its name; a scope that names none grants nothing. Scopes only ever narrow what
    a token may change: reading is a matter of membership, never of scope.
    """
    allowed = ROLES[role]
    scopes = frozenset(scopes)
    if not scopes:
        return allowed
    return frozenset(permission for permission in allowed if permission in _VIEWS or _is_granted(permission, scopes))


def _is_granted(permission: str, scopes: frozenset[str]) -> bool:
    names = {permission} | {scope for scope, also in _ALSO.items() if permission in also}
    return "*" in scopes or any(name in scopes or f"{name.partition(':')[0]}:*" in scopes for name in names)
