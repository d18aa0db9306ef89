"""The set of present ranges of a blob; HTTP ``Range`` and ``Content-Range``.

Offsets are bytes from the start of the blob. Spans are half open inside; HTTP
names the last byte, and only the parsers here know that.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Final

import attrs

from nodecache.failures import RangeNotSatisfiable


@attrs.frozen(order=True)
class Span:
    """Bytes ``start`` to ``stop``, the latter not among them. Raises ValueError."""

    start: int
    stop: int

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"not a span: {self.start} to {self.stop}")

    @property
    def size(self) -> int:
        return self.stop - self.start


class RangeSet:
    """A set of bytes, kept as disjoint spans that do not touch, in order.

    Finding costs the logarithm of the number of spans; adding moves at most
    that many list entries. Made for a few hundred spans.
    """

    __slots__ = ("_starts", "_stops", "_total")

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._total = 0
        for span in spans:
            self.add(span)

    def add(self, span: Span) -> None:
        """Add bytes; some or all of them may be present already."""
        if span.start == span.stop:
            return
        # The spans first to last - 1 overlap or touch the new one.
        first = bisect_left(self._stops, span.start)
        last = bisect_right(self._starts, span.stop)
        start, stop = span.start, span.stop
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._replace(first, last, [start], [stop])

    def remove(self, span: Span) -> None:
        """Take bytes out; some or all of them may be absent already."""
        first = bisect_right(self._stops, span.start)
        last = bisect_left(self._starts, span.stop)
        if first >= last or span.start == span.stop:
            return
        starts, stops = [], []
        if self._starts[first] < span.start:
            starts.append(self._starts[first])
            stops.append(span.start)
        if self._stops[last - 1] > span.stop:
            starts.append(span.stop)
            stops.append(self._stops[last - 1])
        self._replace(first, last, starts, stops)

    def _replace(self, first: int, last: int, starts: list[int], stops: list[int]) -> None:
        self._total += sum(stops) - sum(starts)
        self._total -= sum(self._stops[first:last]) - sum(self._starts[first:last])
        self._starts[first:last] = starts
        self._stops[first:last] = stops

    def contains(self, span: Span) -> bool:
        """Whether every byte of ``span`` is present (true of an empty one)."""
        return span.start == span.stop or self.covered_from(span.start) >= span.stop

    def covered_from(self, offset: int) -> int:
        """Where the bytes present from ``offset`` on end; ``offset`` when it is absent itself."""
        index = bisect_right(self._starts, offset) - 1
        if index < 0:
            return offset
        return max(offset, self._stops[index])

    def missing(self, within: Span) -> list[Span]:
        """The parts of ``within`` that are absent, in order."""
        gaps = []
        offset = within.start
        for index in range(bisect_right(self._stops, within.start), len(self._starts)):
            if self._starts[index] >= within.stop:
                break
            if self._starts[index] > offset:
                gaps.append(Span(offset, self._starts[index]))
            offset = self._stops[index]
        if offset < within.stop:
            gaps.append(Span(offset, within.stop))
        return gaps

    def total(self) -> int:
        """How many bytes are present."""
        return self._total

    def is_whole(self, total: int) -> bool:
        """Whether a blob of ``total`` bytes is present from end to end."""
        return self.covered_from(0) >= total

    def spans(self) -> tuple[Span, ...]:
        return tuple(map(Span, self._starts, self._stops))

    def copy(self) -> RangeSet:
        other = RangeSet()
        other._replace(0, 0, list(self._starts), list(self._stops))
        return other

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeSet):
            return NotImplemented
        return self._starts == other._starts and self._stops == other._stops

    __hash__ = None  # type: ignore[assignment]  # mutable, as a set is

    def __repr__(self) -> str:
        parts = ", ".join(map("{}-{}".format, self._starts, self._stops))
        return f"RangeSet({parts})"


@attrs.frozen
class RangeRequest:
    """One range of a ``Range`` header, before the size of the blob is known.

    ``first`` and ``last`` are inclusive, as sent. ``last`` is None for
    ``bytes=N-``. ``first`` is None for ``bytes=-N``: then ``last`` is the
    number of bytes wanted from the end.
    """

    first: int | None
    last: int | None

    @property
    def is_open_ended(self) -> bool:
        """Whether it runs to the end of the blob without naming it."""
        return self.first is None or self.last is None

    @property
    def is_everything(self) -> bool:
        """``bytes=0-``: the whole blob, and a client that will take 200 for it."""
        return self.first == 0 and self.last is None

    def resolve(self, size: int) -> Span:
        """The bytes meant in a blob of ``size`` bytes, never none.

        Raises RangeNotSatisfiable. No range of an empty blob can be sent as a
        206; ``parse_range`` knows what to do with one.
        """
        if self.first is None:
            span = Span(max(0, size - (self.last or 0)), size)
        else:
            stop = size if self.last is None else min(size, self.last + 1)
            span = Span(self.first, max(self.first, stop))
        if span.size == 0:
            raise RangeNotSatisfiable(size)
        return span


_RANGE_SET = re.compile(r"[ \t]*bytes=(.*)", re.IGNORECASE | re.DOTALL)
_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
_FAR: Final = 10**18


def _number(digits: str) -> int:
    """Digits as a number; one too long for any blob is cut down to a far one."""
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= 18 else _FAR


def parse_range_header(header: str | None) -> RangeRequest | None:
    """A single byte range, whatever the size of the blob.

    None for what RFC 9110 section 14.2 lets a server ignore: no header,
    another unit, a malformed range, several ranges.
    """
    found = _RANGE_SET.fullmatch(header or "")
    if found is None:
        return None
    # A list may have empty elements (RFC 9110 section 5.6.1.2).
    parts = [part.strip(" \t") for part in found[1].split(",", 16)]
    ranges = [part for part in parts if part]
    if len(ranges) != 1:
        return None
    return _one_range(ranges[0])


def _one_range(text: str) -> RangeRequest | None:
    found = _RANGE.fullmatch(text)
    if found is None or text == "-":
        return None
    first = _number(found[1]) if found[1] else None
    last = _number(found[2]) if found[2] else None
    if first is not None and last is not None and last < first:
        return None
    return RangeRequest(first, last)


def parse_range(header: str | None, size: int) -> Span | None:
    """The bytes to send as 206; None to send the whole blob as 200.

    None is the answer to a header that is absent, malformed, of another unit
    or of several ranges, and to any range of an empty blob: clients that add
    ``bytes=0-`` to every request would fail on the 416. Raises
    RangeNotSatisfiable.
    """
    request = parse_range_header(header)
    if request is None or size == 0:
        return None
    return request.resolve(size)


@attrs.frozen
class ContentRange:
    """A ``Content-Range`` header; as a string, its value.

    ``span`` is None in that of a 416 (``bytes */N``); ``total`` is None where
    the sender does not know it (``bytes A-B/*``).
    """

    span: Span | None
    total: int | None

    def __str__(self) -> str:
        where = "*" if self.span is None else f"{self.span.start}-{self.span.stop - 1}"
        return f"bytes {where}/{'*' if self.total is None else self.total}"


_CONTENT_RANGE = re.compile(
    r"[ \t]*bytes[ \t]+(?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)[ \t]*", re.IGNORECASE
)


def parse_content_range(header: str) -> ContentRange:
    """Raises ValueError for anything but a byte range that can be (RFC 9110 section 14.4)."""
    found = _CONTENT_RANGE.fullmatch(header)
    if found is None:
        raise ValueError("not a Content-Range of bytes")
    total = None if found[3] == "*" else int(found[3])
    if found[1] is None:
        if total is None:
            raise ValueError("Content-Range says neither which bytes nor of how many")
        return ContentRange(None, total)
    start, stop = int(found[1]), int(found[2]) + 1
    if start >= stop or (total is not None and stop > total):
        raise ValueError("Content-Range names bytes that can not be")
    return ContentRange(Span(start, stop), total)
