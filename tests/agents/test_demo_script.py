"""The demo agent's instructions."""

import pytest

from server.agents.demo.script import Step, parse


@pytest.mark.parametrize(
    ("message", "steps"),
    [
        ("Please fix the tests", []),
        ("Run the tests", []),
        ("run", []),
        ("crash the party", []),
        ("run ls -la\n\nnonsense\n  say Hello there ", [Step("run", "ls -la"), Step("say", "Hello there")]),
        ("slow\ncrash", [Step("slow"), Step("crash")]),
        ("write a.txt two words", [Step("write", "a.txt two words")]),
    ],
)
def test_lines_that_begin_with_a_verb_are_steps(message, steps):
    assert parse(message) == steps
