"""Which option an answer means."""

import pytest

from server.agents.permissions import ask, choose, outcome, rejection
from server.agents.tools import ToolCall

OPTIONS = [
    {"optionId": "o1", "name": "Always", "kind": "allow_always"},
    {"optionId": "o2", "name": "Yes, once", "kind": "allow_once"},
    {"optionId": "o3", "name": "No", "kind": "reject_once"},
]


def options(raw=OPTIONS):
    return ask("perm_1", ToolCall(id="t"), raw).options


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [
        ("Yes, once", "o2"),
        ("yes, ONCE ", "o2"),
        ("allow_always", "o1"),
        ("allow", "o2"),
        ("reject_once", "o3"),
        ({"answers": {"Allow: t?": "Always"}}, "o1"),
        ({"answers": [{"value": "allow_once"}]}, "o2"),
        ({"questions": [{"options": [{"label": "Always"}]}], "answers": {"q": "No"}}, "o3"),
        ({"questions": [{"options": [{"label": "Always"}]}]}, "o3"),
        ("perhaps", "o3"),
        (None, "o3"),
        (5, "o3"),
    ],
)
def test_an_answer_is_a_label_a_kind_or_holds_one(answer, chosen):
    assert outcome(choose(options(), answer))["outcome"]["optionId"] == chosen


def test_of_equal_labels_the_narrower_permission_is_meant():
    raw = [
        {"optionId": "wide", "name": "Allow", "kind": "allow_always"},
        {"optionId": "narrow", "name": "Allow", "kind": "allow_once"},
    ]
    assert [option.label for option in options(raw)] == ["Allow", "Allow (allow once)"]
    assert choose(options(raw), "allow_once").id == "narrow"


@pytest.mark.parametrize("raw", [None, [], [5], [{"name": "x"}], [{"optionId": "a", "kind": "allow_once"}]])
def test_where_no_option_says_no_the_agent_gets_cancelled(raw):
    assert outcome(rejection(options(raw))) == {"outcome": {"outcome": "cancelled"}}
