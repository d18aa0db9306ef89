"""Segments and lanes of a blob, and which segment is wanted next.

A blob is cut into segments of ``SEGMENT`` bytes, the last one shorter; segment
0 begins at 0. A segment belongs to the lane of its number modulo the number of
lanes. Both sizes are wire constants (limits.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Final

import attrs

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


@attrs.frozen
class Spread:
    """How what is read ahead is scattered, so that nodes which fetch together differ in order.

    The choice falls among the next ``window`` missing segments. It follows from
    ``seed`` and what is missing alone: the same question has the same answer.
    At most ``at_a_time`` segments are asked for at a time.
    """

    seed: int
    window: int = 24
    at_a_time: int = 8


def next_segment(
    total: int,
    present: RangeSet,
    taken: Collection[int],
    readers: Sequence[int],
    *,
    within: RangeSet | None = None,
    spread: Spread | None = None,
) -> int | None:
    """The segment to fetch next; None when all that is missing is ``taken``.

    ``taken`` are the segments being fetched, ``readers`` the offsets of the
    next byte that each reader wants; only bytes ``within`` are wanted, where
    it is given. First comes the segment that a reader waits for, of the reader
    that is furthest behind; then what is missing in sequence from that reader
    on, so that what is read ahead is what will be read, and around to the
    start. With ``spread`` what is read ahead is chosen from a window of that
    sequence, from the lanes first of which the fewest segments are taken.
    """
    positions = sorted(readers)
    for position in positions:
        offset = present.covered_from(position)
        if offset < total and segment_of(offset) not in taken and _holds(within, offset):
            return segment_of(offset)
    origin = min(positions[0], total) if positions else 0
    ahead = _open_segments(origin, total, present, taken, within)
    if spread is None:
        return next(ahead, None)
    return _scattered(list(islice(ahead, spread.window)), taken, lanes(total), spread.seed)


def _holds(within: RangeSet | None, offset: int) -> bool:
    return within is None or within.covered_from(offset) > offset


def _open_segments(
    origin: int, total: int, present: RangeSet, taken: Collection[int], within: RangeSet | None
) -> Iterator[int]:
    """What is missing and not taken, each once, in sequence from ``origin`` on and around."""
    seen: set[int] = set()
    for around in (Span(origin, total), Span(0, origin)):
        for wanted in (around,) if within is None else _common(around, within):
            for index in _missing_segments(wanted, present):
                if index not in seen and index not in taken:
                    seen.add(index)
                    yield index


def _common(around: Span, within: RangeSet) -> Iterator[Span]:
    """The parts of ``around`` that are ``within``, in sequence."""
    for span in within.spans():
        start, stop = max(span.start, around.start), min(span.stop, around.stop)
        if start < stop:
            yield Span(start, stop)


def _missing_segments(within: Span, present: RangeSet) -> Iterator[int]:
    """The segments that lack bytes of ``within``, in sequence; one may come twice."""
    for gap in present.missing(within):
        yield from range(segment_of(gap.start), segment_of(gap.stop - 1) + 1)


def _scattered(window: list[int], taken: Collection[int], lane_count: int, seed: int) -> int | None:
    """One of ``window``, in no sequence, of a lane of which little is taken.

    What the choice is drawn from changes with each draw: were each segment
    given a rank once for all, the low ranks would go at once, the high ones
    fill the window, and the order would soon be that of the blob.
    """
    if not window:
        return None
    busy = Counter(index % lane_count for index in taken)
    least = min(busy[index % lane_count] for index in window)
    idle = [index for index in window if busy[index % lane_count] == least]
    return idle[_mixed(seed, idle[0], idle[-1], len(idle)) % len(idle)]


def _mixed(*numbers: int) -> int:
    """64 bits in which every bit of ``numbers`` counts (the finalizer of SplitMix64)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & _WORD
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _WORD
        state ^= state >> 31
    return state


_WORD: Final = (1 << 64) - 1


def remaining_span(index: int, total: int, present: RangeSet) -> Span:
    """What to ask for of segment ``index``: from its first missing byte to its last.

    Empty, at the segment's end, when nothing is missing. Raises ValueError
    when the blob has no such segment.
    """
    return remaining(range(index, index + 1), total, present)


def remaining(segments: range, total: int, present: RangeSet) -> Span:
    """What to ask for of ``segments``: from the first missing byte to the last.

    Empty when nothing is missing. Raises ValueError when the blob has no such.
    """
    if not segments:
        return Span(0, 0)
    first, last = segment_span(segments[0], total), segment_span(segments[-1], total)
    return remaining_of(Span(first.start, last.stop), present)


def remaining_of(whole: Span, present: RangeSet) -> Span:
    """From the first byte that is missing of ``whole`` to the last; empty when none is."""
    gaps = present.missing(whole)
    return Span(gaps[0].start, gaps[-1].stop) if gaps else Span(whole.stop, whole.stop)
