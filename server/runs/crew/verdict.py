"""The LEAD's verdict on the finished work: read from its answer. Pure."""

from collections.abc import Iterable
from typing import Literal, NamedTuple
from uuid import UUID

from server.missions.crew.state import Task, Verdict
from server.runs.crew.blocks import Block, blocks_of
from server.runs.crew.plans import title_key

NAME = "VERDICT"
_KEYS = ("verdict", "rework", "new", "notes")

HOW = f"""\
End your answer with your verdict, exactly in this form:
---{NAME}---
verdict: accept or rework
rework: the title of a finished task that must be done again; one such line for each
new: a further task, in the notation below; one such line for each
notes: why, in a few sentences
---END {NAME}---"""
"""What the LEAD is told about it."""


class Found(NamedTuple):
    """A verdict. `rework` are titles or ids of tasks, `new` lines of a plan, both as they were written."""

    verdict: Verdict
    notes: str
    rework: tuple[str, ...] = ()
    new: tuple[str, ...] = ()


def read(*messages: str) -> Found:
    """What a LEAD said, in its order. The newest message with a verdict counts.

    `none`, with the last message as its notes, when there is no valid one, or two in one message that differ. Of two
    that are the same the last one counts.
    """
    valid: dict[Literal["accept", "rework"], Block] = {}
    for message in reversed(messages):
        valid = {word: block for block in blocks_of(message, NAME, _KEYS) if (word := _word(block)) is not None}
        if valid:
            break
    if len(valid) != 1:
        return Found("none", messages[-1].strip() if messages else "")
    [(word, block)] = valid.items()
    notes = "\n".join(block.fields.get("notes", ())).strip() or block.rest
    if word == "accept":
        return Found("accept", notes)
    return Found("rework", notes, _lines(block.fields.get("rework", ())), _lines(block.fields.get("new", ())))


def _word(block: Block) -> Literal["accept", "rework"] | None:
    word = " ".join(block.fields.get("verdict", ())).lower().strip(" .*_`")
    return "accept" if word == "accept" else "rework" if word == "rework" else None


def meant(names: Iterable[str], tasks: Iterable[Task]) -> tuple[UUID, ...]:
    """The tasks that these names mean, by id or by title; what means none is left out."""
    known: dict[str, UUID] = {}
    for task in tasks:
        known.setdefault(title_key(task.title), task.id)
        known[str(task.id)] = task.id
    return tuple(dict.fromkeys(known[key] for name in names if (key := title_key(name)) in known))


def _lines(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(line for value in values for part in value.splitlines() if (line := part.strip(" \t-*`")))
