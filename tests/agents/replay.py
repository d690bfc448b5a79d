"""An agent that plays its side of a recorded wire over stdio, and insists that the client plays the recorded other."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Message = dict[str, Any]


class Replay:
    """Sends what the agent sent, each after the client's messages that came before it in the recording."""

    def __init__(self) -> None:
        self._early: list[Message] = []
        self._ids: dict[Any, Any] = {}

    def play(self, entries: Iterator[Message]) -> None:
        """Play to the end; what is sent after the client's last message waits for nothing."""
        for entry in entries:
            message = entry["message"]
            if entry["from"] == "client":
                self._expect(message)
            else:
                self._send(message)
        sys.stdin.read()

    def _expect(self, recorded: Message) -> None:
        given = self._taken(recorded)
        if "method" in recorded:
            self._ids[recorded.get("id")] = given.get("id")
        elif given != recorded:
            sys.exit(f"expected {json.dumps(recorded)} but was told {json.dumps(given)}")

    def _taken(self, recorded: Message) -> Message:
        while True:
            for message in self._early:
                if _kind(message) == _kind(recorded):
                    self._early.remove(message)
                    return message
            line = sys.stdin.readline()
            if not line:
                sys.exit(f"the client left before it sent {json.dumps(recorded)}")
            self._early.append(json.loads(line))

    def _send(self, message: Message) -> None:
        if "method" not in message:
            message = {**message, "id": self._ids[message["id"]]}
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def _kind(message: Message) -> tuple[Any, Any]:
    return (message["method"], None) if "method" in message else (None, message["id"])


if __name__ == "__main__":
    Replay().play(json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines())
