"""The house rules that a linter does not know: where SQL and statuses may stand, names, sizes, first lines."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.missions import control, crew
from server.missions.known import kinds
from server.missions.lifecycle import PHASES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("server", "storage", "streams", "clients/python/missionstream_client", "clients/mcp/missionstream_mcp")
HARD_CAP, SOFT_CAP = 500, 300
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def tracked() -> list[Path]:
    """The repository's files; what is ignored is not of the project."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def docstrings(tree: ast.AST) -> set[ast.AST]:
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                found.add(statement.value)
    return found


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Every string literal that is not a docstring, with its line."""
    tree = ast.parse(path.read_text(), filename=str(path))
    skipped = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
            yield node.lineno, node.value


_SQL = re.compile(
    r"\b(SELECT\s+[\w*(]|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+(TABLE|INDEX|DATABASE|FUNCTION|ROLE)|"
    r"ALTER\s+(TABLE|ROLE|DATABASE)|DROP\s+(TABLE|INDEX|DATABASE)|TRUNCATE\s+\w|NOTIFY\s+\w|LISTEN\s+\w|"
    r"pg_(try_)?advisory|WHERE\s+\w+\s*=)"
)


@pytest.mark.parametrize(
    "text",
    ["SELECT 1", "SELECT * FROM events", "INSERT INTO t VALUES (1)", "x WHERE id = $1", "SELECT pg_advisory_lock(1)"],
)
def test_the_search_for_sql_finds_some(text: str) -> None:
    assert _SQL.search(text)


_MAY_SPEAK_SQL = {
    "storage/migrations/__init__.py": "alembic's own table and the migrations' lock, before any schema is there",
    "storage/migrations/steps.py": "a line of alembic's environment, which runs files of SQL",
}


def test_sql_stands_in_sql_files_only() -> None:
    found = [
        f"{short(path)}:{line}: {text[:60]!r}"
        for path in sources()
        for line, text in strings(path)
        if _SQL.search(text) and short(path) not in _MAY_SPEAK_SQL
    ]
    assert found == []


def test_every_module_says_in_one_line_what_lives_there() -> None:
    wrong = []
    for path in sources():
        text = path.read_text()
        first = (ast.get_docstring(ast.parse(text), clean=False) or "").split("\n", 1)[0].strip()
        if not (15 <= len(first) <= 120 and first.endswith(".")) or not text.startswith('"""'):
            wrong.append(f"{short(path)}: {first!r}")
    assert wrong == []


def test_no_file_is_longer_than_the_cap() -> None:
    files = [*sources(), *(ROOT / "storage").rglob("*.sql"), *(ROOT / "tests").rglob("*.py")]
    sizes = {short(path): len(path.read_text().splitlines()) for path in files}
    print("over the soft cap:", {name: size for name, size in sizes.items() if size > SOFT_CAP})
    assert {name: size for name, size in sizes.items() if size > HARD_CAP and name not in LONG} == {}


LONG = {
    "tests/client/fake_server.py": "a whole server for the client's tests, in one place",
    "tests/system/test_promises.py": "the eight promises, one after the other",
}
"""Longer files, with the reason."""


def test_half_of_all_files_are_short() -> None:
    sizes = sorted(len(path.read_text().splitlines()) for path in sources() if path.name != "__init__.py")
    assert sizes[len(sizes) // 2] <= 130


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {short(path) for path in sources() if FORBIDDEN_NAMES & {*path.relative_to(ROOT).with_suffix("").parts}}
    assert names == set()


# statuses

TABLES = (control.LIFECYCLE, crew.LIFECYCLE)
TASK_TABLES = (crew.TASK_LIFECYCLE,)
"""Of tasks; control's have words that every API uses."""
_ANYWHERE = {
    "server/missions/": "the tables themselves",
    "server/agents/": "the Agent Client Protocol has the same words for tool calls and plan entries",
    "server/cli/": "clients of the wire in a terminal, which read its phases",
    "server/dialects/crew/journal.py": "which status makes which entry of the journal",
    "server/runs/": "a turn's reason to end, which the mission's table maps to a status",
}
"""Where words of the lifecycle tables may stand besides, and why."""
_IN_PLACES = {
    "server/crews/forms.py": ("LEAD_MODES", "how a lead leads, in crew's words"),
    "server/dialects/control/trees.py": ("_NODE_STATUS", "the wire's own words for nodes of the tree, by phase"),
    "server/dialects/crew/frames.py": ("_ASSIGNMENT", "the wire's own words for assignments"),
}
"""Tables of a wire's own words, by their module-level name."""


def _words() -> set[str]:
    return {status for table in (*TABLES, *TASK_TABLES) for status in table.transitions} | set(PHASES)


def _allowed_lines(path: Path) -> set[int]:
    name, _ = _IN_PLACES.get(short(path), (None, ""))
    lines: set[int] = set()
    for node in ast.parse(path.read_text()).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            lines |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def test_statuses_are_words_of_the_lifecycle_tables_only() -> None:
    assert len(TABLES) == len(kinds())
    found = []
    for path in sources():
        if any(short(path).startswith(prefix) for prefix in _ANYWHERE) or short(path).startswith("clients/"):
            continue
        allowed = _allowed_lines(path)
        found += [
            f"{short(path)}:{line}: {text!r}"
            for line, text in strings(path)
            if text in _words() and line not in allowed
        ]
    assert found == []


# imports, papers, words


def test_the_imports_keep_to_their_layers() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed")
    run = subprocess.run([linter, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "clients/python/README.md",
        "clients/python/LICENSE",
        "clients/mcp/README.md",
        "clients/mcp/LICENSE",
    ],
)
def test_the_paper_is_there(name: str) -> None:
    text = (ROOT / name).read_text()
    assert len(text) > 200


_SECRET_PLACES = re.compile(
    r"(?i)(/work/(main|shared)|contracts/[a-z-]+\.md#|\bissue\s+#\d|\bpull request\s+#\d|\bGH-\d+|"
    r"artifactory|\bnexus\.|pypi\.internal|--index-url|\bextra-index-url|registry\.npmjs|host\.docker\.internal)"
)
_BINARY = {".png", ".ico", ".woff2", ".gz", ".jpg", ".svg", ".lock"}


def test_the_text_names_no_workplace_and_no_registry() -> None:
    found = []
    for path in tracked():
        if path.suffix in _BINARY or path == Path(__file__).resolve() or path.name == "package-lock.json":
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if match := _SECRET_PLACES.search(line):
                found.append(f"{short(path)}:{number}: {match[0]}")
    assert found == []


def test_nothing_is_left_for_later() -> None:
    mark = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [
        f"{short(path)}:{number}"
        for path in sources()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if mark.search(line)
    ]
    assert found == []
