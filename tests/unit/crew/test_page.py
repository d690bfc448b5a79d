"""docs/crew-missions.md says what the code does: its tables are compared with the data."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.missions.crew import limits
from server.missions.crew.state import LIFECYCLE, TASK_LIFECYCLE
from server.missions.lifecycle import Lifecycle
from tests.unit.crew.stream import RULES

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "crew-missions.md").read_text()


def rows(section: str, first: str) -> Iterator[list[str]]:
    """The rows of the table of a section whose first column has this heading."""
    text = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    _, table = text.split(f"| {first} |", 1)
    for line in table.splitlines()[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def words(cell: str) -> list[str]:
    return re.findall(r"[A-Za-z_]+", cell)


TABLES = [("Statuses of a mission", LIFECYCLE), ("Statuses of a task", TASK_LIFECYCLE)]


@pytest.mark.parametrize(("section", "table"), TABLES)
def test_what_a_patch_may_do(section: str, table: Lifecycle) -> None:
    said = {words(status)[0]: (phase, words(after)) for status, phase, after in rows(section, "status")}
    assert said == {status: (table.phases[status], sorted(after)) for status, after in table.transitions.items()}


@pytest.mark.parametrize(("section", "table"), TABLES)
def test_what_other_commands_do(section: str, table: Lifecycle) -> None:
    said = [(*words(before), *words(after), words(causes)) for before, after, causes in rows(section, "from")]
    moves = [(before, after, list(causes)) for before, ways in table.moves.items() for after, causes in ways.items()]
    assert said == moves


def test_every_event_is_told() -> None:
    said = {words(name)[0]: kind for name, kind, _ in rows("Events", "type")}
    assert {name for name, kind in said.items() if kind == "state"} == RULES.state_events
    assert {name for name, kind in said.items() if kind == "inert"} == {"confidence_low"}


def test_every_bound_is_told() -> None:
    said = [int(most.split()[0].replace(",", "")) for _, most in rows("Bounds", "what")]
    assert said == [
        limits.MAX_TASKS,
        limits.MAX_TEXT_BYTES,
        limits.MAX_MISSION_BYTES,
        limits.MAX_RESULT_BYTES,
        limits.MAX_TITLE_BYTES,
        limits.MAX_ITERATIONS,
        limits.MAX_TOKENS,
        limits.MAX_COST,
        limits.MAX_REWORKS,
    ]
