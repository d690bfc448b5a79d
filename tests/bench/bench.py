"""One run of the benchmark: its rounds, the servers it has started, and measuring one published load."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.bench import machine
from tests.bench.client import Load, LoadFailed
from tests.bench.peer import Peer, Running
from tests.bench.record import DISTURBED, Results, Sample, Values

OURS = "missionstream"
PEERS = Path(__file__).parent / "peers"
_LOOK_SECONDS = 0.3


def peers() -> dict[str, Peer]:
    """Every server that can be measured, by name: one file each."""
    names = sorted(path.stem for path in PEERS.glob("*.py"))
    return {name: import_module(f"tests.bench.peers.{name}").PEER for name in names}


class Bench:
    """Servers are started when first asked for and run, idle, until the end; `fresh` gives one of its own."""

    def __init__(self, console: Console, *, is_quick: bool) -> None:
        self.console = console
        self.is_quick = is_quick
        self.results = Results()
        self.peers = peers()
        self._stack = ExitStack()
        self._running: dict[str, Running] = {}
        self._patience = 5.0 if is_quick else 120.0
        for name, peer in self.peers.items():
            if (reason := peer.missing()) is not None:
                self.note(f"{name} is not measured: {reason}")

    def rounds(self, full: int, quick: int = 1) -> range:
        return range(quick if self.is_quick else full)

    def seconds(self, full: float, quick: float) -> float:
        return quick if self.is_quick else full

    def note(self, text: str) -> None:
        """Say something that belongs beside the figures."""
        self.results.notes.append(text)
        self.console.print(f"[dim]{text}[/dim]")

    def has(self, name: str) -> bool:
        return name in self.peers and self.peers[name].missing() is None

    def server(self, name: str) -> Running:
        """The server that the whole run shares."""
        if name not in self._running:
            self._running[name] = self._stack.enter_context(self.fresh(name))
        return self._running[name]

    @contextmanager
    def fresh(self, name: str) -> Iterator[Running]:
        """A server of this block's own."""
        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o711)
            running = self.peers[name].start(Path(folder))
            try:
                yield running
            finally:
                running.stop()

    def await_quiet(self) -> None:
        """Wait for other processes to leave the cores alone, for as long as the run's patience lasts."""
        while self._patience > 0:
            before = _busy()
            time.sleep(_LOOK_SECONDS)
            if max(now - then for now, then in zip(_busy(), before, strict=True)) < DISTURBED * _LOOK_SECONDS:
                return
            self._patience -= _LOOK_SECONDS

    def close(self) -> None:
        """Stop all servers."""
        self._stack.close()

    def say(self, sample: Sample) -> None:
        """Keep a sample, and show that the run goes on."""
        self.results.add(sample)
        values = ", ".join(
            f"{name} {value:.4g}" for name, value in sample.values.items() if name in _TOLD and value is not None
        )
        problem = f" [red]{sample.problem}[/red]" if sample.problem else ""
        self.console.print(f"{sample.case} · {sample.step} · {sample.server} #{sample.round + 1}: {values}{problem}")


_TOLD = (
    "deliveries_per_second", "events_per_second", "connects_per_second", "seconds_until_all_live", "kib_per_connection",
    "cpu_us", "p50_ms", "p99_ms", "rate_kept", "growth_mib", "subscribers_left", "statements",
    "updates_per_second", "update_cpu_us", "worst_pause_ms", "ms_per_task", "cpu_us_per_task", "client", "others",
)  # fmt: skip


def measured(server: Running, load: Load, **arguments: Any) -> tuple[Values, str]:
    """Publish with `arguments`: the rates, processor time per delivery and latencies, and what went wrong."""
    before, busy = server.cpu(), _busy()
    try:
        answer = load.say("run", **arguments)
    except LoadFailed as error:
        return {}, str(error)
    used = server.cpu().since(before)
    took = [now - then for now, then in zip(_busy(), busy, strict=True)]
    delivered = answer["delivered"]
    values: Values = {
        "offered_events": answer["offered"],
        "sent_events": answer["sent"],
        "delivered": delivered,
        "deliveries_per_second": answer["in_window"] / answer["window"],
        "bytes_per_delivery": answer["bytes"] / delivered if delivered else None,
        "cpu_us": used.server / delivered * 1e6 if delivered else None,
        "database_cpu_us": used.database / delivered * 1e6 if delivered else None,
        "server_busy": used.server / answer["seconds"],
        "database_busy": used.database / answer["seconds"],
        "client": answer["client"],
        "others": _others(took, used.server + used.database, answer),
        "is_complete": not (trouble := troubles(answer)),
    }
    for source, name in (("latency_ms", ""), ("ack_ms", "ack_")):
        for quantile in ("p50", "p99", "max"):
            values[f"{name}{quantile}_ms"] = answer[source][quantile] if answer[source] else None
    return values, trouble


def _busy() -> tuple[float, float]:
    return machine.busy_seconds(machine.SERVER_CORE), machine.busy_seconds(machine.CLIENT_CORE)


def _others(took: Sequence[float], used: float, answer: dict[str, Any]) -> float | None:
    """The larger part of a core that processes which are none of ours took; None where the two cores are one."""
    if machine.SERVER_CORE == machine.CLIENT_CORE:
        return None
    seconds: float = answer["seconds"]
    foreign: float = max(took[0] - used, took[1] - answer["client_cpu"])
    return max(foreign / seconds, 0.0)


def troubles(answer: dict[str, Any]) -> str:
    """What an answer of the load client tells of losses, in a few words; empty when everything arrived in order."""
    faults = [f"{answer[name]} {name}" for name in _FAULTS if answer.get(name)]
    if answer["sent"] < answer["offered"]:
        faults.append(f"overloaded: {answer['sent']} of {answer['offered']} events taken")
    if not answer["drained"]:
        faults.append(f"not drained: {answer['delivered']} of {answer['expected']} delivered")
    return "; ".join([*faults, answer["trouble"]] if answer["trouble"] else faults)


_FAULTS = ("refused", "gaps", "duplicates", "malformed", "lost_connections", "broken_frames")


def ready_load(server: Running, protocol: str, count: int, channels: int = 1, **options: Any) -> Load:
    """A load client whose subscribers, over new channels, are live."""
    load = Load(server, [server.channel(protocol) for _ in range(channels)], **options)
    with suppress_end(load):
        load.connect(server, protocol, count)
        load.say("idle", seconds=0.2)
    return load


@contextmanager
def suppress_end(load: Load) -> Iterator[None]:
    """Let the load client go when the block fails."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            load.end()
        raise


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """The names in another order each round, so that no one always goes first."""
    turn %= len(names) or 1
    return [*names[turn:], *names[:turn]]
