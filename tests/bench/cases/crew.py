"""Crews: what the engine costs for a task, whatever the size of its mission, and lists of missions with their counts."""

import asyncio
import http.client
import json
import time
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from server.dialects.crew import ids
from server.missions.crew import CrewRules
from server.missions.crew.commands import Create, NewTask
from storage.embedded import attach
from storage.ids import new_id
from storage.pool import Database
from storage.writer import Writers
from tests.bench.bench import OURS, Bench
from tests.bench.client import loading
from tests.bench.peers.missionstream import AUTH, TOKEN, Missionstream
from tests.bench.record import Sample, at_most

WIDTH = 10
LITTLE, LARGE = 100, 1_000
MOST = 1.3
MISSIONS, TASKS_EACH, LISTED = 10_000, 10, 100
LIST_MS = 10.0
_CASE = "crew"
_SETTLE_SECONDS = 60.0
_AT_ONCE = 64


class Client:
    """One connection of the owner's, kept; the crew API in one workspace, with a crew whose agents are people."""

    def __init__(self, ours: Missionstream) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=60)
        _, headers = ours.ask("GET", "/api/v1/ws-token")
        self.workspace_id = UUID(headers["X-Workspace-ID"])
        self.crew: str = self.do("POST", "/crews", {"name": "Bench", "slug": f"bench-{new_id().hex[-12:]}"})["id"]
        hand = {"name": "Hand", "slug": f"hand-{new_id().hex[-12:]}", "crew_id": self.crew, "cli_adapter": "NONE"}
        self.lead: str = self.do("POST", "/agents", {**hand, "agent_role": "LEAD"})["id"]

    def do(self, method: str, path: str, content: Any = None) -> Any:
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": "application/json",
            "X-Workspace-ID": str(self.workspace_id),
        }
        self._connection.request(method, f"/api/v1{path}", json.dumps(content or {}), headers)
        answer = self._connection.getresponse()
        raw = answer.read()
        if answer.status // 100 != 2:
            raise RuntimeError(f"{method} {path}: {answer.status} {raw[:300]!r}")
        return json.loads(raw) if raw else None


def run(bench: Bench) -> None:
    """Work layered missions by PATCHes, one after the other; then read lists."""
    with bench.fresh(OURS) as server:
        ours = cast(Missionstream, server)
        client = Client(ours)
        _worked(client, LITTLE)  # warm
        for number in bench.rounds(3, 1):
            for size in (LITTLE, LARGE):
                bench.await_quiet()
                _measure_work(bench, ours, client, size, number)
        _lists(bench, ours, client)
    for value in ("ms_per_task", "cpu_us_per_task"):
        ratio = bench.results.ratio(_CASE, "work", f"{LARGE:,} tasks", f"{LITTLE:,} tasks", value)
        wanted = f"{value}: {LARGE:,} tasks at most {MOST}x {LITTLE:,}"
        bench.results.judge(_CASE, wanted, ratio, at_most(MOST))


def _measure_work(bench: Bench, ours: Missionstream, client: Client, size: int, number: int) -> None:
    before = ours.cpu()
    took = _worked(client, size)
    used = ours.cpu().since(before)
    values = {
        "ms_per_task": took / size * 1e3,
        "cpu_us_per_task": used.server / size * 1e6,
        "database_cpu_us_per_task": used.database / size * 1e6,
    }
    bench.say(Sample(_CASE, "work", f"{size:,} tasks", number, values))


def _worked(client: Client, size: int) -> float:
    """Seconds from the start of a layered mission to its REVIEW, by people who do every task at once.

    The engine sees every change: it announces each task that becomes ready, and settles the mission in the end.
    """
    path = f"/crews/{client.crew}/missions"
    mission = client.do("POST", path, {"title": f"{size} tasks", "lead_agent_id": client.lead})["id"]
    layers: list[list[str]] = []
    for number in range(size):
        layer, place = divmod(number, WIDTH)
        if not place:
            layers.append([])
        needs = [layers[-2][place], layers[-2][(place + 1) % WIDTH]] if layer else []
        body = {"title": f"{layer}.{place}", "depends_on": needs, "assigned_agent_id": client.lead}
        made = client.do("POST", f"{path}/{mission}/tasks", body)["id"]
        layers[-1].append(made)
    began = time.perf_counter()
    client.do("POST", f"{path}/{mission}/start")
    for made in (task for layer in layers for task in layer):
        client.do("PATCH", f"{path}/{mission}/tasks/{made}", {"status": "IN_PROGRESS"})
        client.do("PATCH", f"{path}/{mission}/tasks/{made}", {"status": "COMPLETED", "result_summary": "done"})
    ends = time.perf_counter() + _SETTLE_SECONDS
    while client.do("GET", f"{path}/{mission}")["status"] != "REVIEW":
        if time.perf_counter() > ends:
            raise RuntimeError(f"the mission of {size} tasks does not come to REVIEW")
        time.sleep(0.002)
    return time.perf_counter() - began


def _lists(bench: Bench, ours: Missionstream, client: Client) -> None:
    count = MISSIONS // 10 if bench.is_quick else MISSIONS
    asyncio.run(_fill(ours.data_dir, client, count))
    step, name = f"list of {LISTED}", f"{count:,} missions, {count * TASKS_EACH:,} tasks"
    request = f"GET /api/v1/missions?limit={LISTED} HTTP/1.1\r\nX-Workspace-ID: {client.workspace_id}\r\n".encode()
    for number in bench.rounds(3, 1):
        bench.await_quiet()
        with loading(ours, []) as load:
            load.say("get", request=request + AUTH + b"\r\n", n=20)
            answer = load.say("get", request=request + AUTH + b"\r\n", n=200)
        latency = answer["latency_ms"] or {}
        values = {
            "p50_ms": latency.get("p50"),
            "p99_ms": latency.get("p99"),
            "answer_kib": answer["answer_bytes"] / 1024,
        }
        bench.say(Sample(_CASE, step, name, number, values, problem=answer["trouble"]))
    found = bench.results.spread(_CASE, step, name, "p50_ms")
    bench.results.judge(_CASE, f"{step}, {name}: p50 under {LIST_MS:.0f} ms", found, at_most(LIST_MS), unit=" ms")


async def _fill(data_dir: Path, client: Client, count: int) -> None:
    """Missions of some tasks each, written beside the server into its database."""
    crew_id, lead_id = ids.read(client.crew), ids.read(client.lead)
    assert crew_id is not None
    assert lead_id is not None
    database = Database((await attach(data_dir)).connect_kwargs)
    await database.open()
    writers = Writers(database, {"crew": CrewRules()}, lambda workspace_id, events: None)

    async def make(number: int) -> None:
        mission_id = new_id()
        tasks = tuple(NewTask(id=new_id(), title=f"task {place}") for place in range(TASKS_EACH))
        made = Create(
            id=mission_id, crew_id=crew_id, lead_agent_id=lead_id, title=f"mission {number}", tasks=tasks, cause="clone"
        )
        await writers.execute(client.workspace_id, mission_id, "crew", made)

    try:
        for start in range(0, count, _AT_ONCE):
            await asyncio.gather(*(make(number) for number in range(start, min(count, start + _AT_ONCE))))
    finally:
        await writers.close()
        await database.close()
