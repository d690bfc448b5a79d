"""50 of 1,000 subscribers stop reading: the others keep their rate, memory stays bounded, and nothing is lost in the end."""

from tests.bench import machine
from tests.bench.bench import OURS, Bench, measured, ready_load
from tests.bench.record import Sample, at_least, at_most

SUBSCRIBERS = 1_000
STALLED = 50
PADDING = 4_000
LEAST_RATE = 0.8
RING_MIB, READER_KIB = 1.0, 128
MOST_MIB = RING_MIB + STALLED * READER_KIB / 1024
"""A ring, and for each reader its budget of written bytes and the piece that it reads."""


def run(bench: Bench) -> None:
    """First all read; then some stop, far beyond what the kernel's buffers hide; then they read on."""
    case = "stalled"
    faults: list[str] = []
    for number in bench.rounds(2, 1):
        with bench.fresh(OURS) as server:
            load = ready_load(server, "sse", SUBSCRIBERS, lanes=16, padding=PADDING)
            try:
                arguments = {"window": 64, "batch": 4, "seconds": bench.seconds(4.0, 2.0), "drain": 10}
                measured(server, load, **arguments | {"seconds": 1.0})
                machine.reset_peak(server.pid)
                healthy, problem = measured(server, load, **arguments)
                healthy["peak_mib"] = machine.peak_bytes(server.pid) / (1 << 20)
                bench.say(Sample(case, "all read", OURS, number, healthy, problem))
                bench.await_quiet()
                load.say("stall", n=STALLED)
                machine.reset_peak(server.pid)
                values, problem = measured(server, load, **arguments)
                values["peak_mib"] = machine.peak_bytes(server.pid) / (1 << 20)
                values["growth_mib"] = values["peak_mib"] - healthy["peak_mib"]
                values["mib_past_each_stalled"] = values["sent_events"] * values["bytes_per_delivery"] / (1 << 20)
                rate = values["deliveries_per_second"] / (SUBSCRIBERS - STALLED)
                values["rate_kept"] = rate / (healthy["deliveries_per_second"] / SUBSCRIBERS)
                load.say("stall", n=0)
                drained = load.say("drain", timeout=30)
                if drained["owed"] or drained["gaps"] or drained["duplicates"]:
                    problem = f"{drained['owed']} owed, {drained['gaps']} lost after reading on; {drained['trouble']}"
                faults += [problem] if problem else []
                bench.say(Sample(case, f"{STALLED} stalled", OURS, number, values, problem))
            finally:
                load.end()
    _judge(bench, case, faults)


def _judge(bench: Bench, case: str, faults: list[str]) -> None:
    results, step = bench.results, f"{STALLED} stalled"
    kept = results.spread(case, step, OURS, "rate_kept")
    growth = results.spread(case, step, OURS, "growth_mib")
    results.judge(case, f"the others keep at least {LEAST_RATE} of their rate", kept, at_least(LEAST_RATE))
    results.judge(case, f"memory grows by at most {MOST_MIB:.1f} MiB", growth, at_most(MOST_MIB), unit=" MiB")
    results.judge_all(case, "nothing is lost, the stalled ones catch up", faults, len(results.of(case, step, OURS)))
