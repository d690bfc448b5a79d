"""The parser of server-sent events gives the same blocks however the bytes are cut, and knows the standard's corners."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from missionstream_client import sse
from missionstream_client.errors import ProtocolError
from missionstream_client.sse import Block, Comment, SseParser

LINES = st.one_of(
    st.just(""),
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["data", "event", "id", "retry", "other", ""]),
        st.sampled_from([":", ": ", ":  ", ""]),
        st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=8),
    ),
)
STREAMS = st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r", "\r\n"])), max_size=30).map(
    lambda lines: "".join(line + end for line, end in lines).encode()
)


def parsed(*pieces: bytes) -> list[Block | Comment]:
    parser = SseParser()
    return [item for piece in pieces for item in parser.feed(piece)]


@given(stream=STREAMS, data=st.data())
def test_any_split_gives_the_same_blocks(stream: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    bounds = sorted([0, *cuts, len(stream)])
    assert parsed(*(stream[a:b] for a, b in pairwise(bounds))) == parsed(stream)


@given(STREAMS)
def test_bytes_one_by_one_give_the_same_blocks(stream: bytes) -> None:
    assert parsed(*(stream[i : i + 1] for i in range(len(stream)))) == parsed(stream)


VALUES = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=8)
BLOCKS = st.builds(
    Block,
    event=st.none() | VALUES,
    data=st.none() | st.lists(VALUES, min_size=1, max_size=3).map("\n".join),
    id=st.none() | VALUES,
    retry_ms=st.none() | st.integers(0, 10**6),
).filter(lambda block: block != Block())


def written(block: Block, end: str) -> str:
    fields = [("event", block.event), ("id", block.id), ("retry", block.retry_ms)]
    lines = [f"{name}: {value}{end}" for name, value in fields if value is not None]
    lines += [f"data: {line}{end}" for line in (block.data.split("\n") if block.data is not None else [])]
    return "".join(lines) + end


@given(st.lists(BLOCKS, max_size=6), st.sampled_from(["\n", "\r", "\r\n"]))
def test_what_was_written_is_read(blocks: list[Block], end: str) -> None:
    assert parsed("".join(written(block, end) for block in blocks).encode()) == blocks


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("data: a\ndata\ndata:b\n\n", [Block(data="a\n\nb")]),
        ("data:  two spaces\n\n", [Block(data=" two spaces")]),
        ("id: 7\n\n", [Block(id="7")]),
        ("id: a\0b\ndata: x\n\n", [Block(data="x")]),
        ("id\ndata: x\n\n", [Block(data="x", id="")]),
        (": heartbeat head=9\n\n", [Comment("heartbeat head=9")]),
        ("data: a\n: between\ndata: b\n\n", [Comment("between"), Block(data="a\nb")]),
        ("retry: 10\n\nretry: 1x\n\n", [Block(retry_ms=10)]),
        ("\ufeffdata: bom\n\n", [Block(data="bom")]),
        ("event: e\r\rdata: x\r\n\r\n", [Block(event="e"), Block(data="x")]),
        ("data: a\u2028b\x0bc\n\n", [Block(data="a\u2028b\x0bc")]),
        ("unknown: x\n\n\n\n", []),
        ("data: cut\nid: 3\n", []),
    ],
)
def test_the_corners_of_the_standard(stream: str, expected: list[Block | Comment]) -> None:
    assert parsed(stream.encode()) == expected


def test_a_block_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_BLOCK_CHARACTERS", 100)
    parser = SseParser()
    for _ in range(10):
        parser.feed(b"data: as many blocks as you like\n\n")
    parser.feed(b"data: one block\n" * 6)
    with pytest.raises(ProtocolError):
        parser.feed(b"data: one block\n")
