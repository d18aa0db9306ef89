"""How a blob is cut, and which segment is wanted next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.byteranges import RangeSet, Span
from nodecache.limits import CHECKSUM_BLOCK, SEGMENT
from nodecache.segments import (
    Spread,
    block_spans,
    lane_of,
    lanes,
    next_segment,
    remaining_span,
    segment_count,
    segment_of,
    segment_span,
)
from tests import strategies

LIMIT = 12 * SEGMENT
totals = st.one_of(
    st.integers(0, 12).map(lambda count: count * SEGMENT),
    st.integers(0, LIMIT),
    st.tuples(st.integers(1, 11), st.sampled_from([-1, 1])).map(lambda p: p[0] * SEGMENT + p[1]),
)
presents = strategies.range_sets(LIMIT, step=SEGMENT // 2)
readers = st.lists(
    st.one_of(st.integers(0, LIMIT), st.integers(0, 12).map(lambda n: n * SEGMENT)), max_size=3
)
takens = st.sets(st.integers(0, 12), max_size=8)


def clipped(present: RangeSet, total: int) -> RangeSet:
    """``present`` as far as the blob goes."""
    present.remove(Span(total, max(total, LIMIT)))
    return present


def lacking(total: int, present: RangeSet) -> list[int]:
    """The segments that are not whole."""
    count = segment_count(total)
    return [index for index in range(count) if not present.contains(segment_span(index, total))]


@pytest.mark.parametrize(
    ("total", "count", "lane_count"),
    [
        (0, 0, 1),
        (1, 1, 1),
        (SEGMENT - 1, 1, 1),
        (SEGMENT, 1, 1),
        (SEGMENT + 1, 2, 2),
        (8 * SEGMENT, 8, 8),
        (8 * SEGMENT + 1, 9, 8),
        (256 * SEGMENT, 256, 8),
    ],
)
def test_segments_and_lanes_of_a_blob(total: int, count: int, lane_count: int) -> None:
    assert segment_count(total) == count
    assert lanes(total) == lane_count


@given(totals)
def test_the_segments_are_the_blob_in_order_without_gap(total: int) -> None:
    spans = [segment_span(index, total) for index in range(segment_count(total))]
    assert sum(span.size for span in spans) == total
    assert RangeSet(spans).is_whole(total)
    for index, span in enumerate(spans):
        assert segment_of(span.start) == segment_of(span.stop - 1) == index
        assert span.start == index * SEGMENT


@pytest.mark.parametrize(("index", "total"), [(0, 0), (-1, 1), (1, SEGMENT), (2, SEGMENT + 1)])
def test_a_segment_that_the_blob_does_not_have(index: int, total: int) -> None:
    with pytest.raises(ValueError, match="no segment"):
        segment_span(index, total)
    with pytest.raises(ValueError, match="no segment"):
        remaining_span(index, total, RangeSet())


def test_segments_go_around_the_lanes() -> None:
    assert [lane_of(index, 3 * SEGMENT) for index in range(3)] == [0, 1, 2]
    assert [lane_of(index, 20 * SEGMENT) for index in (0, 7, 8, 9, 17)] == [0, 7, 0, 1, 1]


@given(totals)
def test_blocks_cut_a_segment_into_pieces_of_a_mebibyte(total: int) -> None:
    for index in range(segment_count(total)):
        span = segment_span(index, total)
        blocks = block_spans(span)
        assert RangeSet(blocks).spans() == (span,)
        assert sum(block.size for block in blocks) == span.size
        assert all(block.size == CHECKSUM_BLOCK for block in blocks[:-1])


def test_nothing_has_no_blocks() -> None:
    assert block_spans(Span(5, 5)) == []


# Which segment next


def wanted(
    total: int,
    present: list[tuple[int, int]] | None = None,
    taken: tuple[int, ...] = (),
    readers: tuple[float, ...] = (),
) -> int | None:
    """``next_segment`` with everything counted in segments."""
    spans = [Span(start * SEGMENT, stop * SEGMENT) for start, stop in present or []]
    offsets = [int(reader * SEGMENT) for reader in readers]
    return next_segment(total * SEGMENT, RangeSet(spans), taken, offsets)


def test_without_readers_it_goes_in_sequence() -> None:
    assert wanted(4) == 0
    assert wanted(4, taken=(0,)) == 1
    assert wanted(4, [(0, 2)]) == 2
    assert wanted(4, [(0, 2)], taken=(2, 3)) is None
    assert wanted(4, [(0, 4)]) is None
    assert wanted(0) is None


def test_the_segment_at_a_readers_position_comes_first() -> None:
    assert wanted(9, readers=(5,)) == 5
    assert wanted(9, readers=(5.5,)) == 5


def test_a_reader_waits_for_the_end_of_what_is_present_at_its_position() -> None:
    assert wanted(9, [(2, 6)], readers=(3,)) == 6


def test_the_reader_furthest_behind_comes_first_and_the_other_next() -> None:
    assert wanted(9, readers=(7, 4)) == 4
    assert wanted(9, taken=(4,), readers=(7, 4)) == 7


def test_readers_that_wait_come_before_what_is_read_ahead() -> None:
    assert wanted(9, taken=(1,), readers=(1, 8)) == 8


def test_what_is_read_ahead_follows_the_reader() -> None:
    assert wanted(9, taken=(5,), readers=(5,)) == 6
    assert wanted(9, [(7, 8)], taken=(5, 6), readers=(5,)) == 8


def test_after_the_end_it_goes_around_to_the_start() -> None:
    assert wanted(9, taken=(7, 8), readers=(7,)) == 0
    assert wanted(9, [(0, 1)], taken=(7, 8), readers=(7,)) == 1


def test_the_start_of_a_segment_that_a_reader_stands_in_is_not_forgotten() -> None:
    present = RangeSet([Span(SEGMENT // 2, SEGMENT)])
    assert next_segment(SEGMENT, present, (), [SEGMENT // 2]) == 0


def test_a_reader_at_the_end_or_behind_it_wants_nothing() -> None:
    assert wanted(4, [(3, 4)], readers=(4,)) == 0
    assert wanted(4, readers=(9,)) == 0


@given(totals, presents, takens, readers)
def test_the_next_segment_lacks_bytes_and_is_not_taken(
    total: int, present: RangeSet, taken: set[int], readers: list[int]
) -> None:
    clipped(present, total)
    found = next_segment(total, present, taken, readers)
    open_ = set(lacking(total, present)) - taken
    assert (found is None) == (not open_)
    assert found is None or found in open_


@given(totals, presents, takens, readers)
def test_no_segment_is_preferred_to_one_that_a_reader_waits_for(
    total: int, present: RangeSet, taken: set[int], readers: list[int]
) -> None:
    clipped(present, total)
    waiting = [
        segment_of(present.covered_from(reader))
        for reader in sorted(readers)
        if present.covered_from(reader) < total
    ]
    free = [index for index in waiting if index not in taken]
    if free:
        assert next_segment(total, present, taken, readers) == free[0]


@given(totals, presents, readers)
def test_fetching_what_is_wanted_next_makes_the_blob_whole_segment_by_segment(
    total: int, present: RangeSet, readers: list[int]
) -> None:
    clipped(present, total)
    lacked = lacking(total, present)
    fetched = []
    while (index := next_segment(total, present, (), readers)) is not None:
        fetched.append(index)
        present.add(remaining_span(index, total, present))
    assert sorted(fetched) == lacked
    assert present.is_whole(total)


# Only some bytes are wanted


def some(*spans: tuple[float, float]) -> RangeSet:
    """Bytes counted in segments."""
    return RangeSet(Span(int(start * SEGMENT), int(stop * SEGMENT)) for start, stop in spans)


def test_only_segments_with_wanted_bytes_are_fetched() -> None:
    """A node that lends a lane fetches that lane, not the blob."""
    lane, total = some((1, 2), (9, 10), (17, 17.5)), 24 * SEGMENT
    order, present = [], RangeSet()
    while (index := next_segment(total, present, (), (), within=lane)) is not None:
        order.append(index)
        present.add(segment_span(index, total))
    assert order == [1, 9, 17]


def test_a_segment_whose_wanted_bytes_are_present_is_left_alone() -> None:
    present = some((3, 3.5))
    assert next_segment(9 * SEGMENT, present, (), (), within=some((3, 3.5))) is None
    assert next_segment(9 * SEGMENT, present, (), (), within=some((3, 3.6))) == 3


def test_a_reader_outside_of_what_is_wanted_does_not_come_first() -> None:
    within = some((2, 3), (6, 7))
    assert next_segment(9 * SEGMENT, RangeSet(), (), [5 * SEGMENT], within=within) == 6
    assert next_segment(9 * SEGMENT, RangeSet(), (), [2 * SEGMENT], within=within) == 2
    past = next_segment(9 * SEGMENT, some((2, 3)), (), [2 * SEGMENT], within=within)
    assert past == 6


@given(totals, presents, takens, readers, presents, st.one_of(st.none(), st.integers(0, 9)))
def test_what_is_wanted_is_found_whatever_the_order(
    total: int,
    present: RangeSet,
    taken: set[int],
    readers: list[int],
    within: RangeSet,
    seed: int | None,
) -> None:
    clipped(present, total)
    clipped(within, total)
    spread = None if seed is None else Spread(seed, 4)
    found = next_segment(total, present, taken, readers, within=within, spread=spread)
    open_ = {
        segment_of(gap.start) + step
        for span in within.spans()
        for gap in present.missing(span)
        for step in range(segment_of(gap.stop - 1) - segment_of(gap.start) + 1)
    } - taken
    assert (found is None) == (not open_)
    assert found is None or found in open_


# Scattered


def scattered(total: int, seed: int, *, window: int = 32) -> list[int]:
    """The order in which a fill that fetches one segment at a time fetches the blob."""
    order, present, size = [], RangeSet(), total * SEGMENT
    spread = Spread(seed, window)
    while (index := next_segment(size, present, (), (), spread=spread)) is not None:
        order.append(index)
        present.add(segment_span(index, size))
    return order


def test_the_same_seed_gives_the_same_order_and_another_one_another() -> None:
    assert scattered(64, 1) == scattered(64, 1)
    assert len({tuple(scattered(64, seed)) for seed in range(20)}) == 20


@pytest.mark.parametrize("seed", range(5))
def test_all_segments_come_and_none_far_before_its_turn(seed: int) -> None:
    order = scattered(100, seed, window=8)
    assert sorted(order) == list(range(100))
    assert all(index < place + 8 for place, index in enumerate(order))


def test_the_order_stays_scattered_to_the_end() -> None:
    """It does not fall back into the blob's own sequence after the first window."""
    firsts = [scattered(256, seed)[200] for seed in range(200)]
    assert len(set(firsts)) > 20


