"""The demo agent in a crew: what its brief asks for, and the instructions in the mission's or the task's own text.

A LEAD that plans does the mission's instructions, and proposes its `plan:` lines, in the engine's own notation. An agent
on a task does the task's, where `fail N times` fails so many attempts, and ends with its `handoff:` line, such as
`handoff: the hull is painted [high]` or `handoff: none`. A LEAD that reviews says the mission's `verdict:` lines, one a
review and the last one again, such as `verdict: rework Paint the hull; Mend the mast` or `verdict: accept`.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from server.agents.demo.script import Step, parse

HEAD = "Missionstream crew brief: "
_OWN = {"plan": "## Mission", "review": "## Mission", "task": "## Task"}
_HEADINGS = frozenset(
    {
        "## Mission", "## Plan", "## Task", "## Your crew", "## How to plan", "## What it builds on", "## How to end",
        "## Results", "## How to judge", "## Planned already",
    }
)  # fmt: skip
_NUMBER = re.compile(r"This is (?:attempt|review) (\d+)")
_FAILURES = re.compile(r"fail (\d+) times")
_SURE = re.compile(r"(.*?)\s*\[(low|medium|high)\]")
_USUAL_PLAN = ("Look at what is there", "Report on it <- Look at what is there")


class Brief(NamedTuple):
    """A brief: its purpose (plan, task, review), the title and text that are its own, which attempt or review it is."""

    purpose: str
    title: str
    lines: Sequence[str]
    number: int


def brief_of(message: str) -> Brief | None:
    """The brief that a message is; None for any other message."""
    first, *lines = message.splitlines() or [""]
    purpose = first.removeprefix(HEAD)
    if purpose == first or purpose not in _OWN:
        return None
    number = _NUMBER.search(message)
    own: list[str] = []
    heading = ""
    for line in lines:
        if line in _HEADINGS:
            heading = line
        elif heading == _OWN[purpose]:
            own.append(line)
    title, *rest = own or [""]
    return Brief(purpose, title, rest, int(number[1]) if number else 1)


def steps_of(brief: Brief) -> Sequence[Step]:
    """What to do for it."""
    return {"plan": _planning, "review": _review, "task": _task}[brief.purpose](brief)


def _values(brief: Brief, name: str) -> list[str]:
    return [line.strip()[len(name) :].strip() for line in brief.lines if line.strip().startswith(name)]


def _planning(brief: Brief) -> Sequence[Step]:
    steps = parse("\n".join(brief.lines))
    plan = _values(brief, "plan:") or ([] if steps else _USUAL_PLAN)
    return [*steps, *([Step("propose", "\n".join(plan))] if plan else [])]


def _review(brief: Brief) -> Sequence[Step]:
    verdicts = _values(brief, "verdict:") or ["accept"]
    word, _, names = verdicts[min(brief.number, len(verdicts)) - 1].partition(" ")
    rework = [f"rework: {name.strip()}" for name in names.split(";") if name.strip()]
    lines = ["---VERDICT---", f"verdict: {word}", *rework, f"notes: review {brief.number}: {word}", "---END VERDICT---"]
    return [Step("say", "\n".join(["I compared the results with the mission.", *lines]))]


def _task(brief: Brief) -> Sequence[Step]:
    steps: list[Step] = []
    is_told = False
    for line in brief.lines:
        failures = _FAILURES.fullmatch(line.strip())
        if failures is None:
            steps += parse(line)
        elif brief.number <= int(failures[1]):
            steps.append(Step("fail", f"attempt {brief.number} fails, as {failures[1]} are to"))
        is_told = is_told or failures is not None
    told = _values(brief, "handoff:")
    if not (steps or told or is_told):
        steps = [Step("look")]
    said = (told or [f"Did: {brief.title} [high]"])[0]
    return [*steps, *([] if said == "none" else [Step("say", _handoff(said))])]


def _handoff(said: str) -> str:
    sure = _SURE.fullmatch(said)
    summary, confidence = (sure[1], sure[2]) if sure else (said, "high")
    return f"\n---HANDOFF---\nsummary: {summary}\nconfidence: {confidence}\n---END HANDOFF---"
