"""As fast as it goes, with a bounded number of events outstanding: deliveries per processor second beside simple servers."""

from typing import NamedTuple

from tests.bench.bench import OURS, Bench, measured, ready_load, rotated
from tests.bench.record import Sample, at_least

OUTSTANDING = 64


class Shape(NamedTuple):
    """Channels and subscribers, events per POST, and the least ratio of deliveries per CPU second to the obvious server's."""

    channels: int
    subscribers: int
    batch: int
    wanted: float

    def __str__(self) -> str:
        where = (
            f"{self.channels} x {self.subscribers // self.channels}" if self.channels > 1 else f"1 x {self.subscribers}"
        )
        return f"{where}, {self.batch} a POST"


SHAPES = (Shape(1, 1_000, 1, 10.0), Shape(1, 100, 1, 1.0), Shape(100, 1_000, 1, 1.0), Shape(100, 1_000, 16, 1.0))


def sse(bench: Bench) -> None:
    """Against the obvious server."""
    _run(bench, "saturation-sse", "sse", "aiohttp_sse", SHAPES)


def ws(bench: Bench) -> None:
    """Against broadcast() of the websockets package, for comparison only."""
    _run(bench, "saturation-ws", "ws", "websockets", (SHAPES[0],))


def _run(bench: Bench, case: str, protocol: str, other: str, shapes: tuple[Shape, ...]) -> None:
    names = [name for name in (OURS, other) if bench.has(name)]
    for number in bench.rounds(3, 1):
        for shape in shapes:
            for name in rotated(names, number):
                bench.await_quiet()
                server = bench.server(name)
                load = ready_load(server, protocol, shape.subscribers, shape.channels, lanes=16)
                try:
                    values, problem = measured(
                        server, load, window=OUTSTANDING * shape.channels // min(shape.channels, 4), batch=shape.batch,
                        seconds=bench.seconds(2.0, 1.0), drain=10,
                    )  # fmt: skip
                finally:
                    load.end()
                if values.get("cpu_us"):
                    values["deliveries_per_cpu_second"] = 1e6 / values["cpu_us"]
                bench.say(Sample(case, str(shape), name, number, values, problem))
    if protocol == "sse":
        for shape in shapes:
            ratio = bench.results.ratio(case, str(shape), OURS, other, "deliveries_per_cpu_second")
            wanted = f"{shape}: deliveries per CPU second at least {shape.wanted:.0f}x aiohttp-sse's"
            bench.results.judge(case, wanted, ratio, at_least(shape.wanted))
