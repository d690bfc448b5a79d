"""How the crew dialect spells ids: `c` and 25 base-36 digits of a UUID's 128 bits; it reads the UUID's own form too."""

import re
from uuid import UUID

from storage.ids import new_id, parse_id

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LENGTH = 25
_SPELLED = re.compile(rf"[0-9a-z]{{{_LENGTH}}}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_POSITION = re.compile(r"[0-9a-f]{16}")
_MOST_POSITION = 2**63 - 1

ENTITY, CHECKPOINT, ASSIGNMENT, TRACE = "c", "chk_", "m_", "mission-c"
"""What stands before the digits: of workspaces, crews, agents, missions, tasks, users and tokens; of checkpoints; of
assignments; of a mission's trace."""
_ENTRY = "j_"


def spell(identity: UUID, prefix: str = ENTITY) -> str:
    """The prefix and 25 lower-case base-36 digits. In the order of the UUIDs; matches `^c[a-z0-9]{19,}$` for ENTITY."""
    value, digits = identity.int, []
    for _ in range(_LENGTH):
        value, digit = divmod(value, 36)
        digits.append(_DIGITS[digit])
    return prefix + "".join(reversed(digits))


def read(text: str, prefix: str = ENTITY) -> UUID | None:
    """The UUID that is spelled so, or written in its own form with hyphens; None for anything else."""
    if _UUID.fullmatch(text):
        return parse_id(text)
    digits = text.removeprefix(prefix)
    if len(digits) == len(text) or not _SPELLED.fullmatch(digits):
        return None
    value = int(digits, 36)
    return parse_id(f"{value:032x}") if value < 1 << 128 else None


def known(text: str, prefix: str = ENTITY) -> UUID:
    """Like `read`, but what is no id at all becomes one that nothing has: it then is as unknown as any other."""
    return read(text, prefix) or new_id()


def spell_entry(position: int) -> str:
    """A journal entry's id: `j_` and the 16 hex digits of its event's position."""
    return f"{_ENTRY}{position:016x}"


def read_entry(text: str) -> int | None:
    """The position that a journal entry's id stands for; None for anything else."""
    digits = text.removeprefix(_ENTRY)
    if len(digits) == len(text) or not _POSITION.fullmatch(digits):
        return None
    position = int(digits, 16)
    return position if 0 < position <= _MOST_POSITION else None
