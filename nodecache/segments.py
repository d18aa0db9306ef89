"""Segments and lanes of a blob, and which segment is wanted next.

A blob is cut into segments of ``SEGMENT`` bytes, the last one shorter; segment
0 begins at 0. A segment belongs to the lane of its number modulo the number of
lanes. Both sizes are wire constants (limits.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from nodecache.byteranges import RangeSet, Span
from nodecache.limits import CHECKSUM_BLOCK, LANES, SEGMENT


def segment_count(total: int) -> int:
    """How many segments a blob of ``total`` bytes has; the empty one has none."""
    return -(-total // SEGMENT)


def segment_of(offset: int) -> int:
    """The segment that holds the byte at ``offset``."""
    return offset // SEGMENT


def segment_span(index: int, total: int) -> Span:
    """The bytes of segment ``index``. Raises ValueError when the blob has no such segment."""
    if not 0 <= index < segment_count(total):
        raise ValueError(f"a blob of {total} bytes has no segment {index}")
    return Span(index * SEGMENT, min(total, (index + 1) * SEGMENT))


def lanes(total: int) -> int:
    """Into how many lanes the segments fall; one for the empty blob too."""
    return min(LANES, max(1, segment_count(total)))


def lane_of(index: int, total: int) -> int:
    """The lane of segment ``index``; segment 0 is always in lane 0."""
    return index % lanes(total)


def block_spans(span: Span) -> list[Span]:
    """The blocks of ``span`` that have a checksum each, from its start; the last may be shorter."""
    starts = range(span.start, span.stop, CHECKSUM_BLOCK)
    return [Span(start, min(span.stop, start + CHECKSUM_BLOCK)) for start in starts]


def next_segment(
    total: int, present: RangeSet, taken: Collection[int], readers: Sequence[int]
) -> int | None:
    """The segment to fetch next; None when all that is missing is ``taken``.

    ``taken`` are the segments being fetched, ``readers`` the offsets of the
    next byte that each reader wants. First comes the segment that a reader
    waits for, of the reader that is furthest behind; then what is missing in
    sequence from that reader on, so that what is read ahead is what will be
    read, and around to the start.
    """
    positions = sorted(readers)
    for position in positions:
        wanted = present.covered_from(position)
        if wanted < total and segment_of(wanted) not in taken:
            return segment_of(wanted)
    origin = min(positions[0], total) if positions else 0
    for around in (Span(origin, total), Span(0, origin)):
        for index in _missing_segments(around, present):
            if index not in taken:
                return index
    return None


def _missing_segments(within: Span, present: RangeSet) -> Iterator[int]:
    """The segments that lack bytes of ``within``, in sequence; one may come twice."""
    for gap in present.missing(within):
        yield from range(segment_of(gap.start), segment_of(gap.stop - 1) + 1)


def remaining_span(index: int, total: int, present: RangeSet) -> Span:
    """What to ask for of segment ``index``: from its first missing byte to its last.

    Empty, at the segment's end, when nothing is missing. Raises ValueError
    when the blob has no such segment.
    """
    whole = segment_span(index, total)
    gaps = present.missing(whole)
    if not gaps:
        return Span(whole.stop, whole.stop)
    return Span(gaps[0].start, gaps[-1].stop)
