"""Checksums of one segment, taken as its bytes come. Pure.

Each connection brings bytes in order, so that a sum is fed as they are
written. Where two senders share a segment the bytes come in two runs, of which
the second begins at a block; runs that meet become one. A run that begins
within a block can have no sum for it, and such a segment is not resumed.
"""

from __future__ import annotations

import attrs

from nodecache.byteranges import Span
from nodecache.crc import crc32
from nodecache.limits import CHECKSUM_BLOCK


@attrs.define(eq=False)
class _Run:
    """The sums of its ``done`` blocks from ``start`` on, and ``crc`` of the rest, up to ``at``."""

    start: int
    at: int
    crc: int = 0
    done: list[int] = attrs.Factory(list)

    def feed(self, data: memoryview, stop: int) -> None:
        """``data`` is what follows; the segment's last block ends at ``stop``."""
        while data:
            block_end = min(stop, self.at - self.at % CHECKSUM_BLOCK + CHECKSUM_BLOCK)
            part = data[: block_end - self.at]
            self.crc = crc32(part, self.crc)
            self.at += len(part)
            data = data[len(part) :]
            if self.at == block_end:
                self.done.append(self.crc)
                self.crc = 0

    def join(self, other: _Run) -> None:
        """``other`` begins where this one has got to."""
        self.done += other.done
        self.at, self.crc = other.at, other.crc


class SegmentSums:
    """``whole`` is the segment, which begins at a block."""

    def __init__(self, whole: Span) -> None:
        self._whole = whole
        self._runs: list[_Run] = []

    def feed(self, offset: int, data: memoryview) -> tuple[int, ...] | None:
        """Bytes of it were written at ``offset``: the CRC-32 of its blocks, if it is whole now.

        A run whose bytes come again is forgotten.
        """
        run = self._run_at(offset)
        if run is None:
            return None
        run.feed(data, self._whole.stop)
        self._join()
        first = self._runs[0]
        is_whole = Span(first.start, first.at) == self._whole
        return tuple(first.done) if is_whole else None

    def _run_at(self, offset: int) -> _Run | None:
        for run in self._runs:
            if run.at == offset:
                return run
        self._runs = [run for run in self._runs if not run.start <= offset < run.at]
        if offset % CHECKSUM_BLOCK:
            return None
        run = _Run(offset, offset)
        self._runs.append(run)
        return run

    def _join(self) -> None:
        self._runs.sort(key=lambda run: run.start)
        for before, after in zip(self._runs[-2::-1], self._runs[:0:-1], strict=True):
            if before.at == after.start:
                before.join(after)
                self._runs.remove(after)
