"""The lifecycle tables: every pair of statuses is walked, whether it is an edge or not."""

import pytest

from server.missions import control, crew
from server.missions.known import kinds
from server.missions.lifecycle import PHASES, Lifecycle, every_move
from streams.errors import MoveRefused

TABLES = {"control": control.LIFECYCLE, "crew": crew.LIFECYCLE}
TASK_TABLES = {"control tasks": control.tasks.TASK_LIFECYCLE, "crew tasks": crew.TASK_LIFECYCLE}
NARROW = Lifecycle(
    initial="new",
    transitions={"new": frozenset({"busy"}), "busy": frozenset({"done"}), "done": frozenset()},
    phases={"new": "pending", "busy": "active", "done": "completed"},
    terminal=frozenset({"done"}),
)


def test_every_kind_of_the_server_has_its_table_walked_here() -> None:
    assert set(kinds()) == set(TABLES)


@pytest.mark.parametrize(
    "table",
    [*TABLES.values(), *TASK_TABLES.values(), NARROW],
    ids=[*TABLES, *TASK_TABLES, "narrow"],
)
class TestEveryTable:
    def test_is_closed(self, table: Lifecycle) -> None:
        statuses = set(table.transitions)
        assert table.initial in statuses
        assert set(table.phases) == statuses
        assert set().union(*table.transitions.values(), *table.moves.values()) <= statuses
        assert table.terminal <= statuses

    def test_maps_each_status_to_a_known_phase(self, table: Lifecycle) -> None:
        assert set(table.phases.values()) <= set(PHASES)
        assert table.phases[table.initial] == "pending"

    def test_reaches_every_status(self, table: Lifecycle) -> None:
        reached, frontier = {table.initial}, {table.initial}
        while frontier:
            ways = [way for status in frontier for way in (table.transitions[status], table.moves.get(status, ()))]
            frontier = set().union(*ways) - reached
            reached |= frontier
        assert reached == set(table.transitions)

    def test_takes_every_edge_and_refuses_every_other_pair(self, table: Lifecycle) -> None:
        for before in table.transitions:
            for after in [*table.transitions, "no such status"]:
                if after in table.transitions[before]:
                    table.check(before, after)
                else:
                    with pytest.raises(MoveRefused) as caught:
                        table.check(before, after)
                    assert caught.value.details == {
                        "status": before,
                        "wanted": after,
                        "allowed": sorted(table.transitions[before]),
                    }

    def test_has_each_edge_once_and_a_cause_for_each_that_people_cannot_ask_for(self, table: Lifecycle) -> None:
        for before, after in table.moves.items():
            assert table.transitions[before].isdisjoint(after)
            assert before not in after
            assert all(after.values())

    def test_leaves_a_terminal_status_nowhere_to_go(self, table: Lifecycle) -> None:
        assert all(not table.transitions[status] for status in table.terminal)


def test_a_refusal_names_what_is_allowed() -> None:
    with pytest.raises(MoveRefused, match="cannot move from new to done; allowed: busy"):
        NARROW.check("new", "done")
    with pytest.raises(MoveRefused, match="allowed: nothing"):
        NARROW.check("done", "new")


def test_control_lets_people_set_any_status_and_names_phases_by_their_own_word() -> None:
    assert set(control.LIFECYCLE.transitions) == {"pending", "active", "completed", "failed", "interrupted"}
    assert control.LIFECYCLE.transitions == every_move(*control.LIFECYCLE.transitions)
    assert all(status == phase for status, phase in control.LIFECYCLE.phases.items())


def test_every_reason_to_end_a_turn_leads_to_a_status_of_the_table() -> None:
    assert set(control.decide.STATUS_AFTER.values()) <= set(control.LIFECYCLE.transitions)
    assert set(control.decide.STATUS_AFTER) >= control.decide.STOPS_THE_QUEUE
