"""Snapshots and pages of a long mission: their time must not grow with the mission."""

from typing import cast

from tests.bench.bench import OURS, Bench
from tests.bench.client import loading
from tests.bench.peers.missionstream import AUTH, Missionstream, body
from tests.bench.record import Sample, at_most

LONG, LITTLE = 100_000, 1_000
PAGE = 200
MOST = 1.5
TOOL = body("tool_result", ',"tool_call_id":"call","tool_name":"bash"')


def run(bench: Bench) -> None:
    """One request after another over HTTP, the two missions in turn."""
    case = "pages"
    long = LONG // 4 if bench.is_quick else LONG
    with bench.fresh(OURS) as server:
        ours = cast(Missionstream, server)
        missions = {size: _filled(ours, size) for size in (LITTLE, long)}
        for number in bench.rounds(3, 1):
            for size, mission in missions.items():
                for step, path in _paths(size).items():
                    _measure(bench, ours, Sample(case, step, f"{size:,} events", number, {}), mission, path)
    for step in _paths(long):
        pair = (f"{long:,} events", f"{LITTLE:,} events")
        ratio = bench.results.ratio(case, step, *pair, "p50_ms")
        bench.results.judge(case, f"{step}: {long:,} events at most {MOST}x {LITTLE:,}", ratio, at_most(MOST))


def _paths(size: int) -> dict[str, str]:
    return {
        "snapshot": "snapshot",
        f"newest {PAGE} events": f"events?latest=true&limit={PAGE}",
        f"{PAGE} events from the middle": f"events?since_seq={size // 2}&limit={PAGE}",
    }


def _filled(ours: Missionstream, size: int) -> str:
    mission = ours.mission()
    with loading(ours, [ours.channel_of(mission, "sse")], lanes=4, body=TOOL) as load:
        load.say("run", window=2_000, batch=250, events=size, seconds=120, drain=30)
        # a mission has messages too; a snapshot reaches back to the newest of them
    with loading(ours, [ours.channel_of(mission, "sse")], body=body("assistant_message")) as load:
        load.say("run", window=12, events=12, seconds=10, drain=10)
    return mission


def _measure(bench: Bench, ours: Missionstream, blank: Sample, mission: str, path: str) -> None:
    request = f"GET /api/control/missions/{mission}/{path} HTTP/1.1\r\n".encode() + AUTH + b"\r\n"
    bench.await_quiet()
    with loading(ours, []) as load:
        load.say("get", request=request, n=10)
        before = ours.cpu()
        count = 100 if bench.is_quick else 200
        answer = load.say("get", request=request, n=count)
        used = ours.cpu().since(before)
    latency = answer["latency_ms"] or {}
    values = {
        "p50_ms": latency.get("p50"),
        "p99_ms": latency.get("p99"),
        "answer_kib": answer["answer_bytes"] / 1024,
        "cpu_us_per_request": used.server / count * 1e6,
        "database_cpu_us_per_request": used.database / count * 1e6,
    }
    bench.say(blank._replace(values=values, problem=answer["trouble"]))
