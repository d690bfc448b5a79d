"""The picture of a run: processor time and latency beside nchan, saturation, and durable appends."""

from pathlib import Path
from typing import Any

from tests.bench.bench import OURS
from tests.bench.cases.append import GROUPED, SINGLE, WRITERS, step_of
from tests.bench.cases.fanout import MAX_P99_MS, STEPS
from tests.bench.cases.saturation import SHAPES
from tests.bench.record import Results, short

_COLOURS = {OURS: "#2a6f97", "nchan": "#bc6c25", "aiohttp_sse": "#8d99ae", GROUPED: "#2a6f97", SINGLE: "#8d99ae"}


def draw(results: Results, path: Path) -> None:
    """Four panels of medians with their range. ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 2, figsize=(10, 7))
    steps = [str(step) for step in STEPS]
    peers = (OURS, "nchan")
    _bars(panels[0][0], results, "fanout-sse", steps, peers, "cpu_us", "CPU per delivery, µs (1,000 SSE subscribers)")
    _bars(panels[0][1], results, "fanout-sse", steps, peers, "p99_ms", "p99 latency, ms (1,000 SSE subscribers)")
    panels[0][1].axhline(MAX_P99_MS, color="#444", linewidth=0.8, linestyle=":")
    shapes = [str(shape) for shape in SHAPES]
    _bars(
        panels[1][0], results, "saturation-sse", shapes, (OURS, "aiohttp_sse"), "deliveries_per_cpu_second",
        "deliveries per CPU second, saturated",
    )  # fmt: skip
    writers = [step_of(count) for count in WRITERS]
    _bars(panels[1][1], results, "append", writers, (GROUPED, SINGLE), "events_per_second", "durable events per second")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _bars(
    axes: Any, results: Results, case: str, steps: list[str], servers: tuple[str, ...], value: str, title: str
) -> None:
    width = 0.8 / len(servers)
    for number, server in enumerate(servers):
        for place, step in enumerate(steps):
            found = results.spread(case, step, server, value)
            if found is None:
                continue
            at = place + (number - (len(servers) - 1) / 2) * width
            error = [[found.middle - found.least], [found.greatest - found.middle]]
            label = server if place == 0 else None
            axes.bar(at, found.middle, width * 0.95, color=_COLOURS[server], yerr=error, ecolor="#444", label=label)
            axes.annotate(short(found.middle), (at, found.middle), ha="center", va="bottom", fontsize=7)
    axes.set_title(title, fontsize=10)
    axes.set_yscale("log")
    axes.set_ylim(top=axes.get_ylim()[1] * 3)  # room for the legend
    axes.set_xticks(range(len(steps)), [step.replace(", ", "\n") for step in steps], fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, loc="upper right", ncols=2)