def test_the_segment_that_a_reader_waits_for_is_not_scattered() -> None:
    spread = Spread(7)
    total = 40 * SEGMENT
    assert next_segment(total, RangeSet(), (), [5 * SEGMENT], spread=spread) == 5
    assert next_segment(total, some((5, 9)), (), [5 * SEGMENT], spread=spread) == 9


def test_lanes_of_which_the_fewest_segments_are_taken_come_first() -> None:
    taken = [0, 1, 2, 3, 4, 5, 7, 8 + 6, 16 + 7]
    for seed in range(30):
        found = next_segment(64 * SEGMENT, RangeSet(), taken, (), spread=Spread(seed))
        assert found is not None
        assert found % 8 != 7
    taken.remove(14)
    for seed in range(30):
        found = next_segment(64 * SEGMENT, RangeSet(), taken, (), spread=Spread(seed))
        assert found is not None
        assert found % 8 == 6


def test_a_big_blob_is_looked_at_no_further_than_the_window() -> None:
    """80 GiB: the cost of a choice does not grow with what is missing."""
    found = next_segment(10_240 * SEGMENT, RangeSet(), (), (), spread=Spread(3, 32))
    assert found is not None
    assert found < 32


# What to ask for of a segment


def test_an_untouched_segment_is_asked_for_whole() -> None:
    assert remaining_span(1, 2 * SEGMENT + 5, RangeSet()) == Span(SEGMENT, 2 * SEGMENT)
    assert remaining_span(2, 2 * SEGMENT + 5, RangeSet()) == Span(2 * SEGMENT, 2 * SEGMENT + 5)


def test_a_segment_partly_present_is_asked_for_from_its_first_missing_byte() -> None:
    present = RangeSet([Span(0, SEGMENT + 7)])
    assert remaining_span(1, 3 * SEGMENT, present) == Span(SEGMENT + 7, 2 * SEGMENT)


def test_a_segment_whose_end_is_present_is_asked_for_up_to_there() -> None:
    present = RangeSet([Span(10, 20), Span(30, SEGMENT)])
    assert remaining_span(0, SEGMENT, present) == Span(0, 30)


def test_nothing_is_asked_for_of_a_whole_segment() -> None:
    assert remaining_span(0, SEGMENT, RangeSet([Span(0, SEGMENT)])).size == 0


@given(totals.filter(bool), presents, st.data())
def test_what_remains_is_all_that_is_missing_without_more_at_its_ends(
    total: int, present: RangeSet, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, segment_count(total) - 1))
    whole = segment_span(index, total)
    remaining = remaining_span(index, total, present)
    gaps = present.missing(whole)
    assert (remaining.size == 0) == (not gaps)
    if gaps:
        assert (remaining.start, remaining.stop) == (gaps[0].start, gaps[-1].stop)
