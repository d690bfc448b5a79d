"""Where the server is, who asks, and which mission is meant: read from the environment, which is never shown."""

from collections.abc import Mapping
from typing import Self

import msgspec

URL, TOKEN, MISSION = "MISSIONSTREAM_URL", "MISSIONSTREAM_TOKEN", "MISSIONSTREAM_MISSION_ID"


class Surroundings(msgspec.Struct, frozen=True):
    """What the process was started with. Its text form hides the token."""

    url: str
    token: str
    mission_id: str | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """ValueError, naming the variables, when the address or the token is missing."""
        missing = [name for name in (URL, TOKEN) if not environment.get(name, "").strip()]
        if missing:
            raise ValueError(f"set {' and '.join(missing)}: the server's address and a token of it")
        mission_id = environment.get(MISSION, "").strip() or None
        return cls(environment[URL].strip(), environment[TOKEN].strip(), mission_id)

    def __repr__(self) -> str:
        return f"Surroundings(url={self.url!r}, mission_id={self.mission_id!r})"
