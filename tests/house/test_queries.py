"""The named queries: each prepares on a fresh schema, says its purpose, is used, and the hot ones keep their index."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(cluster: Cluster) -> AsyncIterator[asyncpg.Connection]:
    """3,000 missions in each of two workspaces, 12,000 events; only plans are read here, so the rows fold to nothing."""
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
    ("runs.going_on", "missions", (WORKSPACE, MISSION)),
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


async def test_making_a_workspace_makes_its_head_and_its_stream(fresh: dict[str, Any]) -> None:
    database = Database(fresh, writers=1, readers=1)
    await database.open()
    made = await workspaces.create(database, "one")
    [row] = await workspaces.every(database)
    await database.close()
    assert (row.id, row.head, row.floor) == (made, 0, 0)
