"""The heads that a writer remembers: never shared with a batch that may fail, bounded, forgotten when wrong."""

from uuid import UUID

from storage.states import Head, HeadCache

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


def _head(number: int) -> Head:
    return Head(head=number, version=1, closed=False, counts={"x_a": number}, is_new=True)


def test_heads_are_given_only_when_all_are_known() -> None:
    cache = HeadCache()
    cache.put({ONE: _head(1)})
    assert cache.of([ONE, TWO]) is None
    cache.put({TWO: _head(2)})
    known = cache.of([ONE, TWO])
    assert known is not None
    assert [known[stream].head for stream in (ONE, TWO)] == [1, 2]
    assert not known[ONE].is_new, "what is remembered is stored"
    assert cache.of([]) == {}


def test_a_batch_that_fails_has_changed_nothing() -> None:
    cache = HeadCache()
    cache.put({ONE: _head(1)})
    for _ in range(2):
        known = cache.of([ONE])
        assert known is not None
        assert (known[ONE].head, known[ONE].counts) == (1, {"x_a": 1})
        known[ONE].head = 9
        known[ONE].counts["x_a"] = 9


def test_what_was_used_longest_ago_goes_first() -> None:
    cache = HeadCache(size=2)
    cache.put({ONE: _head(1)})
    cache.put({TWO: _head(2)})
    cache.put({ONE: _head(1)})
    cache.put({THREE: _head(3)})
    assert cache.of([TWO]) is None
    assert cache.of([ONE, THREE]) is not None


def test_what_is_forgotten_is_unknown() -> None:
    cache = HeadCache()
    cache.put({ONE: _head(1), TWO: _head(2)})
    cache.forget([ONE, THREE])
    assert cache.of([ONE]) is None
    assert cache.of([TWO]) is not None
