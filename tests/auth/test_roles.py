"""The tables of roles, permissions and scopes."""

import ast
import itertools
import re
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.auth.principal import Principal
from server.auth.roles import PERMISSIONS, ROLES, check_scopes, permissions
from streams.errors import Forbidden, Unprocessable

RANKS = ["VIEWER", "MEMBER", "MANAGER", "ADMIN", "OWNER"]


def test_the_roles_are_those_of_the_schema() -> None:
    schema = (Path(__file__).parents[2] / "storage/migrations/versions/0001_log_and_identity.sql").read_text()
    listed = re.search(r"\(role IN \(([^)]*)\)", schema)
    assert listed is not None
    assert set(ast.literal_eval(f"[{listed[1]}]")) == set(ROLES)


def test_each_role_includes_the_one_below() -> None:
    for lower, higher in itertools.pairwise(RANKS):
        assert ROLES[lower] <= ROLES[higher]


def test_every_permission_is_known_and_somebody_has_it() -> None:
    assert frozenset().union(*ROLES.values()) == set(PERMISSIONS) == ROLES["OWNER"]


@pytest.mark.parametrize(
    ("permission", "lowest"),
    [
        ("missions:view", "VIEWER"),
        ("stream:view", "VIEWER"),
        ("spaces:view", "VIEWER"),
        ("tokens:manage", "VIEWER"),
        ("missions:receive", "MEMBER"),
        ("missions:create", "MEMBER"),
        ("agents:answer", "MEMBER"),
        ("missions:manage", "MANAGER"),
        ("missions:append", "MANAGER"),
        ("spaces:manage", "MANAGER"),
        ("dispatch:assign", "MANAGER"),
        ("teams:manage", "MANAGER"),
        ("webhooks:manage", "MANAGER"),
        ("crews:write", "MANAGER"),
        ("checkpoints:write", "MANAGER"),
        ("workspace:admin", "ADMIN"),
    ],
)
def test_a_permission_begins_at_a_role(permission: str, lowest: str) -> None:
    assert [role for role in RANKS if permission in ROLES[role]] == RANKS[RANKS.index(lowest) :]


VIEWS = {"missions:view", "stream:view", "spaces:view"}
MISSIONS = {"missions:receive", "missions:create", "missions:manage", "missions:append"}


@pytest.mark.parametrize(
    ("role", "scopes", "expected"),
    [
        ("MANAGER", [], ROLES["MANAGER"]),
        ("MANAGER", ["*"], ROLES["MANAGER"]),
        ("MEMBER", ["missions:view"], VIEWS),
        ("MANAGER", ["missions:*"], VIEWS | MISSIONS),
        ("MEMBER", ["missions:*"], VIEWS | {"missions:receive", "missions:create"}),
        ("MANAGER", ["crews:write"], VIEWS | {"crews:write"}),
        ("MANAGER", ["crews:*"], VIEWS | {"crews:write"}),
        ("MEMBER", ["crews:write"], VIEWS),
        ("MANAGER", ["workspace:admin"], VIEWS | {"checkpoints:write"}),
        ("MANAGER", ["workspace:*"], VIEWS | {"checkpoints:write"}),
        ("OWNER", ["workspace:admin"], VIEWS | {"workspace:admin", "checkpoints:write"}),
        ("OWNER", ["checkpoints:write"], VIEWS | {"checkpoints:write"}),
        ("OWNER", ["unheard:of"], VIEWS),
    ],
)
def test_scopes_narrow_what_may_be_changed(role: str, scopes: list[str], expected: set[str]) -> None:
    assert permissions(role, scopes) == expected


@given(
    st.sampled_from(RANKS),
    st.lists(st.sampled_from([*PERMISSIONS, "*", "missions:*", "workspace:*", "x:y"]), max_size=4),
)
def test_scopes_never_widen_a_role(role: str, scopes: list[str]) -> None:
    assert permissions(role, scopes) <= ROLES[role]


@pytest.mark.parametrize(
    "scope", ["", "missions", "missions:", ":view", "**", "missions:view ", "Missions:View", "a:b:c"]
)
def test_a_scope_of_another_form_is_refused(scope: str) -> None:
    with pytest.raises(Unprocessable):
        check_scopes([scope])


def test_scopes_are_kept_in_order_and_once() -> None:
    assert check_scopes(["b:x", "*", "b:x", "a:*"]) == ("b:x", "*", "a:*")


def test_a_principal_refuses_what_it_may_not() -> None:
    viewer = Principal(user_id=uuid4(), name="v", workspace_id=uuid4(), role="VIEWER", permissions=ROLES["VIEWER"])
    viewer.require("missions:view")
    with pytest.raises(Forbidden) as refused:
        viewer.require("missions:manage")
    assert refused.value.details == {"permission": "missions:manage"}
    with pytest.raises(KeyError):
        viewer.may("missions:vew")
