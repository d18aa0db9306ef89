"""Checksums of a segment whose bytes come in runs."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.byteranges import Span
from nodecache.fill import sums
from nodecache.fill.sums import SegmentSums

BLOCK = 16
START = 3 * BLOCK


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "CHECKSUM_BLOCK", BLOCK)


def right(data: bytes) -> tuple[int, ...]:
    return tuple(zlib.crc32(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK))


def fed(data: bytes, spans: list[tuple[int, int]]) -> list[tuple[int, ...] | None]:
    """What comes of each piece; offsets are those within the segment."""
    of = SegmentSums(Span(START, START + len(data)))
    return [of.feed(START + start, memoryview(data)[start:stop]) for start, stop in spans]


@given(st.data(), st.integers(1, 5 * BLOCK), st.integers(0, 1 << 30))
def test_whatever_the_order_of_runs_and_pieces_the_sums_are_those_of_the_blocks(
    data: st.DataObject, size: int, seed: int
) -> None:
    content = random.Random(seed).randbytes(size)
    blocks = st.integers(1, max(1, (size - 1) // BLOCK))
    starts = sorted({0, *(at * BLOCK for at in data.draw(st.lists(blocks, max_size=3)))})
    starts = [start for start in starts if start < size]
    runs = [list(span) for span in zip(starts, [*starts[1:], size], strict=True)]
    pieces = []
    while runs:
        run = data.draw(st.sampled_from(runs))
        stop = data.draw(st.integers(run[0] + 1, run[1]))
        pieces.append((run[0], stop))
        run[0] = stop
        runs = [each for each in runs if each[0] < each[1]]
    *before, last = fed(content, pieces)
    assert last == right(content)
    assert set(before) <= {None}


def test_a_piece_may_go_on_from_one_run_into_what_nobody_has_begun() -> None:
    data = bytes(range(3 * BLOCK))
    assert fed(data, [(0, 5), (5, BLOCK + 3), (BLOCK + 3, 3 * BLOCK)])[-1] == right(data)


def test_a_run_that_begins_within_a_block_has_no_sums() -> None:
    data = bytes(range(3 * BLOCK))
    assert fed(data, [(0, 5), (7, 3 * BLOCK), (5, 7)]) == [None, None, None]


def test_a_segment_that_comes_again_has_the_sums_of_the_later_bytes() -> None:
    data = bytes(range(2 * BLOCK))
    of = SegmentSums(Span(START, START + len(data)))
    assert of.feed(START, memoryview(b"x" * (BLOCK + 3))) is None
    assert of.feed(START, memoryview(data)[:BLOCK]) is None
    assert of.feed(START + BLOCK, memoryview(data)[BLOCK:]) == right(data)


def test_of_a_run_of_which_a_part_comes_again_nothing_is_kept() -> None:
    data = bytes(range(2 * BLOCK))
    of = SegmentSums(Span(START, START + len(data)))
    assert of.feed(START, memoryview(data)[: BLOCK + 5]) is None
    assert of.feed(START + BLOCK, memoryview(data)[BLOCK:]) is None
