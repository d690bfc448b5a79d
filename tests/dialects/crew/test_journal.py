"""The journal over HTTP: pages, filters, counts, and the stream that loses nothing."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientSession

from server.auth import tokens
from server.dialects.crew import ids
from storage import identity
from streams.event import Draft
from tests.dialects.control.driving import Frame, Stream
from tests.dialects.crew.people import Person, Team
from tests.dialects.crew.test_channels import connected, subscribed
from tests.dialects.crew.world import TASK_WAYS, UNKNOWN, WAYS, Crew, a_crew, refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")
JOURNAL = "/api/v1/journal"
REQUIRED = {"id", "workspace_id", "ts", "entry_type", "severity", "priority", "actor_type", "summary"}
OPTIONAL = {"crew_id", "agent_id", "mission_id", "actor_id", "trace_id", "payload", "refs"}


async def entries(crew: Crew, **query: Any) -> list[dict[str, Any]]:
    return (await page(crew.boss, **query))["entries"]  # type: ignore[no-any-return]


async def page(person: Person, path: str = JOURNAL, **query: Any) -> Any:
    asked = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in query.items())
    return await person.get(f"{path}?{asked}")


async def lived(crew: Crew) -> dict[str, Any]:
    """A mission that went on, with tasks of every end."""
    mission = await crew.mission("IN_PROGRESS")
    for status in TASK_WAYS:
        await crew.task(mission, status)
    return await crew.moved(mission, "REVIEW", "COMPLETED")


async def test_a_page_is_newest_first_and_every_entry_whole(crew: Crew) -> None:
    mission = await lived(crew)
    found = await page(crew.boss, mission_id=mission["id"])
    assert found["count"] == len(found["entries"])
    assert found["next_cursor"] == ""
    assert [entry["id"] for entry in found["entries"]] == sorted(
        (entry["id"] for entry in found["entries"]), reverse=True
    )
    for entry in found["entries"]:
        assert entry.keys() >= REQUIRED
        assert entry.keys() - REQUIRED <= OPTIONAL
        assert None not in entry.values()
        assert (entry["mission_id"], entry["crew_id"]) == (mission["id"], crew.id)
        assert entry["trace_id"] == mission["trace_id"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["ts"])
        assert await crew.boss.get(f"{JOURNAL}/{entry['id']}") == entry
    assert await page(crew.boss, f"{JOURNAL}/count", mission_id=mission["id"]) == {"total": found["count"]}
    moves = [entry for entry in found["entries"] if entry["entry_type"] == "mission.status_change"][::-1]
    assert [entry["payload"] for entry in moves] == [
        {"action": "patch", "details": "", "to": "IN_PROGRESS"},
        {"action": "patch", "details": "", "from": "IN_PROGRESS", "to": "REVIEW"},
        {"action": "patch", "details": "", "from": "REVIEW", "to": "COMPLETED"},
    ]
    assert [(entry["severity"], entry["priority"]) for entry in moves] == [
        ("info", "normal"),
        ("notice", "normal"),
        ("notice", "high"),
    ]


async def test_creation_and_edits_are_no_entries(crew: Crew) -> None:
    mission = await crew.mission()
    task = await crew.task(mission, assigned_agent_id=crew.worker)
    needed = await crew.task(mission)
    await crew.patch(mission, task, title="new", result_summary="r", depends_on=f'["{needed["id"]}"]')
    await crew.boss.ask("PATCH", crew.path(mission), {"title": "new", "description": "d", "plan": "p"})
    assert await entries(crew, mission_id=mission["id"]) == []


async def test_what_agents_say_and_do_is_no_entry(crew: Crew) -> None:
    mission = await crew.mission("IN_PROGRESS")
    before = await entries(crew, mission_id=mission["id"])
    said = [
        Draft(type=name, content="x") for name in ("thinking", "tool_call", "tool_result", "assistant_message", "error")
    ]
    mission_id = ids.read(mission["id"])
    assert mission_id is not None
    await crew.shared.core.writers.record(crew.boss.workspace_id, mission_id, said)
    assert await entries(crew, mission_id=mission["id"]) == before


async def test_an_agents_work_and_its_approval_are_told(crew: Crew) -> None:
    mission = await crew.started()
    task = await crew.awaiting(mission)
    await crew.act(mission, f"tasks/{task['id']}/approve", {"approved": True, "notes": "fine"})
    about = [entry for entry in await entries(crew, mission_id=mission["id"]) if "waiting" not in entry["entry_type"]]
    told = [(entry["entry_type"], entry["actor_type"], entry["severity"]) for entry in about][::-1]
    assert told[:6] == [
        ("mission.status_change", "user", "info"),
        ("assignment.running", "orchestrator", "info"),
        ("run.started", "orchestrator", "info"),
        ("run.completed", "orchestrator", "info"),
        ("approval.requested", "orchestrator", "notice"),
        ("approval.granted", "user", "notice"),
    ]
    running = about[::-1][1]
    assert (running["agent_id"], running["payload"]["task_id"]) == (crew.worker, task["id"])
    assert running["payload"]["fields"]["assignment_id"] == task["assignment_id"]
    of_run = await entries(crew, run_id=task["assignment_id"], mission_id=mission["id"])
    assert [entry["entry_type"] for entry in of_run][::-1] == ["assignment.running", "run.started", "run.completed"]
    of_agent = await entries(
        crew, agent_id=crew.worker, mission_id=mission["id"], entry_type="run.started,run.completed"
    )
    assert len(of_agent) == 2
    assert await entries(crew, agent_id=UNKNOWN, mission_id=mission["id"]) == []


# pages


@pytest.mark.parametrize("is_whole", [False, True], ids=["mission", "workspace"])
async def test_a_cursor_goes_on_where_the_page_before_ended(crew: Crew, is_whole: bool) -> None:
    mission = await lived(crew)
    query = {} if is_whole else {"mission_id": mission["id"]}
    whole = await entries(crew, **query, limit=500)
    assert len(whole) < 500
    for size in (3, 7, len(whole) - 1, len(whole), len(whole) + 1):
        found, cursor = [], ""
        while True:
            one = await page(crew.boss, **query, limit=size, cursor=cursor)
            found += one["entries"]
            cursor = one["next_cursor"]
            if not cursor:
                break
            last = one["entries"][-1]
            assert cursor == f"{last['ts']}|{last['id']}"
        assert found == whole


async def all_pages(crew: Crew, **query: Any) -> tuple[list[dict[str, Any]], list[int]]:
    """The entries of all pages, and how many each had."""
    found: list[dict[str, Any]] = []
    sizes, cursor = [], ""
    while not sizes or cursor:
        one = await page(crew.boss, **query, cursor=cursor)
        found += one["entries"]
        sizes.append(one["count"])
        cursor = one["next_cursor"]
    return found, sizes


@pytest.mark.parametrize("is_whole", [False, True], ids=["mission", "workspace"])
async def test_a_search_looks_at_some_entries_for_each_page_and_goes_on_from_there(
    crew: Crew, is_whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mission = await lived(crew)
    query = {"severity": "notice"} | ({} if is_whole else {"mission_id": mission["id"]})
    wanted = await entries(crew, **query, limit=500)
    whole = await entries(crew, **query | {"severity": ""}, limit=500)
    assert 1 < len(wanted) < len(whole) < 500
    monkeypatch.setattr(crew.shared.core.journal, "_most_looked_at", 3)
    found, sizes = await all_pages(crew, **query)
    assert found == wanted
    assert len(sizes) == len(whole) // 3 + 1, "three are looked at each time"
    nothing, sizes = await all_pages(crew, **query, q="nowhere to be found")
    assert (nothing, set(sizes), len(sizes)) == ([], {0}, len(whole) // 3 + 1)
    middle = whole[len(whole) // 2]["ts"]
    found, sizes = await all_pages(crew, **query, until=middle)
    assert found == [entry for entry in wanted if entry["ts"] <= middle]
    assert len(sizes) <= len(whole) // 3, "what is too new is not looked at"


async def test_a_count_says_when_older_entries_were_not_looked_at(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    mission = await lived(crew)
    asked = {"mission_id": mission["id"]}
    total = (await page(crew.boss, f"{JOURNAL}/count", **asked))["total"]
    assert total == len(await entries(crew, **asked, limit=500)) > 5
    for most, answer in (
        (total, {"total": total}),
        (total - 1, {"total": total - 1, "at_least": True}),
        (5, {"total": 5, "at_least": True}),
    ):
        monkeypatch.setattr(crew.shared.core.journal, "_most_counted", most)
        assert await page(crew.boss, f"{JOURNAL}/count", **asked) == answer


async def test_a_page_of_large_entries_is_short_and_not_the_last(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    mission = await lived(crew)
    whole = await entries(crew, mission_id=mission["id"], limit=500)
    monkeypatch.setattr("storage.journal.PAGE_BYTES", 400)
    found, sizes = await all_pages(crew, mission_id=mission["id"], limit=500)
    assert found == whole
    assert len(sizes) > 2
    assert max(sizes) < len(whole)


async def test_wrong_parameters_are_refused_in_words(crew: Crew) -> None:
    for query, text in (
        ("limit=0", "limit must be 1..500"),
        ("limit=501", "limit must be 1..500"),
        ("limit=x", "limit must be 1..500"),
        ("limit=-1", "limit must be 1..500"),
        ("limit=99999999999999999999", "limit must be 1..500"),
        ("cursor=x", "bad cursor: use the next_cursor of the page before as it is"),
        ("cursor=2026-01-01T00:00:00Z|j_zz", "bad cursor: use the next_cursor of the page before as it is"),
        ("since=yesterday", "bad since: 'yesterday' is no time like 2026-01-15T10:00:00Z"),
        ("until=2026-01-15", "bad until: '2026-01-15' is no time like 2026-01-15T10:00:00Z"),
        ("severity=loud", "invalid severity; one of info, notice, warn, error"),
        ("priority=low", "invalid priority; one of normal, high, pin, permanent"),
        ("actor_type=ghost", "invalid actor_type; one of agent, user, system, keeper, sidecar, orchestrator"),
        (f"q={'x' * 201}", "q has at most 200 characters"),
    ):
        assert refusal(await crew.boss.ask("GET", f"{JOURNAL}?{query}")) == (400, text)
        if not query.startswith(("limit", "cursor")):
            assert refusal(await crew.boss.ask("GET", f"{JOURNAL}/count?{query}")) == (400, text)
            assert refusal(await crew.boss.ask("GET", f"{JOURNAL}/stream?{query}")) == (400, text)


async def test_an_entry_that_is_none_is_not_found(crew: Crew) -> None:
    mission = await crew.mission("IN_PROGRESS")
    [entry] = await entries(crew, mission_id=mission["id"])
    position = ids.read_entry(entry["id"])
    assert position is not None
    created = ids.spell_entry(position - 1)
    for wrong in (created, ids.spell_entry(2**62), "j_0000000000000000", "x", "j_", entry["id"].upper()):
        assert refusal(await crew.boss.ask("GET", f"{JOURNAL}/{wrong}")) == (404, "entry not found")


# filters: each is compared with a choice from the whole


async def check(crew: Crew, chosen: Any, **query: Any) -> int:
    """What the query gives is what is chosen from all, on the page, in the count and on the stream."""
    whole = await entries(crew, limit=500)
    wanted = [entry for entry in whole if chosen(entry)]
    assert await entries(crew, limit=500, **query) == wanted, query
    assert await page(crew.boss, f"{JOURNAL}/count", **query) == {"total": len(wanted)}
    async with stream(crew, **query) as live:
        seeded = [frame.data for frame in await seed(live)]
    assert seeded == wanted[:50][::-1]
    return len(wanted)


async def test_filters_choose_from_the_whole(crew: Crew, team: Team) -> None:
    own = await a_crew(crew.shared, crew.boss)
    mission, other = await lived(own), await lived(crew)
    await own.moved(await own.mission("IN_PROGRESS"), "FAILED")
    started = await own.started()
    await own.awaiting(started)
    await own.worked(started, await own.task(started), outcome="failed", reason="failed", error="broke")
    await own.boss.post(f"/api/v1/missions/{mission['id']}/checkpoints", {"label": "Grün 100%_"})
    whole = await entries(own, limit=500)
    assert len(whole) < 500
    times = [entry["ts"] for entry in whole]
    middle = times[len(times) // 2]
    chosen: list[tuple[dict[str, Any], Any]] = [
        ({}, lambda e: True),
        ({"mission_id": mission["id"]}, lambda e: e.get("mission_id") == mission["id"]),
        ({"mission_id": str(ids.read(mission["id"]))}, lambda e: e.get("mission_id") == mission["id"]),
        ({"trace_id": mission["trace_id"]}, lambda e: e.get("trace_id") == mission["trace_id"]),
        ({"trace_id": mission["trace_id"], "mission_id": other["id"]}, lambda e: False),
        ({"crew_id": own.id}, lambda e: e.get("crew_id") == own.id),
        ({"crew_ids": f"{own.id},{crew.id}"}, lambda e: e.get("crew_id") in (own.id, crew.id)),
        ({"crew_id": own.id, "crew_ids": crew.id}, lambda e: False),
        ({"agent_ids": f"{own.worker},{UNKNOWN}"}, lambda e: e.get("agent_id") == own.worker),
        ({"entry_type": "run.started, run.completed"}, lambda e: e["entry_type"] in ("run.started", "run.completed")),
        ({"entry_type": "run.failed"}, lambda e: e["entry_type"] == "run.failed"),
        ({"entry_type": "run.completed"}, lambda e: e["entry_type"] == "run.completed"),
        ({"exclude_entry_type": "run.failed"}, lambda e: e["entry_type"] != "run.failed"),
        ({"entry_type": "nothing"}, lambda e: False),
        ({"exclude_entry_type": "run.completed"}, lambda e: e["entry_type"] != "run.completed"),
        ({"severity": "error"}, lambda e: e["severity"] == "error"),
        ({"severity": "info,notice"}, lambda e: e["severity"] in ("info", "notice")),
        ({"priority": "high"}, lambda e: e["priority"] == "high"),
        ({"priority": "pin"}, lambda e: False),
        ({"actor_type": "user"}, lambda e: e["actor_type"] == "user"),
        ({"actor_type": "orchestrator"}, lambda e: e["actor_type"] == "orchestrator"),
        ({"actor_type": "agent,orchestrator"}, lambda e: e["actor_type"] in ("agent", "orchestrator")),
        ({"since": middle}, lambda e: e["ts"] >= middle),
        ({"until": middle}, lambda e: e["ts"] <= middle),
        ({"since": middle, "until": middle}, lambda e: e["ts"] == middle),
        ({"since": middle.replace("Z", "+00:00")}, lambda e: e["ts"] >= middle),
        ({"q": "grün"}, lambda e: e["payload"].get("label") == "Grün 100%_"),
        ({"q": "100%_"}, lambda e: e["payload"].get("label") == "Grün 100%_"),
        ({"q": "100__"}, lambda e: False),
        ({"q": "DONE"}, lambda e: "done" in str(e).lower()),
        (
            {"mission_id": mission["id"], "severity": "error", "entry_type": "task.status_change"},
            lambda e: e.get("mission_id") == mission["id"] and e["severity"] == "error",
        ),
    ]
    empty = [query for query, choose in chosen if not await check(own, choose, **query)]
    assert len(empty) == 5, empty  # those that can choose nothing; every other one chose something


async def test_the_journal_is_the_workspaces_own(crew: Crew, team: Team) -> None:
    mission = await lived(crew)
    outsider = team["outsider"]._replace(workspace_id=team.elsewhere)
    assert (await page(outsider, mission_id=mission["id"]))["entries"] == []
    assert await page(outsider, f"{JOURNAL}/count", crew_id=crew.id) == {"total": 0}
    [entry] = await entries(crew, mission_id=mission["id"], limit=1)
    assert refusal(await outsider.ask("GET", f"{JOURNAL}/{entry['id']}")) == (404, "entry not found")


async def test_crews_and_agents_are_told_too(crew: Crew) -> None:
    own = await a_crew(crew.shared, crew.boss)
    [lead, made] = (await entries(crew, entry_type="crew.created,agent.created"))[1:3]
    assert (made["entry_type"], made["payload"]["id"], made["actor_type"]) == ("crew.created", own.id, "user")
    assert (lead["entry_type"], lead["payload"]["id"]) == ("agent.created", own.lead)
    assert "mission_id" not in made


async def test_a_deleted_mission_is_told_without_its_link(crew: Crew) -> None:
    mission = await crew.mission("CANCELLED")
    assert (await crew.boss.ask("DELETE", crew.path(mission))).status == 204
    newest = (await entries(crew, limit=1))[0]
    assert (newest["entry_type"], newest["refs"]) == ("mission.deleted", {"mission_id": mission["id"]})
    assert "mission_id" not in newest


# the stream


@asynccontextmanager
async def stream(crew: Crew, last: str | None = None, **query: Any) -> AsyncIterator[Stream]:
    headers = {"X-Workspace-ID": ids.spell(crew.boss.workspace_id)} | ({"Last-Event-ID": last} if last else {})
    async with crew.boss.http.get(f"{JOURNAL}/stream", params=query, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        yield Stream(answer)


async def seed(live: Stream) -> list[Frame]:
    """The entries that a stream begins with: up to its first comment."""
    found = []
    async with asyncio.timeout(10):
        while (frame := await live.next()).name is not None:
            found.append(frame)
    return found


async def test_a_stream_begins_with_the_newest_and_goes_on(crew: Crew) -> None:
    mission = await lived(crew)
    async with stream(crew, mission_id=mission["id"]) as live:
        assert live.answer.headers["Content-Type"] == "text/event-stream"
        assert live.answer.headers["Cache-Control"] == "no-cache"
        assert live.answer.headers["X-Accel-Buffering"] == "no"
        seeded = await seed(live)
        assert [frame.data for frame in seeded] == (await entries(crew, mission_id=mission["id"], limit=50))[::-1]
        assert [frame.id for frame in seeded] == [frame.data["id"] for frame in seeded]
        await crew.mission("IN_PROGRESS")  # not of this stream
        assert (await crew.act(mission, "restart")).status == 200
        frame = await live.named("entry")
        assert frame.data["payload"]["to"] == "PLANNING"
        assert frame.data == (await entries(crew, mission_id=mission["id"], entry_type="mission.status_change"))[0]


async def test_the_seed_is_of_fifty(crew: Crew) -> None:
    for _ in range(3):
        await lived(crew)
    async with stream(crew) as live:
        assert [frame.data for frame in await seed(live)] == (await entries(crew, limit=50))[::-1]


async def test_last_event_id_replays_all_that_is_newer_and_nothing_else(crew: Crew) -> None:
    mission = await crew.mission("IN_PROGRESS")
    async with stream(crew, mission_id=mission["id"]) as live:
        [frame] = await seed(live)
    checkpoints = f"/api/v1/missions/{mission['id']}/checkpoints"
    for number in range(60):  # more than a seed
        await crew.boss.post(checkpoints, {"label": str(number)})
    last = frame.id
    labels: list[str] = []
    for number in range(3):  # cut off again and again
        async with stream(crew, last, mission_id=mission["id"]) as live:
            while len(labels) < (number + 1) * 20:
                frame = await live.named("entry")
                labels.append(frame.data["payload"]["label"])
                last = frame.id
    assert labels == [str(number) for number in range(60)]
    async with stream(crew, last, mission_id=mission["id"]) as live:
        await crew.moved(mission, "REVIEW")
        assert (await live.named("entry")).data["payload"]["to"] == "REVIEW"


async def test_an_id_that_is_none_gives_the_usual_seed(crew: Crew) -> None:
    mission = await lived(crew)
    wanted = (await entries(crew, mission_id=mission["id"], limit=50))[::-1]
    for wrong in ("nothing", "j_7fffffffffffffff", "j_0000000000000000"):
        async with stream(crew, wrong, mission_id=mission["id"]) as live:
            assert [frame.data for frame in await seed(live)] == wanted


async def test_heartbeats_move_the_id_to_what_is_proven(crew: Crew) -> None:
    mission = await crew.mission("IN_PROGRESS")
    async with stream(crew, mission_id=mission["id"]) as live:
        await seed(live)
        other = await crew.mission("IN_PROGRESS")
        [entry] = await entries(crew, mission_id=other["id"])
        async with asyncio.timeout(10):
            while (frame := await live.next()).id is None or frame.id < entry["id"]:
                assert frame.name is None
        assert (frame.comment or "").startswith("heartbeat")
    async with stream(crew, frame.id, mission_id=mission["id"]) as live:
        await crew.moved(mission, "REVIEW")
        assert (await live.named("entry")).data["payload"]["to"] == "REVIEW"


async def test_a_narrow_stream_has_no_other_entries(crew: Crew) -> None:
    mission = await crew.mission()
    async with stream(crew, crew_id=crew.id, severity="error") as live:
        await seed(live)
        await crew.moved(mission, *WAYS["FAILED"])
        frame = await live.named("entry")
        assert (frame.data["severity"], frame.data["mission_id"]) == ("error", mission["id"])


async def test_who_leaves_the_workspace_reads_no_further(crew: Crew) -> None:
    database, workspace_id = crew.shared.core.database, crew.boss.workspace_id
    user_id = await identity.create_user(database, "guest")
    await identity.add_member(database, workspace_id, user_id, "VIEWER")
    secret = tokens.generate()
    await identity.create_token(database, user_id, workspace_id, "guest", tokens.digest(secret))
    async with ClientSession(crew.shared.url, headers={"Authorization": f"Bearer {secret}"}) as http:
        guest = crew._replace(boss=Person(http, workspace_id))
        async with stream(guest) as live:
            await seed(live)
            await identity.remove_member(database, workspace_id, user_id)
            closed = await live.named("closed")
            assert closed.data["code"] in (4401, 4403)
            assert await live.answer.content.read() == b""


async def test_many_writers_and_a_stream_agree(crew: Crew) -> None:
    own = await a_crew(crew.shared, crew.boss)
    async with stream(crew, crew_id=own.id) as live:
        await seed(live)
        missions = await asyncio.gather(*(own.mission("REVIEW") for _ in range(10)))
        found: list[Frame] = []
        async with asyncio.timeout(10):
            while len(found) < 20:
                found.append(await live.named("entry"))
    assert [frame.data for frame in found] == (await entries(own, crew_id=own.id))[::-1]
    assert {frame.data["mission_id"] for frame in found} == {mission["id"] for mission in missions}


# the channel


async def test_the_journals_channel_carries_the_very_entries_and_replays_them(crew: Crew) -> None:
    channel = f"journal:{ids.spell(crew.boss.workspace_id)}"
    async with connected(crew.boss) as ws:
        assert await subscribed(ws, channel) is None
        mission = await lived(crew)
        wanted = (await entries(crew, mission_id=mission["id"]))[::-1]
        frames: list[dict[str, Any]] = []
        async with asyncio.timeout(10):
            while len(frames) < len(wanted):
                frame = await ws.receive_json()
                if frame["type"] == "journal.entry" and frame["payload"].get("mission_id") == mission["id"]:
                    frames.append(frame)
    assert [frame["payload"] for frame in frames] == wanted
    assert {(frame["channel"], frame["n"]) for frame in frames} == {(channel, 0)}
    assert [frame["prev"] for frame in frames[1:]] == [frame["seq"] for frame in frames[:-1]]
    assert [ids.spell_entry(frame["seq"]) for frame in frames] == [entry["id"] for entry in wanted]


async def test_summaries_name_the_task_by_the_beginning_of_its_title(crew: Crew) -> None:
    mission, title = await crew.mission(), "lay the keel {status} " + "x" * 300
    await crew.task(mission, "IN_PROGRESS", title=title)
    [entry] = (await page(crew.boss, mission_id=mission["id"]))["entries"]
    assert entry["summary"] == f"task “{title[:80]}” is IN_PROGRESS"
    assert entry["payload"]["title"] == title[:80]
