"""What the demo agent does in a turn: the message's instructions, or the ordinary turn when it has none."""

from collections.abc import Sequence
from typing import NamedTuple


class Step(NamedTuple):
    """One instruction: its verb and the rest of its line."""

    verb: str
    rest: str = ""


VERBS = frozenset(
    {
        "think", "say", "read", "write", "run", "ask", "permit", "spend", "sleep", "slow", "fail", "crash", "plan",
        "recall", "tool",
    }
)  # fmt: skip
_BARE = frozenset({"slow", "crash", "recall"})


def parse(message: str) -> Sequence[Step]:
    """The steps of a message, one per line that begins with a verb in lower case; none for ordinary prose.

    `slow`, `crash` and `recall` stand alone on their line; the other verbs need something after them.
    """
    steps = []
    for line in message.splitlines():
        verb, _, rest = line.strip().partition(" ")
        if verb in VERBS and (verb in _BARE) == (not rest.strip()):
            steps.append(Step(verb, rest.strip()))
    return steps
