"""Our own server as a user runs it: authenticated, durable, its PostgreSQL beside it on the same core."""

import http.client
import json
import re
import time
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.peer import Body, Channel, Cpu, Peer, begin, python, stop, upgrade

TOKEN = "bench-token-of-the-owner"
AUTH = f"Host: bench\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
_START_SECONDS = 60.0


def _item(event_type: str, more: str = "") -> bytes:
    return f'{{"event_id":"\x02","event_type":"{event_type}","content":"\x01\x03","metadata":{{}}{more}}}'.encode()


def body(event_type: str = "x_bench", more: str = "") -> Body:
    """The body of POST …/events with events of one type."""
    return Body(b'{"events":[', _item(event_type, more), b",", b"]}", 500)


class Missionstream:
    """A running server. It runs with an empty data directory, made in `directory`."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.body = body()
        self.data_dir = directory / "data"
        directory.chmod(0o711)  # PostgreSQL of a root server runs as another user
        log = directory / "server.log"
        arguments = ["-P", "-m", "server.cli", "serve", "--port", "0", "--data-dir", str(self.data_dir)]
        environment = {"MISSIONSTREAM_BOOTSTRAP_TOKEN": TOKEN, "MISSIONSTREAM_HOST": "127.0.0.1", **environment}
        self._process = begin(python(*arguments), log, environment)
        self.pid = self._process.pid
        self.port = self.publish_port = self._await_port(log)
        first = (self.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0]
        self._postmaster = int(first)
        self._ws_token: tuple[float, str] = (0.0, "")

    def _await_port(self, log: Path) -> int:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            found = re.search(r"url=http://127\.0\.0\.1:(\d+)", log.read_text())
            if found:
                return int(found[1])
            time.sleep(0.05)
        stop(self._process)
        raise RuntimeError(f"the server does not start:\n{log.read_text()[-3000:]}")

    def ask(self, method: str, path: str, content: Any = None) -> tuple[Any, dict[str, str]]:
        """One request as the owner: the decoded answer and its headers. RuntimeError unless it is 2xx."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
            connection.request(method, path, None if content is None else json.dumps(content), headers)
            answer = connection.getresponse()
            raw = answer.read().decode()
            if answer.status // 100 != 2:
                raise RuntimeError(f"{method} {path}: {answer.status} {raw[:300]}")
            is_json = answer.headers.get_content_type() == "application/json"
            return (json.loads(raw) if is_json else raw), dict(answer.headers)
        finally:
            connection.close()

    def metric(self, name: str) -> float | None:
        """The sum of a metric's samples; None when there is no such metric."""
        text, _ = self.ask("GET", "/metrics")
        found = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found)) if found else None

    def mission(self) -> str:
        """The id of a new mission."""
        made, _ = self.ask("POST", "/api/control/missions", {"title": "bench"})
        return str(made["id"])

    def channel(self, protocol: str) -> Channel:
        return self.channel_of(self.mission(), protocol)

    def channel_of(self, mission: str, protocol: str, since: str = "") -> Channel:
        """A mission as a channel; a stream from the cursor `since`, or from now."""
        publish = f"POST /api/control/missions/{mission}/events HTTP/1.1\r\n".encode() + AUTH
        publish += b"Content-Type: application/json\r\n"
        if protocol == "sse":
            query = f"mission={mission}" + (f"&since={since}" if since else "")
            subscribe = f"GET /api/control/stream?{query} HTTP/1.1\r\n".encode() + AUTH
            return Channel(publish, subscribe + b"Accept: text/event-stream\r\n\r\n")
        asked = {"since": since} if since else {"since_seq": 0}
        hello = (
            {"type": "auth", "token": self._token()},
            {"type": "subscribe", "channel": f"timeline:{mission}", "payload": asked},
        )
        return Channel(publish, upgrade("/ws"), tuple(json.dumps(frame).encode() for frame in hello))

    def _token(self) -> str:
        made_at, token = self._ws_token
        if time.monotonic() - made_at > 300:  # it is good for 15 minutes
            token = self.ask("GET", "/api/v1/ws-token")[0]["token"]
            self._ws_token = (time.monotonic(), token)
        return token

    def ready(self, protocol: str) -> bytes:
        return b"\nid: " if protocol == "sse" else b'"subscribed"'

    def cpu(self) -> Cpu:
        database = machine.tree(self._postmaster)
        own = [pid for pid in machine.tree(self.pid) if pid not in database]
        return Cpu(machine.cpu_seconds(own), machine.cpu_seconds(database))

    def memory(self) -> int:
        return machine.resident_bytes([self.pid])

    def stop(self) -> None:
        stop(self._process)


PEER = Peer("missionstream", "Missionstream", ("sse", "ws"), Missionstream)
