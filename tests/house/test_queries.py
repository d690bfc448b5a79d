"""The named queries: each prepares on a fresh schema, says its purpose, is used, and the hot ones keep their index."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from server.dialects.crew.journal import KINDS, facet_words
from storage import workspaces
from storage.pool import Database
from storage.queries import queries
from tests.conftest import Cluster, fresh_database

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.asyncio(loop_scope="module")


def _named() -> Iterator[tuple[str, str]]:
    for noun, sheet in queries.sheets.items():
        for name in sheet.statements:
            yield noun, name


NAMED = list(_named())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fresh(cluster: Cluster) -> AsyncIterator[dict[str, Any]]:
    async with fresh_database(cluster) as connect:
        yield connect


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connection(fresh: dict[str, Any]) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**fresh)
    yield connection
    await connection.close()


@pytest.mark.parametrize(("noun", "name"), NAMED, ids=[f"{noun}.{name}" for noun, name in NAMED])
async def test_a_query_prepares_on_a_fresh_schema(connection: asyncpg.Connection, noun: str, name: str) -> None:
    await connection.prepare(getattr(getattr(queries, noun), name))


async def test_every_query_says_its_purpose() -> None:
    unsaid = [f"{noun}.{name}" for noun, name in NAMED if not queries.sheets[noun].purposes[name].endswith(".")]
    assert unsaid == []


async def test_a_header_that_does_not_parse_would_be_noticed() -> None:
    for path in queries.folder.glob("*.sql"):
        text = path.read_text()
        assert len(re.findall(r"^--\s*name\b", text, re.MULTILINE)) == len(queries.sheets[path.stem].statements), path


async def test_columns_are_named() -> None:
    """A star may stand only around a subselect, whose columns the outer list names."""
    wrong = [
        f"{noun}.{name}"
        for noun, name in NAMED
        if re.match(r"SELECT\s+\*", getattr(queries.sheets[noun], name))
        or "RETURNING *" in getattr(queries.sheets[noun], name)
    ]
    assert wrong == []


async def test_there_is_no_such_query() -> None:
    with pytest.raises(AttributeError):
        _ = queries.events.nothing
    with pytest.raises(AttributeError):
        _ = queries.nothing


# plans

WORKSPACE, MISSIONS, EVENTS = UUID(int=7), 3_000, 40
_FILL = (
    """INSERT INTO missions (workspace_id, id, kind, status, phase, title, state_version, state, created_at, updated_at)
       SELECT w, ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, 'control', 'completed',
              'completed', 'a mission', 1, '{}', now(), now() - make_interval(secs => i)
         FROM generate_series(1, $2) AS i, unnest(ARRAY[$1::uuid, gen_random_uuid()]) AS w""",
    """INSERT INTO streams (workspace_id, id, head, counts)
       SELECT workspace_id, id, 40, '{}' FROM missions""",
    """INSERT INTO events (workspace_id, position, stream_id, sequence, type, at, content, metadata)
       SELECT $1, (m - 1) * $3 + n, ('00000000-0000-0000-0000-' || lpad(m::text, 12, '0'))::uuid, n,
              (ARRAY['user_message', 'tool_call', 'tool_result', 'thinking'])[1 + n % 4], now(),
              repeat('x', 100), '{}'
         FROM generate_series(1, $2 / 10) AS m, generate_series(1, $3) AS n""",
)  # fmt: skip


CREW, CREW_MISSIONS, CREW_TASKS = UUID(int=8), 10_000, 100_000
_FILL_CREW = (
    """INSERT INTO agents (workspace_id, id, crew_id, name, slug, agent_role, cli_adapter, tool_profile, timeout_seconds,
                           memory_enabled, created_at, updated_at)
       SELECT $1, ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, $2, 'agent', 'agent-' || i, 'AGENT',
              'NONE', 'CODING', 1, false, now(), now() FROM generate_series(1, 50) AS i""",
    """INSERT INTO missions (workspace_id, id, kind, status, phase, title, crew_id, state_version, state, created_at,
                             updated_at)
       SELECT $1, ('00000000-0000-0000-0001-' || lpad(i::text, 12, '0'))::uuid, 'crew',
              (ARRAY['PLANNING', 'IN_PROGRESS', 'COMPLETED', 'COMPLETED', 'FAILED'])[1 + i % 5],
              (ARRAY['pending', 'active', 'completed', 'completed', 'failed'])[1 + i % 5], 'a mission',
              CASE WHEN i % 100 = 0 THEN $2 ELSE gen_random_uuid() END, 1,
              json_build_object('id', gen_random_uuid(), 'lead_agent_id', '00000000-0000-0000-0000-000000000001',
                                'completed_at', now() - make_interval(mins => i), 'description', repeat('x', 300)),
              now() - make_interval(mins => i + 30), now() - make_interval(mins => i)
         FROM generate_series(1, $3) AS i""",
    """INSERT INTO tasks (workspace_id, mission_id, id, status, number, agent_id, token_count, estimated_cost, state,
                          created_at, updated_at, completed_at)
       SELECT $1, ('00000000-0000-0000-0001-' || lpad((1 + i % $3)::text, 12, '0'))::uuid, gen_random_uuid(),
              (ARRAY['PENDING', 'COMPLETED', 'COMPLETED', 'FAILED'])[1 + i % 4], i,
              ('00000000-0000-0000-0000-' || lpad((1 + i % 50)::text, 12, '0'))::uuid, 10, 0.1,
              json_build_object('title', repeat('x', 300)), now(), now() - make_interval(secs => i),
              CASE WHEN i % 4 > 0 THEN now() - make_interval(secs => i * 10) END
         FROM generate_series(1, $4) AS i""",
    """INSERT INTO events (workspace_id, position, stream_id, sequence, type, at, crew_id, content, metadata)
       SELECT $1, 1000000 + i, ('00000000-0000-0000-0001-' || lpad((1 + i % 1000)::text, 12, '0'))::uuid, i,
              (ARRAY['tool_call', 'tool_result', 'thinking', 'mission_status_changed'])[1 + i % 4], now(), $2,
              repeat('x', 100), '{"cause": "patch", "status": "FAILED"}'
         FROM generate_series(1, 20000) AS i""",
)  # fmt: skip


def _with(statement: str) -> str:
    values = (f"'{WORKSPACE}'::uuid", f"'{CREW}'::uuid", str(CREW_MISSIONS), str(CREW_TASKS))
    for number, value in enumerate(values, 1):
        statement = statement.replace(f"${number}", value)
    return statement


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(cluster: Cluster) -> AsyncIterator[asyncpg.Connection]:
    """3,000 missions in each of two workspaces, 12,000 events, and in one of them 10,000 crew missions of 100,000 tasks.

    Only plans and counts are read here, so the rows fold to nothing.
    """
    name = "test_plans"
    admin = await asyncpg.connect(**cluster.connect)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE missionstream_template")
        connection = await asyncpg.connect(**cluster.connect | {"database": name})
        await connection.execute(_FILL[0].replace("$1", f"'{WORKSPACE}'").replace("$2", str(MISSIONS)))
        await connection.execute(_FILL[1])
        await connection.execute(
            _FILL[2].replace("$1", f"'{WORKSPACE}'").replace("$2", str(MISSIONS)).replace("$3", str(EVENTS))
        )
        for statement in _FILL_CREW:
            await connection.execute(_with(statement))
        await connection.execute("ANALYZE")
        yield connection
        await connection.close()
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


MISSION = UUID("00000000-0000-0000-0000-000000000123")
CREW_MISSION = UUID("00000000-0000-0000-0001-000000000100")
DAY_AGO = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
"""To the hour: tests are named after it, and must be named alike in every process."""
ANY_ENTRY = (["mission_status_changed/%/FAILED"], [], None, None, None, None, None, None, [])
HOT: list[tuple[str, str, tuple[Any, ...]]] = [
    ("events.of_workspace", "events", (WORKSPACE, 5_000, 2**62, 500, 1 << 18)),
    ("events.of_stream", "events", (WORKSPACE, 4_900, 2**62, 500, 1 << 18, MISSION)),
    ("events.of_crew", "events", (WORKSPACE, 0, 2**62, 500, 1 << 18, MISSION)),
    ("events.piece", "events", (WORKSPACE, MISSION, 20, 2**62, None, 100, 1 << 20)),
    ("events.piece", "events", (WORKSPACE, MISSION, 0, 2**62, ["user_message"], 100, 1 << 20)),
    ("events.newest", "events", (WORKSPACE, MISSION, 1, ["user_message"], 100, 1 << 20)),
    ("events.nearest_below", "events", (WORKSPACE, MISSION, 41, None, 100, 0)),
    ("events.skipped", "events", (WORKSPACE, MISSION, 0, None, 10)),
    ("missions.conversation_start", "events", (WORKSPACE, MISSION, 10)),
    ("events.place", "events", (WORKSPACE, MISSION, 20)),
    ("events.question", "events", (WORKSPACE, "call")),
    ("events.head", "workspaces", (WORKSPACE,)),
    ("missions.listed", "missions", (WORKSPACE, None, 50, 0)),
    ("missions.one", "missions", (WORKSPACE, MISSION)),
    ("missions.busy", "missions", (WORKSPACE,)),
    ("missions.children", "missions", (WORKSPACE, MISSION, 200)),
    ("missions.children_counted", "missions", (WORKSPACE, [MISSION])),
    ("missions.above", "missions", (WORKSPACE, MISSION)),
    ("missions.spent_below", "missions", (WORKSPACE, MISSION)),
    ("missions.level", "missions", (WORKSPACE, [MISSION], 200)),
    ("missions.with_relatives", "missions", (WORKSPACE, [MISSION], 5)),
    ("runs.going_on", "missions", (WORKSPACE, MISSION, MISSION)),
    ("runs.going_on", "tasks", (WORKSPACE, CREW_MISSION, MISSION)),
    ("crews.idle", "missions", (WORKSPACE, CREW)),
    ("agents.listed", "tasks", (WORKSPACE, None, 100, 0)),
    ("agents.one", "tasks", (WORKSPACE, MISSION)),
    ("crewmissions.found", "missions", (WORKSPACE, CREW_MISSION, CREW)),
    ("crewmissions.one", "missions", (WORKSPACE, CREW_MISSION, CREW)),
    ("crewmissions.listed", "missions", (WORKSPACE, None, 100, 0)),
    ("crewmissions.listed", "missions", (WORKSPACE, "FAILED", 100, 0)),
    ("crewmissions.of_crew", "missions", (WORKSPACE, None, 20, 0, CREW)),
    ("crewmissions.tasks", "tasks", (WORKSPACE, [CREW_MISSION])),
    ("crewmissions.agent_of_task", "tasks", (WORKSPACE, CREW_MISSION, CREW_MISSION)),
    ("crewmissions.metrics", "tasks", (WORKSPACE, DAY_AGO)),
    ("checkpoints.capture", "tasks", (WORKSPACE, CREW_MISSION)),
    ("journal.page", "events", (WORKSPACE, 2**62, 100, 20_000, 1 << 20, None, *ANY_ENTRY)),
    ("journal.page", "events", (WORKSPACE, 2**62, 100, 20_000, 1 << 20, DAY_AGO, *ANY_ENTRY)),
    ("journal.page_of_mission", "events", (WORKSPACE, 2**62, 100, 20_000, 1 << 20, None, *ANY_ENTRY, CREW_MISSION)),
    ("journal.reach", "events", (WORKSPACE, 2**62, 20_000, None, None)),
    ("journal.reach_of_mission", "events", (WORKSPACE, 2**62, 20_000, None, DAY_AGO, CREW_MISSION)),
    ("journal.counted", "events", (WORKSPACE, 50_000, None, *ANY_ENTRY)),
    ("journal.counted_of_mission", "events", (WORKSPACE, 50_000, None, *ANY_ENTRY, CREW_MISSION)),
    ("journal.one", "events", (WORKSPACE, 1_000_004)),
    ("journal.newest_of_mission", "events", (WORKSPACE, CREW_MISSION, ["%"])),
    ("journal.since", "events", (WORKSPACE, CREW_MISSION, ["%"], 1_010_000)),
    ("writer.lock", "streams", (WORKSPACE, [MISSION])),
    ("writer.states", "missions", (WORKSPACE, [MISSION])),
    ("writer.known", "events", (WORKSPACE, [MISSION], ["key"])),
    ("writer.answered", "answers", (WORKSPACE, ["scope"], ["key"])),
]


@pytest.mark.parametrize(("query", "table", "arguments"), HOT, ids=[f"{row[0]} {row[2][3:]}" for row in HOT])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_a_hot_query_finds_its_rows_by_an_index(
    filled: asyncpg.Connection, query: str, table: str, arguments: tuple[Any, ...], mode: str
) -> None:
    noun, name = query.split(".")
    async with filled.transaction():
        await filled.execute(f"SET LOCAL plan_cache_mode = {mode}")
        text = await filled.fetchval(f"EXPLAIN (FORMAT JSON) {getattr(queries.sheets[noun], name)}", *arguments)
    plan = json.loads(text)[0]["Plan"]
    scans = [node for node in _nodes(plan) if node.get("Relation Name") == table]
    assert scans
    small = {"workspaces", "answers"}  # of a few rows, which the planner rightly just reads
    assert table in small or [node["Node Type"] for node in scans if node["Node Type"] == "Seq Scan"] == []


async def test_a_page_from_the_middle_of_a_stream_reads_no_more_than_the_page(filled: asyncpg.Connection) -> None:
    statement = queries.events.of_stream
    text = await filled.fetchval(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", WORKSPACE, 4_890, 2**62, 10, 1 << 18, MISSION
    )
    scans = [node for node in _nodes(json.loads(text)[0]["Plan"]) if node.get("Relation Name") == "events"]
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in scans) <= 12


async def _rows_read(connection: asyncpg.Connection, table: str, query: str, *arguments: Any) -> float:
    """How many rows of a table a query reads, whether it gives them or not."""
    text = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *arguments)
    scans = [node for node in _nodes(json.loads(text)[0]["Plan"]) if node.get("Relation Name") == table]
    return float(
        sum((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in scans)
    )


async def test_a_page_of_crew_missions_reads_no_more_than_the_page_and_no_task(filled: asyncpg.Connection) -> None:
    query = queries.crewmissions.listed
    assert await _rows_read(filled, "missions", query, WORKSPACE, None, 100, 0) <= 100
    assert await _rows_read(filled, "tasks", query, WORKSPACE, None, 100, 0) == 0


async def test_a_page_of_all_missions_reads_little_more_than_the_page(filled: asyncpg.Connection) -> None:
    second = 12  # missions are made so that a dozen at the most were changed in the same one
    assert await _rows_read(filled, "missions", queries.missions.listed, WORKSPACE, None, 50, 0) <= 50 + second


async def test_a_mission_that_changes_often_touches_its_indexes_once_a_second(filled: asyncpg.Connection) -> None:
    transaction = filled.transaction()
    await transaction.start()
    try:
        change = "UPDATE missions SET title = $3, updated_at = $4 WHERE workspace_id = $1 AND id = $2"
        second = datetime.now(UTC).replace(microsecond=0)
        for number in range(10):
            at = second + timedelta(milliseconds=number)
            await filled.execute(change, WORKSPACE, MISSION, f"title {number}", at)
        found = await filled.fetchrow(
            """SELECT pg_stat_get_xact_tuples_updated('missions'::regclass) AS updated,
                      pg_stat_get_xact_tuples_hot_updated('missions'::regclass) AS hot"""
        )
        assert found is not None
        assert (found["updated"], found["hot"]) == (10, 9), "only the first moved it to another second"
    finally:
        await transaction.rollback()


async def test_removing_a_crew_looks_at_its_own_missions_only(filled: asyncpg.Connection) -> None:
    assert await _rows_read(filled, "missions", queries.crews.idle, WORKSPACE, UUID(int=99)) == 0
    assert await _rows_read(filled, "missions", queries.crews.idle, WORKSPACE, CREW) <= CREW_MISSIONS / 100


async def test_agents_are_listed_by_looking_at_their_own_running_tasks_only(filled: asyncpg.Connection) -> None:
    agent = UUID(int=1)
    await filled.execute(
        """UPDATE tasks SET run_id = gen_random_uuid(), state = json_build_object('run_agent_id', agent_id)
            WHERE workspace_id = $1 AND number % 500 < 50""",
        WORKSPACE,
    )
    try:
        await filled.execute("ANALYZE tasks")
        assert await _rows_read(filled, "tasks", queries.agents.one, WORKSPACE, agent) <= 1
        assert await _rows_read(filled, "tasks", queries.agents.listed, WORKSPACE, None, 10, 0) <= 50
    finally:
        await filled.execute("UPDATE tasks SET run_id = NULL WHERE run_id IS NOT NULL")
        await filled.execute("VACUUM ANALYZE tasks")


async def test_metrics_read_the_tasks_of_the_window_only(filled: asyncpg.Connection) -> None:
    query = queries.crewmissions.metrics
    recently = datetime.now(UTC) - timedelta(minutes=10)
    assert await _rows_read(filled, "tasks", query, WORKSPACE, recently) < 500
    assert await _rows_read(filled, "tasks", query, WORKSPACE, DAY_AGO) < CREW_TASKS / 2


async def test_metrics_are_right_at_a_hundred_thousand_tasks(filled: asyncpg.Connection) -> None:
    """As the plain sums over the same rows say."""
    found = await filled.fetchrow(queries.crewmissions.metrics, WORKSPACE, DAY_AGO)
    plain = await filled.fetchrow(
        """SELECT count(*) FILTER (WHERE status = 'COMPLETED' AND completed_at >= $2) AS completed,
                  count(*) FILTER (WHERE status = 'FAILED' AND updated_at >= $2) AS failed,
                  sum(token_count) FILTER (WHERE completed_at >= $2) AS tokens
             FROM tasks WHERE workspace_id = $1""",
        WORKSPACE,
        DAY_AGO,
    )
    assert (found["total_missions"], found["active_missions"]) == (CREW_MISSIONS, CREW_MISSIONS * 2 // 5)
    assert (found["tasks_completed_24h"], found["tasks_failed_24h"]) == (plain["completed"], plain["failed"])
    assert found["total_tokens_24h"] == plain["tokens"] > 0
    assert found["total_cost_24h"] == float(plain["tokens"]) / 100
    assert found["avg_completion_time_ms"] == 30 * 60_000
    minutes = (datetime.now(UTC) - DAY_AGO).total_seconds() / 60  # a mission ended in each, two of five COMPLETED
    assert abs(found["completed_24h"] - minutes * 2 / 5) < 10


async def test_a_missions_journal_is_read_without_the_other_events(filled: asyncpg.Connection) -> None:
    bounds = (20_000, 1 << 20)
    arguments = (WORKSPACE, 2**62, 100, *bounds, None, *ANY_ENTRY, UUID("00000000-0000-0000-0001-000000000004"))
    assert await _rows_read(filled, "events", queries.journal.page_of_mission, *arguments) <= 20
    whole = (WORKSPACE, 2**62, 10, *bounds, None, *ANY_ENTRY)
    assert await _rows_read(filled, "events", queries.journal.page, *whole) <= 10


async def test_a_search_of_the_journal_looks_at_so_many_entries_and_no_more(filled: asyncpg.Connection) -> None:
    """5,000 entries are there, none of which has the word."""
    nowhere = (*ANY_ENTRY[:6], "%nowhere%", *ANY_ENTRY[7:])
    page = (WORKSPACE, 2**62, 10, 300, 1 << 20, None, *nowhere)
    assert await _rows_read(filled, "events", queries.journal.page, *page) == 300
    assert await _rows_read(filled, "events", queries.journal.counted, WORKSPACE, 300, None, *nowhere) == 300
    before = (*ANY_ENTRY[:5], DAY_AGO, *ANY_ENTRY[6:])
    page = (WORKSPACE, 2**62, 10, 20_000, 1 << 20, None, *before)
    assert await _rows_read(filled, "events", queries.journal.page, *page) <= 1, "all of them are newer"


async def test_a_page_of_the_journal_ends_at_so_many_bytes(filled: asyncpg.Connection) -> None:
    rows = await filled.fetch(queries.journal.page, WORKSPACE, 2**62, 10, 300, 500, None, *ANY_ENTRY)
    assert 2 <= len(rows) <= 4
    assert {row["found"] for row in rows} == {10}
    rows = await filled.fetch(queries.journal.page, WORKSPACE, 2**62, 10, 300, 1, None, *ANY_ENTRY)
    assert len(rows) == 1, "one at least, however large"


async def test_the_log_and_the_table_know_the_same_types_of_journal_events(connection: asyncpg.Connection) -> None:
    types = {kind.type for kind in KINDS}
    for name in (*types, "task_created", "mission_created", "thinking", "erased"):
        assert await connection.fetchval("SELECT is_journal_event($1)", name) == (name in types), name
    source = await connection.fetchval("SELECT pg_get_functiondef('is_journal_event'::regproc)")
    assert set(re.findall(r"'([a-z_.]+)'::text", source)) == types


async def test_the_log_and_the_table_find_the_same_words_in_metadata(connection: asyncpg.Connection) -> None:
    for metadata in (
        {},
        {"cause": "patch", "status": "FAILED"},
        {"cause": None, "purpose": "plan"},
        {"kind": "crew", "reason": "end_turn"},
        {"status": None, "reason": None},
        {"cause": "a", "kind": "b", "status": "c", "reason": "d"},
    ):
        facet = await connection.fetchval("SELECT journal_facet('x', $1)", json.dumps(metadata))
        assert facet == "/".join(("x", *facet_words(metadata)))


async def test_making_a_workspace_makes_its_head_and_its_stream(fresh: dict[str, Any]) -> None:
    database = Database(fresh, writers=1, readers=1)
    await database.open()
    made = await workspaces.create(database, "one")
    [row] = await workspaces.every(database)
    await database.close()
    assert (row.id, row.head, row.floor) == (made, 0, 0)
