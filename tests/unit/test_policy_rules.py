"""That nobody works unasked beyond the mission's policy, by the rules alone."""

import msgspec
import pytest

from server.missions.control import Configure
from streams.errors import Conflict
from tests.unit.test_control_rules import CREATE, Stream, ended, send


def test_the_policy_is_not_lowered_under_a_turn_or_a_message_that_needs_it() -> None:
    gemini = msgspec.structs.replace(CREATE, backend="gemini", permission_policy="allow_all")
    yolo = msgspec.structs.replace(send(1), agent="yolo")
    for commands in ((yolo,), (msgspec.structs.replace(yolo, has_slot=False),)):
        stream = Stream()
        for command in (gemini, *commands):
            stream.execute(command)
        with pytest.raises(Conflict, match="yolo acts without asking"):
            stream.execute(Configure(permission_policy="ask"))
    stream = Stream()
    for command in (msgspec.structs.replace(gemini, agent="yolo"), send(1), Configure(agent="plan")):
        stream.execute(command)
    with pytest.raises(Conflict, match="yolo acts without asking"):
        stream.execute(Configure(permission_policy="ask"))  # the turn that goes on began as yolo
    stream.execute(ended(1, "end_turn"))
    stream.execute(Configure(permission_policy="ask"))
