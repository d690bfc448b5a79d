"""The report: tables on the terminal, and the same as JSON."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import machine
from tests.bench.record import Results, short

COLUMNS = {
    "deliveries_per_second": "deliv/s",
    "deliveries_per_cpu_second": "deliv/CPU s",
    "cpu_us": "µs/deliv",
    "database_cpu_us": "db µs/deliv",
    "bytes_per_delivery": "B/deliv",
    "events_per_second": "events/s",
    "commands_per_second": "commands/s",
    "connects_per_second": "connects/s",
    "cpu_us_per_connect": "µs/connect",
    "database_cpu_us_per_connect": "db µs/connect",
    "kib_per_connection": "KiB/conn",
    "seconds_until_all_live": "s till live",
    "cpu_us_per_client": "µs/client",
    "updates_per_second": "updates/s",
    "update_cpu_us": "µs/update",
    "worst_pause_ms": "worst pause ms",
    "log_reads": "log reads",
    "statements": "statements",
    "subscribers_left": "left",
    "rate_kept": "rate kept",
    "growth_mib": "growth MiB",
    "mib_past_each_stalled": "MiB past each",
    "ms_per_task": "ms/task",
    "cpu_us_per_task": "µs/task",
    "database_cpu_us_per_task": "db µs/task",
    "cpu_us_per_request": "µs/request",
    "answer_kib": "KiB",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "command_p99_ms": "cmd p99 ms",
    "client": "client",
    "others": "others",
}
_MARK = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "[yellow]–[/yellow]"}


def show(results: Results, console: Console) -> None:
    """Every case's figures, least / middle / greatest of the rounds, then the targets."""
    rows = list(results.steps())
    for case in dict.fromkeys(case for case, _, _ in rows):
        steps = [(step, server) for name, step, server in rows if name == case]
        seen = [s for s in results.samples if s.case == case]
        names = [name for name in COLUMNS if any(s.values.get(name) is not None for s in seen)]
        table = Table(title=case, title_justify="left", padding=(0, 1))
        for title in ("step", "server", *(COLUMNS[name] for name in names), "faults"):
            table.add_column(
                title, justify="left" if title in ("step", "server", "faults") else "right", no_wrap=title != "faults"
            )
        for step, server in steps:
            cells = [_cell(results, case, step, server, name) for name in names]
            problems = [sample.problem for sample in results.of(case, step, server) if sample.problem]
            fault = f"[red]{problems[0][:60]}[/red] ({len(problems)}x)" if problems else ""
            table.add_row(step, server, *cells, fault)
        console.print(table)
    table = Table(title="targets", title_justify="left")
    for title in ("case", "wanted", "measured", "met"):
        table.add_column(title)
    for target in results.targets:
        table.add_row(target.case, target.wanted, target.measured, _MARK[target.is_met])
    console.print(table)
    missed = sum(target.is_met is False for target in results.targets)
    console.print(f"{sum(target.is_met is True for target in results.targets)} targets met, {missed} missed")


def _cell(results: Results, case: str, step: str, server: str, name: str) -> str:
    if name == "others":  # of all rounds, those that are not judged too
        found = [s.values[name] for s in results.of(case, step, server) if s.values.get(name) is not None]
        return f"{max(found):.2f}" if found else ""
    spread = results.spread(case, step, server, name)
    if spread is None:
        return ""
    return short(spread.middle) if spread.rounds == 1 else str(spread)


def write(results: Results, path: Path, *, is_quick: bool, seconds: float) -> None:
    """The whole run as JSON: every sample of every round, the targets, and the machine."""
    body: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "is_quick": is_quick,
        "seconds": round(seconds, 1),
        "machine": machine.describe(),
        "notes": results.notes,
        "targets": [target._asdict() for target in results.targets],
        "samples": [sample._asdict() for sample in results.samples],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, indent=1) + "\n")
