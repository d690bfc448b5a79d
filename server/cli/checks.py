"""What `doctor` finds: one thing looked at, its state, and the next step."""

from typing import Literal, NamedTuple

State = Literal["ok", "missing", "wrong"]


class Check(NamedTuple):
    """One thing looked at: `missing` things are optional, `wrong` ones prevent a server."""

    name: str
    state: State
    found: str
    next_step: str | None = None
