"""1,000 clients that come back at once from 100 events ago: how soon all are live, and what the database has to read."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any, cast

import asyncpg

from tests.bench.bench import OURS, Bench
from tests.bench.client import loading
from tests.bench.peers.missionstream import Missionstream
from tests.bench.record import Sample, at_most

CLIENTS = 1_000
BEHIND = 100
EVENTS = 300
MAX_READS = 5
_HERD = "a herd's statements"
_IDLE_SECONDS = 3.5
_STATEMENT = re.compile(
    r"^\d{4}-\d\d-\d\d [^\n]*?LOG:  execute [^:]*: (.*?)(?=^\d{4}-\d\d-\d\d )", re.MULTILINE | re.DOTALL
)
_EVENT_READ = re.compile(r"FROM \(SELECT \* FROM events|FROM events\b", re.IGNORECASE)


def run(bench: Bench) -> None:
    """Cold: nobody follows the mission when they come. Warm: they come back right after they were cut."""
    case = "reconnect"
    for number in bench.rounds(2, 1):
        with bench.fresh(OURS) as server:
            ours = cast(Missionstream, server)
            _time(bench, case, ours, number)
            if number == 0:
                _count(bench, case, ours)
    for value, what in (("log_reads", "reads of the log"), ("statements", "statements of any kind")):
        found = bench.results.spread(case, _HERD, OURS, value)
        bench.results.judge(case, f"at most {MAX_READS} {what} per mission", found, at_most(MAX_READS))


def _mission(ours: Missionstream) -> tuple[str, str]:
    """A mission with events, and the cursor that lacks the newest 100."""
    mission = ours.mission()
    with loading(ours, [ours.channel_of(mission, "sse")], lanes=1, pipeline=1) as load:
        load.say("run", window=EVENTS, batch=20, events=EVENTS, seconds=10, drain=5)
    rows, headers = ours.ask("GET", f"/api/control/missions/{mission}/events?latest=true&limit={BEHIND + 1}")
    return mission, f"{headers['X-Epoch']}:{rows[0]['position']}"


def _time(bench: Bench, case: str, ours: Missionstream, number: int) -> None:
    mission, cursor = _mission(ours)
    bench.await_quiet()
    time.sleep(1)
    for step in ("nobody follows", "again at once"):
        with loading(ours, [ours.channel_of(mission, "sse", cursor)], lanes=1) as load:
            before = ours.cpu()
            answer = load.connect(ours, "sse", CLIENTS, replay=BEHIND, concurrency=CLIENTS)
            used = ours.cpu().since(before)
            load.say("close")
        values: dict[str, Any] = {
            "seconds_until_all_live": answer["seconds"],
            "delivered": answer["delivered"],
            "cpu_us_per_client": used.server / CLIENTS * 1e6,
            "database_cpu_us_per_client": used.database / CLIENTS * 1e6,
            "client": answer["client"],
        }
        problem = "" if answer["delivered"] == CLIENTS * BEHIND and not answer["gaps"] else "not every event came once"
        bench.say(Sample(case, step, OURS, number, values, problem))


def _count(bench: Bench, case: str, ours: Missionstream) -> None:
    """Let the database log every statement during one more herd on a mission that nobody follows, and count those that
    the server does not also send for one quiet stream on another mission."""
    mission, cursor = _mission(ours)
    asyncio.run(_log_statements(ours.data_dir, "all"))
    log = ours.data_dir / "postgres.log"
    with loading(ours, [ours.channel("sse")], lanes=1) as load:
        load.connect(ours, "sse", 1)
        time.sleep(1)  # its own reading is no background
        start = log.stat().st_size
        time.sleep(_IDLE_SECONDS)
        background = set(_statements(log, start))
    start = log.stat().st_size
    with loading(ours, [ours.channel_of(mission, "sse", cursor)], lanes=1) as load:
        load.connect(ours, "sse", CLIENTS, replay=BEHIND, concurrency=CLIENTS)
    asyncio.run(_log_statements(ours.data_dir, "none"))
    statements = [text for text in _statements(log, start) if text not in background and "pg_reload_conf" not in text]
    of_events = [text for text in statements if _EVENT_READ.search(text)]
    values = {"statements": len(statements), "log_reads": len(of_events)}
    bench.say(Sample(case, _HERD, OURS, 0, values))


def _statements(log: Path, start: int) -> list[str]:
    with log.open(errors="replace") as text:
        text.seek(start)
        return _STATEMENT.findall(text.read() + "0000-00-00 ")


async def _log_statements(data_dir: Path, which: str) -> None:
    password = (data_dir / "database-password").read_text().strip()
    connection = await asyncpg.connect(
        host=str(data_dir / "run"), port=5432, user="missionstream", database="missionstream", password=password
    )
    try:
        await connection.execute(f"ALTER SYSTEM SET log_statement = '{which}'")
        await connection.fetchval("SELECT pg_reload_conf()")
    finally:
        await connection.close()
