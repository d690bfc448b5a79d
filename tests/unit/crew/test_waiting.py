"""Missions that wait for a slot: the longest waiting is woken and served first, and nobody waits without reason."""

import pytest

from server.runs.crew.waiting import Key, Waiting
from storage.ids import new_id

KEYS: list[Key] = [(new_id(), new_id()) for _ in range(30)]


def waiting(count: int) -> Waiting:
    found = Waiting()
    for key in KEYS[:count]:
        found.add(key)
    return found


def test_who_waits_keeps_its_place_until_it_is_removed() -> None:
    found = waiting(3)
    found.add(KEYS[0])
    assert found.next(1) == KEYS[:3]
    assert found.remove(KEYS[0])
    assert not found.remove(KEYS[0])
    found.add(KEYS[0])
    assert found.next(1) == [KEYS[1], KEYS[2], KEYS[0]]
    assert len(found) == 3


@pytest.mark.parametrize(("free", "woken"), [(-1, 0), (0, 0), (1, 9), (5, 13), (100, 30)])
def test_a_few_more_are_woken_than_slots_are_free(free: int, woken: int) -> None:
    assert waiting(30).next(free) == KEYS[:woken]


@pytest.mark.parametrize(
    ("place", "free", "share"),
    [(0, 2, 2), (1, 2, 1), (2, 2, 0), (9, 2, 0), (20, 2, 0), (0, 0, 0), (3, 0, 0), (0, -1, -1), (20, 12, 2)],
)
def test_one_slot_is_left_for_each_that_has_waited_longer(place: int, free: int, share: int) -> None:
    assert waiting(10).share(KEYS[place], free) == share


def test_without_anybody_waiting_all_free_slots_are_one_missions() -> None:
    assert waiting(0).share(KEYS[0], 4) == 4
    assert not waiting(0)
