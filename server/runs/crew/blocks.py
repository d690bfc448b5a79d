"""Blocks of named fields that agents end their answers with: found, read, and cut out of the text. Pure."""

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

_DECORATION = " \t*_`#>-"
_FENCE = re.compile(r"\s*```\w*\s*")


class Block(NamedTuple):
    """A block's fields, each with all its values in their order, and the text without the block."""

    fields: Mapping[str, list[str]]
    rest: str


def last_block(text: str, name: str, keys: Collection[str]) -> Block | None:
    """The last whole block `---NAME---` … `---END NAME---` of a text; None without one.

    A line `key: value` begins a value, the lines after it go on with it. What stands before the first key, and keys
    that are not among `keys`, say nothing. Models decorate: signs of Markdown around a marker or a key do no harm.
    """
    lines = text.splitlines()
    marks = [(at, _plain(line)) for at, line in enumerate(lines) if name in line]
    end = next((at for at, line in reversed(marks) if line == f"END {name}"), None)
    begin = next((at for at, line in reversed(marks) if end is not None and at < end and line == name), None)
    if begin is None or end is None:
        return None
    before, after = lines[:begin], lines[end + 1 :]
    if before and after and _FENCE.fullmatch(before[-1]) and _FENCE.fullmatch(after[0]):
        before, after = before[:-1], after[1:]
    return Block(_fields(lines[begin + 1 : end], keys), "\n".join([*before, *after]).strip())


def _plain(line: str) -> str:
    return line.strip(_DECORATION)


def _fields(lines: list[str], keys: Collection[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    values: list[str] = []
    for line in lines:
        key, colon, value = line.partition(":")
        key = _plain(key).lower()
        if colon and key in keys:
            values = found.setdefault(key, [])
            values.append(value.lstrip(_DECORATION).rstrip())
        elif values:
            values[-1] = f"{values[-1]}\n{line.rstrip()}"
    return {key: [value.strip() for value in texts] for key, texts in found.items()}
