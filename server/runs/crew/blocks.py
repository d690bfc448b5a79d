"""Blocks of named fields that agents end their answers with: found, read, and cut out of the text. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

_DECORATION = " \t*_`#-"
_QUOTING = ">"
_FENCE = re.compile(r"\s*```\w*\s*")


class Block(NamedTuple):
    """A block's fields, each with all its values in their order, and where it stands among the lines of its text."""

    fields: Mapping[str, list[str]]
    lines: Sequence[str]
    begin: int
    end: int

    @property
    def rest(self) -> str:
        """The text without the block. Made when asked for: a text of many blocks must not be kept once for each."""
        before, after = self.lines[: self.begin], self.lines[self.end + 1 :]
        if before and after and _FENCE.fullmatch(before[-1]) and _FENCE.fullmatch(after[0]):
            before, after = before[:-1], after[1:]
        return "\n".join([*before, *after]).strip()


def blocks_of(text: str, name: str, keys: Collection[str]) -> list[Block]:
    """The whole blocks `---NAME---` … `---END NAME---` of a text, in their order.

    A line `key: value` begins a value, the lines after it go on with it. What stands before the first key, and keys
    that are not among `keys`, say nothing. Models decorate: signs of Markdown around a marker or a key do no harm. A
    block in a Markdown quote is somebody else's, and none.
    """
    lines = text.splitlines()
    found: list[Block] = []
    begin: int | None = None
    for at, line in enumerate(lines):
        if name not in line:
            continue
        mark = line.strip(_DECORATION)
        if mark == name:
            begin = at
        elif mark == f"END {name}" and begin is not None:
            found.append(Block(_fields(lines[begin + 1 : at], keys), lines, begin, at))
            begin = None
    return found


def defused(text: str, names: Collection[str]) -> str:
    """A text in which no line marks a block of these names any more, however it is quoted and repeated."""
    if not any(name in text for name in names):
        return text
    marks = {*names, *(f"END {name}" for name in names)}
    plain = ((line, line.strip(_DECORATION + _QUOTING)) for line in text.splitlines())
    return "\n".join(f"({mark})" if mark in marks else line for line, mark in plain)


def _fields(lines: list[str], keys: Collection[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[list[str]]] = {}
    value: list[str] | None = None
    for line in lines:
        key, colon, rest = line.partition(":")
        key = key.strip(_DECORATION).lower()
        if colon and key in keys:
            value = [rest.lstrip(_DECORATION).rstrip()]
            found.setdefault(key, []).append(value)
        elif value is not None:
            value.append(line.rstrip())
    return {key: ["\n".join(value).strip() for value in values] for key, values in found.items()}
