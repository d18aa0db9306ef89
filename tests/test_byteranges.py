"""Ranges of a blob against a plain set of offsets; HTTP's two range headers."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nodecache.byteranges import (
    ContentRange,
    RangeRequest,
    RangeSet,
    Span,
    parse_content_range,
    parse_range,
    parse_range_header,
)
from nodecache.failures import RangeNotSatisfiable
from tests import strategies

LIMIT = 40


def offsets(span: Span) -> set[int]:
    return set(range(span.start, span.stop))


# Spans


@pytest.mark.parametrize(("start", "stop"), [(-1, 0), (-2, -1), (1, 0)])
def test_a_span_runs_forward_from_zero_or_more(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="not a span"):
        Span(start, stop)


def test_a_span_has_the_size_of_what_it_holds() -> None:
    assert Span(2, 5).size == 3
    assert Span(5, 5).size == 0


# The set of present ranges


class RangeSetAgainstOffsets(RuleBasedStateMachine):
    """A RangeSet and a set of integers are told the same."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges = RangeSet()
        self.model: set[int] = set()

    @rule(span=strategies.spans(LIMIT))
    def add(self, span: Span) -> None:
        self.ranges.add(span)
        self.model |= offsets(span)

    @rule(span=strategies.spans(LIMIT))
    def remove(self, span: Span) -> None:
        self.ranges.remove(span)
        self.model -= offsets(span)

    @rule(span=strategies.spans(LIMIT))
    def tell_what_is_contained(self, span: Span) -> None:
        assert self.ranges.contains(span) == (offsets(span) <= self.model)

    @rule(offset=st.integers(0, LIMIT + 2))
    def tell_how_far_the_bytes_from_an_offset_go(self, offset: int) -> None:
        end = offset
        while end in self.model:
            end += 1
        assert self.ranges.covered_from(offset) == end

    @rule(span=strategies.spans(LIMIT + 2))
    def tell_what_is_missing(self, span: Span) -> None:
        gaps = self.ranges.missing(span)
        assert set().union(*map(offsets, gaps)) == offsets(span) - self.model
        assert all(gap.size for gap in gaps)
        assert all(one.stop < two.start for one, two in itertools.pairwise(gaps))

    @rule(total=st.integers(0, LIMIT))
    def tell_whether_it_is_whole(self, total: int) -> None:
        assert self.ranges.is_whole(total) == (set(range(total)) <= self.model)

    @invariant()
    def spans_are_disjoint_in_order_and_do_not_touch(self) -> None:
        spans = self.ranges.spans()
        assert set().union(*map(offsets, spans)) == self.model
        assert all(span.size for span in spans)
        assert all(one.stop < two.start for one, two in itertools.pairwise(spans))

    @invariant()
    def the_total_is_the_number_of_bytes(self) -> None:
        assert self.ranges.total() == len(self.model)

    @invariant()
    def a_copy_is_equal_and_independent(self) -> None:
        copy = self.ranges.copy()
        assert copy == self.ranges
        copy.add(Span(LIMIT + 5, LIMIT + 6))
        assert copy != self.ranges
        assert self.ranges.total() == len(self.model)


TestRangeSetAgainstOffsets = RangeSetAgainstOffsets.TestCase


@given(st.lists(strategies.spans(LIMIT), max_size=10), st.randoms(use_true_random=False))
def test_the_order_of_adding_makes_no_difference(spans: list[Span], order: random.Random) -> None:
    shuffled = list(spans)
    order.shuffle(shuffled)
    assert RangeSet(spans) == RangeSet(shuffled)


def test_spans_that_touch_become_one() -> None:
    ranges = RangeSet([Span(0, 5), Span(7, 9)])
    ranges.add(Span(5, 7))
    assert ranges.spans() == (Span(0, 9),)
    assert repr(ranges) == "RangeSet(0-9)"


def test_the_empty_blob_is_whole_from_the_beginning() -> None:
    assert RangeSet().is_whole(0)
    assert not RangeSet().is_whole(1)


def test_a_set_of_ranges_is_compared_by_value_and_not_hashed() -> None:
    assert RangeSet([Span(0, 1)]) != RangeSet([Span(0, 2)])
    assert RangeSet() != "RangeSet()"
    with pytest.raises(TypeError):
        hash(RangeSet())


# Range


