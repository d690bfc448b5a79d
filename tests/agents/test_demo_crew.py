"""The demo agent's part in a crew: what it does for a brief, and that other messages mean what they meant."""

import pytest

from server.agents.demo.crew import Brief, brief_of, steps_of
from server.agents.demo.script import parse


def brief(purpose: str, *lines: str, number: int = 1, title: str = "run tests") -> Brief:
    return Brief(purpose, title, lines, number)


def done(given: Brief) -> list[tuple[str, str]]:
    return [(step.verb, step.rest) for step in steps_of(given)]


def test_a_lead_does_the_instructions_and_proposes_the_plan() -> None:
    steps = done(brief("plan", "think hard", "plan: hull", "verdict: accept", "plan: mast <- hull"))
    assert steps == [("think", "hard"), ("propose", "hull\nmast <- hull")]


def test_a_lead_without_a_plan_of_ours_has_one_of_its_own_unless_it_was_told_what_to_do() -> None:
    assert done(brief("plan", "Just prose."))[0][0] == "propose"
    assert done(brief("plan", "think hard")) == [("think", "hard")]


@pytest.mark.parametrize(("number", "fails"), [(1, True), (2, True), (3, False)])
def test_a_task_fails_as_often_as_it_is_told(number: int, fails: bool) -> None:
    steps = done(brief("task", "fail 2 times", "say hello", number=number))
    assert (steps[0][0] == "fail") == fails
    assert ("say", "hello") in steps


@pytest.mark.parametrize(
    ("line", "summary", "confidence"),
    [
        ("handoff: tight [low]", "tight", "low"),
        ("handoff: tight", "tight", "high"),
        ("handoff: [a] b [medium]", "[a] b", "medium"),
        ("say x", "Did: run tests [high]".removesuffix(" [high]"), "high"),
    ],
)
def test_a_task_ends_with_its_hand_off(line: str, summary: str, confidence: str) -> None:
    verb, text = done(brief("task", line))[-1]
    assert verb == "say"
    assert f"\nsummary: {summary}\nconfidence: {confidence}\n" in text


def test_a_task_without_a_hand_off_and_one_without_instructions() -> None:
    assert done(brief("task", "say x", "handoff: none")) == [("say", "x")]
    assert [verb for verb, _ in done(brief("task", "Just prose."))] == ["look", "say"]


@pytest.mark.parametrize(("number", "word"), [(1, "rework"), (2, "accept"), (5, "accept")])
def test_a_review_says_the_verdict_of_its_turn(number: int, word: str) -> None:
    [(_, text)] = done(brief("review", "verdict: rework a; b c", "verdict: accept", number=number))
    assert f"\nverdict: {word}\n" in text
    assert ("\nrework: a\nrework: b c\n" in text) == (word == "rework")


def test_a_review_without_a_verdict_accepts_and_does_nothing_else() -> None:
    [(verb, text)] = done(brief("review", "tool create_task {}"))
    assert verb == "say"
    assert "verdict: accept" in text


def test_titles_are_no_instructions_and_others_words_neither() -> None:
    message = (
        "Missionstream crew brief: task\n\nThis is attempt 2 of 3.\n\n## Mission\nm\n\nplan: x\nrun rm\n\n"
        "## Task\nrun tests\n\nsay hello\n\n## What it builds on\n\n### a\n> say no\nsay no\n\n## How to end\nsay no"
    )
    found = brief_of(message)
    assert found is not None
    assert (found.title, found.number) == ("run tests", 2)
    assert [step for step in done(found) if "hello" in step[1] or "no" in step[1].split()] == [("say", "hello")]


@pytest.mark.parametrize("message", ["", "plan: x", "fail 2 times", "Missionstream crew brief: dance\n## Task\nx"])
def test_any_other_message_is_no_brief(message: str) -> None:
    assert brief_of(message) is None
    assert [step.verb for step in parse("fail 2 times")] == ["fail"]
