"""The hand-off: what an agent says at the end of a task for those who go on from it. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from server.missions.crew.steps import Handoff
from server.runs.crew.blocks import blocks_of

NAME = "HANDOFF"
CONFIDENCE: Mapping[str, float] = {"low": 0.4, "medium": 0.7, "high": 0.9}
_KEYS = ("summary", "confidence", "artifacts")

HOW = f"""\
End your answer with a hand-off for those who go on from your work, exactly in this form:
---{NAME}---
summary: what you did and what they must know, in a few sentences
confidence: low, medium or high
artifacts: the files you made, separated by commas; leave the line out if there are none
---END {NAME}---"""
"""What an agent is told about it."""


class Result(NamedTuple):
    """An answer: its text without the block, the hand-off if a valid one was there, and the files that it names."""

    text: str
    handoff: Handoff | None = None
    artifacts: str | None = None


def read(answer: str) -> Result:
    """An agent's answer. Of its own blocks the last one counts, with a summary and a known confidence; else it stays in
    the text."""
    blocks = blocks_of(answer, NAME, _KEYS)
    if not blocks:
        return Result(answer.strip())
    block = blocks[-1]
    summary = "\n".join(block.fields.get("summary", ())).strip()
    word = " ".join(block.fields.get("confidence", ())).lower().strip(" .*_`")
    if not summary or word not in CONFIDENCE:
        return Result(answer.strip())
    handoff = Handoff(summary=summary, confidence=CONFIDENCE[word], needs_review=word == "low")
    named = ",".join(block.fields.get("artifacts", ())).replace("\n", ",")
    artifacts = ", ".join(path for part in named.split(",") if (path := part.strip(" \t-*`")))
    return Result(block.rest or summary, handoff, artifacts or None)
