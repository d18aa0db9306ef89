"""How many segments are asked for at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.byteranges import RangeSet, Span
from nodecache.fill.ramp import Ramp
from nodecache.fill.stride import MOST, row, stride
from nodecache.limits import MIB, SEGMENT
from nodecache.segments import remaining
from tests import flight_case
from tests.flight_case import M, small_limits
from tests.test_fill_connections import Flowing

TOTAL = 12 * SEGMENT - 3


@pytest.mark.parametrize(
    ("size", "seconds", "count"),
    [
        (SEGMENT, 0.0, 1),
        (SEGMENT, -1.0, 1),
        (SEGMENT, 0.7, 1),  # 100 Mbit/s
        (SEGMENT, 0.1, 2),
        (SEGMENT, 0.02, MOST),
        (3 * SEGMENT, 0.3, 2),
        (MOST * SEGMENT, 60.0, 1),
    ],
)
def test_as_many_as_come_in_a_quarter_of_a_second(size: int, seconds: float, count: int) -> None:
    assert stride(size, seconds) == count


def test_a_row_ends_before_what_is_here_or_fetched_or_behind_the_end() -> None:
    present = RangeSet([Span(5 * SEGMENT + 9, 5 * SEGMENT + 10)])
    assert row(None, 8, TOTAL, present, ()) == range(0)
    assert row(2, 8, TOTAL, present, ()) == range(2, 5)
    assert row(2, 8, TOTAL, present, {4}) == range(2, 4)
    assert row(5, 8, TOTAL, present, {8}) == range(5, 8)
    assert row(10, 8, TOTAL, present, ()) == range(10, 12)
    assert row(2, 1, TOTAL, present, ()) == range(2, 3)


@given(
    index=st.integers(0, 11),
    count=st.integers(1, MOST),
    taken=st.sets(st.integers(0, 11)),
    here=st.lists(st.tuples(st.integers(0, TOTAL - 1), st.integers(1, 2 * SEGMENT)), max_size=4),
)
def test_what_is_asked_for_is_missing_and_nobody_elses(
    index: int, count: int, taken: set[int], here: list[tuple[int, int]]
) -> None:
    present = RangeSet(Span(at, min(TOTAL, at + size)) for at, size in here)
    segments = row(index, count, TOTAL, present, taken)
    assert segments[0] == index
    assert len(segments) <= count
    assert taken.isdisjoint(segments[1:])
    span = remaining(segments, TOTAL, present)
    if not span.size:
        assert len(segments) == 1
        return
    for offset in (span.start, span.stop - 1):
        assert present.covered_from(offset) == offset
    assert index * SEGMENT <= span.start < span.stop <= min(TOTAL, (segments[-1] + 1) * SEGMENT)


def test_nothing_is_asked_for_where_there_are_no_segments() -> None:
    assert remaining(range(0), TOTAL, RangeSet()).size == 0


def test_a_rate_that_is_enough_ends_the_ramp() -> None:
    for rate, closed in ((99, False), (100, True)):
        ramp = Ramp(seconds=1.0, count=10, enough=100)
        ramp.received(1, 0.0)
        assert ramp.received(rate, 1.0) is not closed
        assert ramp.closed is closed


class Rows(Flowing):
    limits = small_limits(connections_per_blob=3, ramp_bytes=M, ramp_enough=25 * MIB)

    def spans(self) -> list[Span]:
        return [asked.span for asked in self.origin.asked if asked.span is not None]

    def asked(self) -> list[int]:
        """How many segments each question was for."""
        return [-(-span.size // flight_case.SEGMENT) for span in self.spans()]

    def test_a_fast_source_is_asked_for_several_at_a_time_over_one_connection(self) -> None:
        digest, data = self.blob(16 * flight_case.SEGMENT)
        flight = self.flying(digest)
        while self.origin.open_bodies:
            self.flow(800 * M, self.timeouts.ramp)
            self.assertLessEqual(flight.connections, 1)
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.asked()[0], 1)
        self.assertEqual(max(self.asked()), MOST)
        self.assertEqual(sum(self.asked()), 16)

    def test_a_slow_source_is_asked_for_one_after_the_other(self) -> None:
        digest, data = self.blob(4 * flight_case.SEGMENT)
        self.flying(digest)
        while self.origin.open_bodies:
            self.flow(10 * M, self.timeouts.ramp, most=10 * M)
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(set(self.asked()), {1})

    def test_one_who_joins_takes_nothing_of_a_row(self) -> None:
        """The source is fast until it was asked for several, and slow from then on."""
        self.limits = small_limits(connections_per_blob=3, ramp_bytes=M)
        self.fills = self.new_fills()
        digest, data = self.blob(24 * flight_case.SEGMENT)
        flight = self.flying(digest)
        while max(self.asked()) == 1:
            self.flow(800 * M, self.timeouts.ramp / 5)
        while flight.connections == 1:
            self.flow(10 * M, self.timeouts.ramp)
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(sum(span.size for span in self.spans()), len(data))

    def test_a_row_that_is_cut_is_taken_up_where_it_broke_off(self) -> None:
        digest, data = self.blob(12 * flight_case.SEGMENT)
        self.flying(digest)
        while max(self.asked()) == 1:
            self.flow(800 * M, self.timeouts.ramp / 5)
        before = len(self.asked())
        (body,) = self.origin.open_bodies
        body.send(2 * flight_case.SEGMENT + 5)
        self.settle()
        body.cut()
        self.settle()
        cut, again = self.spans()[before - 1 : before + 1]
        self.assertEqual(again, Span(cut.start + 2 * flight_case.SEGMENT + 5, cut.stop))
        self.finish()
        self.assertEqual(self.stored(digest), data)
