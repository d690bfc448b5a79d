"""The journal's table: sound, the same for the log as for single events, and with words for whatever an event says."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.dialects.crew import ids, journal
from server.dialects.crew.filters import Filters
from server.dialects.crew.journal import ACTORS, KINDS, PRIORITIES, SEVERITIES, Kind
from server.missions.crew import LIFECYCLE, TASK_LIFECYCLE
from streams.event import Event, ascii_json

WORKSPACE, MISSION, CREW, TASK = (UUID(int=number) for number in range(1, 5))
TYPES = sorted({kind.type for kind in KINDS})


def an_event(type: str, content: str = "", actor: str | None = None, **metadata: Any) -> Event:
    is_of_mission = not type.startswith(("crew.", "agent.", "mission_deleted"))
    return Event(
        workspace_id=WORKSPACE,
        position=77,
        stream_id=MISSION if is_of_mission else WORKSPACE,
        sequence=3,
        type=type,
        at=datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC),
        actor=actor,
        crew_id=CREW if is_of_mission else None,
        content=content,
        metadata=ascii_json(metadata).decode(),
    )


def fits(pattern: str, facet: str) -> bool:
    """Whether a facet is like a pattern, as the database understands it."""
    return re.fullmatch(re.escape(pattern).replace("%", ".*").replace("_", "."), facet, re.DOTALL) is not None


def test_the_table_says_only_what_clients_know() -> None:
    assert {kind.severity for kind in KINDS} <= set(SEVERITIES)
    assert {kind.priority for kind in KINDS} <= set(PRIORITIES)
    assert {kind.actor for kind in KINDS} <= set(ACTORS)
    assert len({kind.facet for kind in KINDS}) == len(KINDS)


def test_kinds_overlap_only_where_an_exact_what_goes_before_any() -> None:
    for one in KINDS:
        for other in KINDS:
            if one is not other and one.type == other.type and fits(one.facet, other.facet.replace("%", "x")):
                assert one.what == "%", (one, other)
                assert one.why == other.why, (one, other)
                assert one.actor == other.actor, (one, other)


_REASONS = ("", "patch", "end", "claim", "unblock", "crew", "control", "failed", "end_turn", "100%", "a/b")
_words = st.sampled_from([*_REASONS, *LIFECYCLE.transitions, *TASK_LIFECYCLE.transitions]) | st.text(max_size=5)


@given(st.sampled_from([*TYPES, "task_created", "thinking"]), _words, _words)
def test_one_event_and_the_log_agree_on_what_is_an_entry(type: str, why: str, what: str) -> None:
    event = an_event(type, cause=why, status=what)
    kind = journal.kind_of(event)
    facet = "/".join((type, *journal.facet_words(event.data())))
    if "/" in why + what:
        return  # no writer makes such words
    matching = [one for one in KINDS if fits(one.facet, facet)]
    assert (kind is None) == (not matching)
    for one in KINDS:  # asked for one sort alone, the log gives an event exactly if it is of it
        wanted = Filters(types=(one.entry_type,), severities=(one.severity,), priorities=(one.priority,)).wanted()
        is_given = any(fits(pattern, facet) for pattern in wanted.facets) and not any(
            fits(pattern, facet) for pattern in wanted.but
        )
        is_meant = kind is not None and kind[1:2] + kind[3:5] == one[1:2] + one[3:5]
        assert is_given == is_meant, (facet, one, kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.facet)
def test_asked_for_one_sort_of_entries_the_log_gives_no_other(kind: Kind) -> None:
    facet = "/".join((kind.type, kind.why.replace("%", "x"), kind.what.replace("%", "x")))
    for one in KINDS:
        wanted = Filters(types=(one.entry_type,)).wanted()
        is_given = any(fits(pattern, facet) for pattern in wanted.facets) and not any(
            fits(pattern, facet) for pattern in wanted.but
        )
        assert is_given == (one.entry_type == kind.entry_type), one


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.facet)
def test_every_kind_has_words_for_an_event_with_nothing_in_it(kind: Kind) -> None:
    metadata = {"cause": kind.why, "status": kind.what} if kind.why != "%" or kind.what != "%" else {}
    if kind.type == "mission_status_changed":
        metadata["cause"] = "patch"
    event = an_event(kind.type, **metadata)
    assert journal.kind_of(event) is kind
    entry = msgspec.to_builtins(journal.entry(event, kind))
    assert entry["summary"]
    assert (entry["entry_type"], entry["severity"], entry["priority"]) == (
        kind.entry_type,
        kind.severity,
        kind.priority,
    )
    assert (entry["actor_type"], entry["ts"], entry["id"]) == (
        kind.actor,
        "2026-01-02T03:04:05.678Z",
        "j_000000000000004d",
    )
    assert None not in entry.values()


def test_events_of_other_kinds_of_missions_are_no_entries() -> None:
    event = an_event("mission_status_changed", cause="patch", status="FAILED")
    assert journal.of(event) is not None
    assert journal.of(msgspec.structs.replace(event, crew_id=None)) is None
    assert journal.of(an_event("mission_deleted", kind="control")) is None
    assert journal.of(an_event("mission_deleted", kind="crew")) is not None


@pytest.mark.parametrize(
    "type", ["mission_created", "task_created", "task_updated", "mission_edited", "thinking", "erased"]
)
def test_creation_edits_and_activity_are_no_entries(type: str) -> None:
    assert journal.of(an_event(type, cause="create", status="PENDING")) is None


def test_an_edit_of_dependencies_is_no_entry() -> None:
    assert journal.of(an_event("task_status_changed", cause="depends", status="BLOCKED")) is None


@pytest.mark.parametrize(
    ("actor", "actor_type", "actor_id"),
    [
        (None, "orchestrator", None),
        ("agent:demo", "agent", "agent:demo"),
        (str(UUID(int=9)), "user", "c0000000000000000000000009"),
    ],
)
def test_the_actor_is_who_wrote_it(actor: str | None, actor_type: str, actor_id: str | None) -> None:
    entry = journal.of(an_event("tasks_reset", cause="restart", actor=actor, tasks=[]))
    assert entry is not None
    told = msgspec.to_builtins(entry)
    assert (told["actor_type"], told.get("actor_id")) == (actor_type, actor_id)


def test_ids_are_spelled_wherever_they_stand() -> None:
    entry = journal.of(
        an_event("tasks_reset", cause="restart", tasks=[{"task_id": str(TASK), "status": "PENDING", "iteration": 2}])
    )
    assert entry is not None
    assert entry.payload == {
        "cause": "restart",
        "tasks": [{"task_id": "c0000000000000000000000004", "status": "PENDING", "iteration": 2}],
    }


def test_an_entry_is_short_however_much_its_event_says() -> None:
    tasks = [{"task_id": str(UUID(int=number)), "status": "PENDING", "iteration": 2} for number in range(5_000)]
    reset = journal.of(an_event("tasks_reset", cause="restart", tasks=tasks))
    assert reset is not None
    assert isinstance(reset.payload, dict)
    assert reset.payload["tasks_total"] == 5_000
    assert [task["task_id"] for task in reset.payload["tasks"]] == [
        ids.spell(UUID(int=number)) for number in range(journal.MOST_ITEMS)
    ]
    fields = {"result_summary": "я" * 30_000, "depends_on": [str(TASK)] * 21, "output_path": "a/b"}
    ended = journal.of(an_event("task_status_changed", cause="end", status="COMPLETED", fields=fields))
    assert ended is not None
    assert isinstance(ended.payload, dict)
    shown = ended.payload["fields"]
    assert shown["result_summary"] == "я" * 1_000 + "\n… [cut: 2000 of 60000 bytes]"
    assert (shown["output_path"], len(shown["depends_on"]), shown["depends_on_total"]) == ("a/b", 20, 21)
    moved = journal.of(an_event("mission_status_changed", "w" * 60_000, cause="patch", status="FAILED", phase="failed"))
    assert moved is not None
    assert max(len(msgspec.json.encode(one)) for one in (reset, ended, moved)) < 6_000


def test_what_fits_is_shown_whole_and_uncounted() -> None:
    tasks = [{"task_id": str(TASK), "status": "PENDING", "iteration": 2}] * journal.MOST_ITEMS
    entry = journal.of(an_event("tasks_reset", cause="restart", tasks=tasks))
    assert entry is not None
    assert isinstance(entry.payload, dict)
    assert len(entry.payload["tasks"]) == journal.MOST_ITEMS
    assert "tasks_total" not in entry.payload


def test_a_long_reason_is_cut() -> None:
    entry = journal.of(an_event("task_waiting", "x" * 1_000, reason="x" * 1_000))
    assert entry is not None
    assert len(entry.summary) == 300


@pytest.mark.parametrize(
    ("cause", "after", "before"),
    [
        ("start", "IN_PROGRESS", "PLANNING"),
        ("resume", "IN_PROGRESS", "FAILED"),
        ("engine", "REVIEW", "IN_PROGRESS"),
        ("patch", "COMPLETED", "REVIEW"),
        ("patch", "FAILED", None),
        ("restart", "PLANNING", None),
    ],
)
def test_a_move_says_what_was_before_where_that_is_certain(cause: str, after: str, before: str | None) -> None:
    entry = journal.of(an_event("mission_status_changed", "because", cause=cause, status=after))
    assert entry is not None
    assert entry.payload == {"action": cause, "details": "because", "to": after} | ({"from": before} if before else {})
