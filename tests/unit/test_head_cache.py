"""The heads that a writer remembers: bounded, and forgotten when they may be wrong."""

from typing import Any, cast
from uuid import UUID

import pytest

from storage.batch import Batch
from storage.commit import Committer
from storage.parts import Record
from storage.pool import Database
from storage.states import Head, HeadCache, StateCache
from streams.event import Draft

WORKSPACE = UUID(int=9)
ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


def _head(number: int) -> Head:
    return Head(head=number, version=1, closed=False, counts={"x_a": number}, is_new=True)


def test_heads_are_given_only_when_all_are_known() -> None:
    cache = HeadCache()
    cache.put({ONE: _head(1)})
    assert cache.take([ONE, TWO]) is None
    cache.put({TWO: _head(2)})
    known = cache.take([ONE, TWO])
    assert known is not None
    assert [known[stream].head for stream in (ONE, TWO)] == [1, 2]
    assert not known[ONE].is_new, "what is remembered is stored"
    assert cache.take([]) == {}


class Away:
    """A database that cannot be reached."""

    def writing(self) -> Any:
        raise ConnectionRefusedError


async def test_what_a_failed_batch_has_moved_on_is_forgotten() -> None:
    committer = Committer(WORKSPACE, cast(Database, Away()))
    committer.heads.put({ONE: _head(1)})
    batch = Batch(WORKSPACE, [Record(ONE, [Draft(type="x_a")])], {}, StateCache())
    assert committer.foresee(batch)
    with pytest.raises(ConnectionRefusedError):
        await committer.store(batch)
    assert [event.sequence for event in batch.events] == [2], "the head was known"
    assert committer.heads.take([ONE]) is None


def test_the_oldest_goes_first() -> None:
    cache = HeadCache(size=2)
    for stream in (ONE, TWO, THREE):
        cache.put({stream: _head(1)})
    assert cache.take([ONE]) is None
    assert cache.take([TWO, THREE]) is not None


def test_what_is_forgotten_is_unknown() -> None:
    cache = HeadCache()
    cache.put({ONE: _head(1), TWO: _head(2)})
    cache.forget([ONE, THREE])
    assert cache.take([ONE]) is None
    assert cache.take([TWO]) is not None
