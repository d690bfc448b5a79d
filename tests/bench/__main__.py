"""`make bench`: measures the server beside its peers. Never fails for a missed target; shows it."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from tests.bench import client, machine, plot, report
from tests.bench.bench import Bench
from tests.bench.cases import agents, append, connections, crew, fanout, pages, reconnect, saturation, stalled
from tests.bench.peer import ROOT
from tests.bench.record import DISTURBED

CASES: Mapping[str, Callable[[Bench], None]] = {
    "fanout-sse": fanout.sse,
    "fanout-ws": fanout.ws,
    "saturation-sse": saturation.sse,
    "saturation-ws": saturation.ws,
    "idle": connections.idle,
    "churn": connections.churn,
    "reconnect": reconnect.run,
    "stalled": stalled.run,
    "append": append.run,
    "pages": pages.run,
    "agents": agents.run,
    "crew": crew.run,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the chosen cases and report."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about two minutes, one round of most cases")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"some of: {', '.join(CASES)}")
    parser.add_argument("--json", type=Path, default=ROOT / "tests/bench/results/bench.json", metavar="FILE")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs/bench.png", metavar="FILE")
    chosen = parser.parse_args(arguments)
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    began = time.monotonic()
    machine.raise_files()
    client.compiled()
    bench = Bench(console, is_quick=chosen.quick)
    console.print(" · ".join(f"{name} {value}" for name, value in machine.describe().items()))
    bench.note(
        f"server and its PostgreSQL on core {machine.SERVER_CORE}, load client on core {machine.CLIENT_CORE}; µs/deliv is "
        "the server's own processor time, db its PostgreSQL's; a client near 1 is the limit itself, others is the most "
        f"that foreign processes took of either core: rounds above {DISTURBED} are judged only where there are no quieter ones"
    )
    try:
        for name in chosen.only or CASES:
            try:
                CASES[name](bench)
            except Exception as error:  # one case that fails must not hide the others
                bench.note(f"{name} failed: {type(error).__name__}: {error}")
    finally:
        bench.close()
    report.show(bench.results, console)
    report.write(bench.results, chosen.json, is_quick=chosen.quick, seconds=time.monotonic() - began)
    if not chosen.only:
        plot.draw(bench.results, chosen.plot)
    console.print(f"{time.monotonic() - began:.0f} s; every sample is in {chosen.json}")


if __name__ == "__main__":
    main()