@pytest.mark.parametrize(
    ("header", "size", "span"),
    [
        ("bytes=0-0", 10, Span(0, 1)),
        ("bytes=2-5", 10, Span(2, 6)),
        ("bytes=0-", 10, Span(0, 10)),
        ("bytes=9-", 10, Span(9, 10)),
        ("bytes=0-9", 10, Span(0, 10)),
        ("bytes=0-10", 10, Span(0, 10)),
        ("bytes=5-999999999999999999999999999999", 10, Span(5, 10)),
        ("bytes=-1", 10, Span(9, 10)),
        ("bytes=-10", 10, Span(0, 10)),
        ("bytes=-11", 10, Span(0, 10)),
        ("bytes=-" + "9" * 5000, 10, Span(0, 10)),
        ("bytes=00002-0000000000000000000000005", 10, Span(2, 6)),
        ("BYTES=2-5", 10, Span(2, 6)),
        (" bytes=2-5", 10, Span(2, 6)),
        ("bytes= 2-5 ", 10, Span(2, 6)),
        ("bytes=,2-5,, ", 10, Span(2, 6)),
    ],
)
def test_single_ranges_that_are_served(header: str, size: int, span: Span) -> None:
    assert parse_range(header, size) == span


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=,",
        "bytes=a-b",
        "bytes=0",
        "bytes=5-2",
        "bytes=0--1",
        "bytes=--1",
        "bytes=+0-1",
        "bytes=0x0-0x5",
        "bytes=0-5.0",
        "bytes=1 - 2",
        "bytes=\u0661-\u0662",
        "bytes=0-5\n",
        "bytes=0-5;q=1",
        "bytes:0-5",
        "bytes 0-5/10",
        "items=0-5",
        "bytesx=0-5",
        "0-5",
        "bytes=0-1,3-4",
        "bytes=0-1, -1",
        "bytes=0-0," * 500,
        "bytes=" + "0-0," * 2000 + "1-1",
    ],
)
def test_headers_that_are_answered_with_the_whole(header: str | None) -> None:
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    "header", ["bytes=10-", "bytes=10-10", "bytes=11-20", "bytes=-0", "bytes=" + "9" * 5000 + "-"]
)
def test_ranges_behind_the_end_can_not_be_satisfied(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_range(header, 10)
    assert caught.value.size == 10


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=5-", "bytes=-5", "bytes=-0"])
def test_any_range_of_an_empty_blob_is_answered_with_the_whole(header: str) -> None:
    assert parse_range(header, 0) is None


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 30))
def test_a_closed_range_is_the_bytes_it_names_as_far_as_there_are_any(
    first: int, last: int, size: int
) -> None:
    wanted = set(range(first, last + 1)) & set(range(size))
    header = f"bytes={first}-{last}"
    if first > last:
        assert parse_range(header, size) is None
    elif wanted:
        span = parse_range(header, size)
        assert span is not None
        assert offsets(span) == wanted
    else:
        with pytest.raises(RangeNotSatisfiable):
            parse_range(header, size)


@given(st.integers(1, 40), st.integers(1, 30))
def test_a_suffix_is_the_last_bytes(length: int, size: int) -> None:
    span = parse_range(f"bytes=-{length}", size)
    assert span is not None
    assert offsets(span) == set(list(range(size))[-length:])


@given(st.one_of(st.text(max_size=30), st.text("bytes=0123456789-, \t", max_size=20)))
def test_any_text_is_a_range_or_ignored(header: str) -> None:
    for text in (header, "bytes=" + header):
        try:
            span = parse_range(text, 100)
        except RangeNotSatisfiable:
            continue
        assert span is None or (0 <= span.start < span.stop <= 100)


@pytest.mark.parametrize(
    ("header", "request_", "open_ended", "everything"),
    [
        ("bytes=0-", RangeRequest(0, None), True, True),
        ("bytes=7-", RangeRequest(7, None), True, False),
        ("bytes=-7", RangeRequest(None, 7), True, False),
        ("bytes=-0", RangeRequest(None, 0), True, False),
        ("bytes=0-7", RangeRequest(0, 7), False, False),
    ],
)
def test_a_range_is_understood_before_the_size_is_known(
    header: str, request_: RangeRequest, open_ended: bool, everything: bool
) -> None:
    request = parse_range_header(header)
    assert request == request_
    assert request is not None
    assert request.is_open_ended == open_ended
    assert request.is_everything == everything


@pytest.mark.parametrize("request_", [RangeRequest(0, None), RangeRequest(None, 5)])
def test_no_range_of_an_empty_blob_resolves(request_: RangeRequest) -> None:
    with pytest.raises(RangeNotSatisfiable):
        request_.resolve(0)


# Content-Range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes 0-9/10", ContentRange(Span(0, 10), 10)),
        ("bytes 2-5/10", ContentRange(Span(2, 6), 10)),
        ("bytes 2-5/*", ContentRange(Span(2, 6), None)),
        ("bytes */10", ContentRange(None, 10)),
        ("bytes */0", ContentRange(None, 0)),
        ("BYTES  2-5/10 ", ContentRange(Span(2, 6), 10)),
    ],
)
def test_content_ranges_that_can_be(header: str, expected: ContentRange) -> None:
    assert parse_content_range(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes 0-9",
        "bytes=0-9/10",
        "0-9/10",
        "items 0-9/10",
        "bytes */*",
        "bytes 5-4/10",
        "bytes 5-3/10",
        "bytes 0-10/10",
        "bytes 0-9/0",
        "bytes -9/10",
        "bytes 0-/10",
        "bytes -1-9/10",
        "bytes 0-9/-10",
        "bytes 0-9/ten",
        "bytes 0 - 9/10",
        "bytes 0-9/10\n",
        "bytes 0-9/10, bytes 0-9/10",
        "bytes \u0660-9/10",
        "bytes 0-9/" + "9" * 5000,
    ],
)
def test_content_ranges_that_can_not_be(header: str) -> None:
    with pytest.raises(ValueError, match="Content-Range"):
        parse_content_range(header)


@given(st.integers(0, 10**15), st.integers(1, 10**15), st.integers(0, 10**15), st.booleans())
def test_a_content_range_is_read_back_from_its_text(
    start: int, size: int, rest: int, known: bool
) -> None:
    made = ContentRange(Span(start, start + size), start + size + rest if known else None)
    assert parse_content_range(str(made)) == made


@given(st.integers(0, 10**15))
def test_the_content_range_of_a_refusal_is_read_back_from_its_text(total: int) -> None:
    made = ContentRange(None, total)
    assert parse_content_range(str(made)) == made


@given(st.text(max_size=30))
def test_any_text_is_a_content_range_or_a_value_error(header: str) -> None:
    for text in (header, "bytes " + header):
        try:
            found = parse_content_range(text)
        except ValueError:
            continue
        assert found.span is not None or found.total is not None
