"""The states that the writers remember: the recently used ones, of a bounded number and weight."""

import tracemalloc
from uuid import UUID

import uuid_utils.compat as uuids

from server.missions.crew import CrewRules
from server.missions.crew.commands import Create, NewTask
from storage.states import StateCache, Versioned
from tests.unit.crew.stream import CREW, ID, LEAD, Stream

WORKSPACE = UUID(int=9)
ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


def known(cache: StateCache) -> list[int]:
    return [mission.int for mission in (ONE, TWO, THREE) if cache.get(WORKSPACE, mission, 1) is not None]


def put(cache: StateCache, mission: UUID, weight: int) -> None:
    cache.put(WORKSPACE, mission, Versioned("crew", 1, object()), weight)


def test_the_states_used_longest_ago_go_when_there_are_too_many() -> None:
    cache = StateCache(size=2)
    put(cache, ONE, 1)
    put(cache, TWO, 1)
    assert known(cache) == [1, 2]
    cache.get(WORKSPACE, ONE, 1)
    put(cache, THREE, 1)
    assert known(cache) == [1, 3]
    assert cache.bytes == 2


def test_the_states_used_longest_ago_go_when_they_are_too_heavy() -> None:
    cache = StateCache(max_bytes=10)
    put(cache, ONE, 4)
    put(cache, TWO, 6)
    assert known(cache) == [1, 2]
    put(cache, THREE, 5)
    assert known(cache) == [3]
    put(cache, ONE, 5)
    assert (known(cache), cache.bytes) == ([1, 3], 10)


def test_a_state_that_grows_counts_once() -> None:
    cache = StateCache(max_bytes=10)
    for weight in (1, 3, 7):
        put(cache, ONE, weight)
    assert cache.bytes == 7
    put(cache, TWO, 3)
    assert known(cache) == [1, 2]
    put(cache, ONE, 8)
    assert (known(cache), cache.bytes) == ([1], 8)


def test_the_newest_state_stays_however_heavy() -> None:
    cache = StateCache(max_bytes=10)
    put(cache, ONE, 100)
    assert known(cache) == [1]
    put(cache, TWO, 1)
    assert (known(cache), cache.bytes) == ([2], 1)


def test_a_crew_mission_weighs_about_what_it_takes() -> None:
    tasks = tuple(NewTask(id=uuids.uuid7(), title=f"{number}", description="d" * 500) for number in range(1_000))
    made = Create(id=ID, crew_id=CREW, lead_agent_id=LEAD, title="a mission", tasks=tasks)
    tracemalloc.start()
    try:
        stream = Stream()
        stream.execute(made)
        stream.events.clear()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    weight = CrewRules().weight(stream.state)
    assert taken / 2 < weight < taken * 3, (taken, weight)
