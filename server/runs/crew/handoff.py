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


def read(*messages: str) -> Result:
    """What an agent said, in its order. The newest valid hand-off counts, with what follows it as text.

    Of a message's own blocks the last one counts, with a summary and a known confidence; else it stays in the text.
    Without a hand-off the last message is the answer.
    """
    for at in range(len(messages) - 1, -1, -1):
        found = _read(messages[at])
        if found is not None:
            text = "\n\n".join(part for part in (found.text, *map(str.strip, messages[at + 1 :])) if part)
            return found._replace(text=text)
    return Result(messages[-1].strip() if messages else "")


def _read(message: str) -> Result | None:
    blocks = blocks_of(message, NAME, _KEYS)
    if not blocks:
        return None
    block = blocks[-1]
    summary = "\n".join(block.fields.get("summary", ())).strip()
    word = " ".join(block.fields.get("confidence", ())).lower().strip(" .*_`")
    if not summary or word not in CONFIDENCE:
        return None
    handoff = Handoff(summary=summary, confidence=CONFIDENCE[word], needs_review=word == "low")
    named = ",".join(block.fields.get("artifacts", ())).replace("\n", ",")
    artifacts = ", ".join(path for part in named.split(",") if (path := part.strip(" \t-*`")))
    return Result(block.rest or summary, handoff, artifacts or None)
