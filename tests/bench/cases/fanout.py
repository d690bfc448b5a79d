"""1,000 subscribers on one mission at a fixed rate, beside nchan: processor time per delivery, latency, completeness."""

from typing import NamedTuple

from tests.bench.bench import OURS, Bench, measured, ready_load, rotated
from tests.bench.client import Load
from tests.bench.record import Sample, Values, at_most

SUBSCRIBERS = 1_000
DRAIN_SECONDS = 5.0
MAX_P99_MS = 50.0


class Step(NamedTuple):
    """A rate, and how much of nchan's processor time per delivery it may cost."""

    rate: int
    batch: int
    limit: float | None

    def __str__(self) -> str:
        return f"{self.rate}/s" + (f" by {self.batch}" if self.batch > 1 else "")


STEPS = (Step(50, 1, 1.0), Step(200, 1, 0.5), Step(1_000, 20, 0.2), Step(1_000, 1, None))


def sse(bench: Bench) -> None:
    """Server-sent events."""
    _run(bench, "fanout-sse", "sse")


def ws(bench: Bench) -> None:
    """WebSocket."""
    _run(bench, "fanout-ws", "ws")


def _run(bench: Bench, case: str, protocol: str) -> None:
    names = [name for name in (OURS, "nchan") if bench.has(name)]
    loads: dict[str, Load] = {}
    try:
        for number in bench.rounds(5 if protocol == "sse" else 3, 1):
            for step in STEPS:
                for name in rotated(names, number):
                    if name not in loads:
                        loads[name] = ready_load(bench.server(name), protocol, SUBSCRIBERS, lanes=16)
                        measured(bench.server(name), loads[name], rate=50, seconds=0.3, drain=5)
                    bench.await_quiet()
                    values, problem = _step(bench, name, loads[name], step)
                    bench.say(Sample(case, str(step), name, number, values, problem))
                    if problem:  # its backlog must not weigh on the next step
                        loads.pop(name).end()
    finally:
        for load in loads.values():
            load.end()
    _judge(bench, case)


def _step(bench: Bench, name: str, load: Load, step: Step) -> tuple[Values, str]:
    seconds = bench.seconds(3.0, 1.0)
    return measured(
        bench.server(name),
        load,
        rate=step.rate,
        batch=step.batch,
        seconds=seconds,
        drain=bench.seconds(DRAIN_SECONDS, 2.0),
    )


def _judge(bench: Bench, case: str) -> None:
    results = bench.results
    for step in STEPS:
        samples = results.of(case, str(step), OURS)
        faults = [sample.problem for sample in samples if sample.problem]
        if step.limit is None:
            continue
        results.judge_all(case, f"{step}: all delivered, in order", faults, len(samples))
        ratio = results.ratio(case, str(step), OURS, "nchan", "cpu_us")
        results.judge(case, f"{step}: CPU per delivery at most {step.limit} of nchan's", ratio, at_most(step.limit))
        if step.rate >= 200:
            p99 = results.spread(case, str(step), OURS, "p99_ms")
            results.judge(case, f"{step}: p99 under {MAX_P99_MS:.0f} ms", p99, lambda ms: ms < MAX_P99_MS, unit=" ms")
