"""Opening, holding and closing thousands of connections: speed, memory, and that nothing stays behind."""

import time
from typing import cast

from tests.bench.bench import OURS, Bench
from tests.bench.client import loading
from tests.bench.peer import Running
from tests.bench.peers.missionstream import Missionstream
from tests.bench.record import Sample, at_most

IDLE = 5_000
CHURN = 10_000
MAX_KIB = {"sse": 16.0, "ws": 20.0}
SETTLE_SECONDS = 20.0


def idle(bench: Bench) -> None:
    """Memory per idle connection, and connections opened per second."""
    names = [name for name in (OURS, "nchan") if bench.has(name)]
    for number in bench.rounds(2, 1):
        for protocol in MAX_KIB:
            for name in names:
                bench.await_quiet()
                with bench.fresh(name) as server:
                    bench.say(_idle(server, name, protocol, number, IDLE // 3 if bench.is_quick else IDLE))
    for protocol, most in MAX_KIB.items():
        found = bench.results.spread("idle", protocol, OURS, "kib_per_connection")
        bench.results.judge(
            "idle",
            f"{protocol}: at most {most:.0f} KiB a connection",
            found,
            at_most(most),
            unit=" KiB",
        )


def _idle(server: Running, name: str, protocol: str, number: int, count: int) -> Sample:
    with loading(server, [server.channel(protocol)]) as load:
        load.connect(server, protocol, 20)  # whatever is made once is made
        load.say("close")
        time.sleep(0.5)
        memory, before = server.memory(), server.cpu()
        opened = load.connect(server, protocol, count)
        used = server.cpu().since(before)
        held = load.say("idle", seconds=4)
        values = {
            "connects_per_second": count / opened["seconds"],
            "cpu_us_per_connect": used.server / count * 1e6,
            "database_cpu_us_per_connect": used.database / count * 1e6,
            "kib_per_connection": (server.memory() - memory) / count / 1024,
            "client": opened["client"],
        }
        problem = held["trouble"] if held["ready"] != count else ""
    return Sample("idle", protocol, name, number, values, problem)


def churn(bench: Bench) -> None:
    """Connections that come and go, politely and not, must leave no subscriber."""
    faults = []
    rounds = (("sse", "fin"), ("ws", "rst"))
    with bench.fresh(OURS) as server:
        ours = cast(Missionstream, server)
        for number, (protocol, how) in enumerate(rounds):
            count = CHURN if not bench.is_quick else CHURN // 10
            with loading(server, [server.channel(protocol)]) as load:
                opened = load.connect(server, protocol, count)
                peak = ours.metric("missionstream_subscribers")
                load.say("close", how=how)
                began = time.monotonic()
                while (left := ours.metric("missionstream_subscribers")) and time.monotonic() - began < SETTLE_SECONDS:
                    time.sleep(0.2)
            values = {
                "connects": count,
                "connects_per_second": count / opened["seconds"],
                "subscribers_peak": peak,
                "subscribers_left": left,
                "seconds_to_settle": time.monotonic() - began,
                "memory_mib": server.memory() / (1 << 20),
            }
            fault = f"{left:.0f} subscribers stay" if left else ""
            bench.say(Sample("churn", f"{protocol}, {how}", OURS, number, values, fault))
            faults += [fault] if fault else []
    bench.results.judge_all("churn", "subscribers return to 0 after connects and disconnects", faults, len(rounds))
