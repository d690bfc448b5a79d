"""Twenty missions whose agents all work at once: processor time of the server per update of an agent, and no stall."""

import itertools
import os
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.bench import OURS, Bench
from tests.bench.peers.missionstream import Missionstream
from tests.bench.record import Sample, at_most

MISSIONS = 20
DELAY_SECONDS = 0.04
CHUNK = 12
"""The demo agent says a text in pieces of so many characters, with a pause of DELAY_SECONDS after each."""
MAX_CPU_US = 1_000.0
MAX_PAUSE_MS = 2_000.0
_TEXT = "twelve chars" * 12
_ROUND = f"think {_TEXT}\nsay {_TEXT}\nrun true\n"
_UPDATES_OF_ROUND = 2 * len(_TEXT) // CHUNK + 3
"""Two texts, and the call: opened, under way, done."""
_CASE, _STEP = "agents", f"{MISSIONS} missions, {1 / DELAY_SECONDS:.0f} updates/s each"


def run(bench: Bench) -> None:
    """All agents are up before anything is measured; each has a process of its own, and both cores are theirs."""
    faults = []
    for number in bench.rounds(2, 1):
        bench.await_quiet()
        with tempfile.TemporaryDirectory(prefix="bench-agents-", ignore_cleanup_errors=True) as folder:
            server = Missionstream(
                Path(folder),
                MISSIONSTREAM_MAX_PARALLEL_MISSIONS=str(MISSIONS),
                DEMO_AGENT_DELAY_SECONDS=str(DELAY_SECONDS),
            )
            os.sched_setaffinity(server.pid, set(machine.CORES))
            try:
                sample = _work(server, number, rounds=8 if bench.is_quick else 20)
            finally:
                server.stop()
        faults += [sample.problem] if sample.problem else []
        bench.say(sample)
    results = bench.results
    cpu = results.spread(_CASE, _STEP, OURS, "update_cpu_us")
    results.judge(
        _CASE, f"the server takes at most {MAX_CPU_US:.0f} µs an update", cpu, at_most(MAX_CPU_US), unit=" µs"
    )
    pause = results.spread(_CASE, _STEP, OURS, "worst_pause_ms")
    results.judge(_CASE, f"no agent's mission pauses {MAX_PAUSE_MS:.0f} ms", pause, at_most(MAX_PAUSE_MS), unit=" ms")
    results.judge_all(
        _CASE, "every turn ends well, and is whole in the log", faults, len(results.of(_CASE, _STEP, OURS))
    )


def _work(server: Missionstream, number: int, *, rounds: int) -> Sample:
    missions = [server.mission() for _ in range(MISSIONS)]
    _send(server, missions, "say hello")
    _await_ends(server, missions, seconds=120)
    heads = {mission: _events(server, mission)[-1]["sequence"] for mission in missions}
    before, began = machine.cpu_seconds([server.pid]), time.monotonic()
    _send(server, missions, _ROUND * rounds)
    _await_ends(server, missions, seconds=240)
    took, used = time.monotonic() - began, machine.cpu_seconds([server.pid]) - before
    updates = MISSIONS * rounds * _UPDATES_OF_ROUND
    pauses, problem = [], ""
    for mission in missions:
        events = [event for event in _events(server, mission) if event["sequence"] > heads[mission]]
        times = [datetime.fromisoformat(event["timestamp"]).timestamp() for event in events]
        pauses.append(max(later - earlier for earlier, later in itertools.pairwise(times)))
        calls = sum(event["event_type"] == "tool_result" for event in events)
        if calls != rounds:
            problem = f"{calls} of {rounds} tool results"
    values = {
        "updates_per_second": updates / took,
        "update_cpu_us": used / updates * 1e6,
        "worst_pause_ms": max(pauses) * 1e3,
    }
    return Sample(_CASE, _STEP, OURS, number, values, problem)


def _send(server: Missionstream, missions: list[str], content: str) -> None:
    for mission in missions:
        server.ask("POST", "/api/control/message", {"mission_id": mission, "content": content})


def _await_ends(server: Missionstream, missions: list[str], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        rows, _ = server.ask("GET", f"/api/control/missions?limit={2 * MISSIONS}")
        states = {row["id"]: row["status"] for row in rows}
        if all(states[mission] == "completed" for mission in missions):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {seconds:.0f} s: {sorted(states.values())}")
        time.sleep(0.5)


def _events(server: Missionstream, mission: str) -> list[dict[str, Any]]:
    return server.ask("GET", f"/api/control/missions/{mission}/events")[0]  # type: ignore[no-any-return]
