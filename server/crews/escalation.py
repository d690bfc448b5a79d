"""A crew's escalation: how sure an agent must be of a result for it to pass without people."""

from typing import Annotated, Any

import msgspec

from server.body import parse
from streams.errors import BadRequest
from streams.event import ascii_json, clean_value

Threshold = Annotated[float, msgspec.Meta(ge=0, le=1)]
MOST_BYTES = 16 << 10
INVALID = "escalation_config must be a JSON object whose thresholds are numbers from 0 to 1"


class Thresholds(msgspec.Struct, frozen=True):
    """Confidence at or above `auto_approve_threshold` passes even where an approval is required; below
    `require_approval_below` people must approve; below `notify_threshold` they are told. None: no such rule."""

    auto_approve_threshold: Threshold | None = None
    require_approval_below: Threshold | None = None
    notify_threshold: Threshold | None = None


def stored(value: Any) -> str | None:
    """The configuration as it is kept, JSON text, of the object or the JSON text that a client sends; None for an empty
    one. BadRequest unless it is an object with sound thresholds; its other members are kept."""
    try:
        sent = clean_value(parse(value.encode(errors="replace"))) if isinstance(value, str) and value else value
        if not sent:
            return None
        msgspec.convert(sent, Thresholds)
    except (BadRequest, msgspec.ValidationError) as error:
        raise BadRequest(INVALID, data={"reason": str(error)}) from None
    text = ascii_json(sent).decode()
    if len(text) > MOST_BYTES:
        raise BadRequest(f"escalation_config is larger than {MOST_BYTES} bytes")
    return text


def thresholds(text: str | None) -> Thresholds:
    """The thresholds of a stored configuration; none without one."""
    return Thresholds() if text is None else msgspec.json.decode(text, type=Thresholds)
