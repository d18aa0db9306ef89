"""The disk's side of a fill: write and checksum. Blocks; one job at a time.

A job writes one piece and takes it through its checksums while it is still in
the processor's cache (measured: jobs of 8 MiB cost twice the processor time of
jobs of 512 KiB).

Pieces of one segment come in order, from its start on, or in two runs where
two peers share it, so the checksums of its blocks need no second look.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from nodecache.byteranges import Span
from nodecache.fill.sums import SegmentSums
from nodecache.segments import segment_of, segment_span
from nodecache.store.partial import Partial


@attrs.frozen
class Piece:
    """``chunks`` lie one behind the other from ``offset`` on; ``size`` is that of all of them."""

    offset: int
    chunks: Sequence[bytes]
    size: int

    @property
    def span(self) -> Span:
        return Span(self.offset, self.offset + self.size)


@attrs.frozen
class Job:
    """What one disk job does, in this order.

    ``punch`` is given back to the disk, ``total`` (where known) recorded,
    ``piece`` written.
    """

    punch: Span | None
    total: int | None
    piece: Piece | None


class Assembly:
    """``recorded`` says whether any segment can be resumed.

    ``sums`` are the CRC-32 of the blocks of each segment that is whole on disk.
    """

    def __init__(self, partial: Partial) -> None:
        self.recorded = bool(partial.whole)
        self.sums = {index: partial.known.segments[index] for index in partial.whole}
        self._partial = partial
        self._open: dict[int, SegmentSums] = {}
        self._recording = True

    def give_up_segments(self) -> None:
        """Nothing of this blob will be resumed: punched out, or contradicted."""
        self._recording = self.recorded = False

    def run(self, job: Job) -> None:
        """Raises NoRoom, with nothing of the piece counted as written, and StoreFailure."""
        if job.punch is not None:
            self._partial.punch(job.punch.start, job.punch.stop)
        if job.total is not None and job.total != self._partial.total:
            self._partial.set_total(job.total)
        if job.piece is not None:
            self._partial.write(job.piece.offset, job.piece.chunks)
            if self._recording and job.total is not None:
                self._checksum(job.piece, job.total)

    def _checksum(self, piece: Piece, total: int) -> None:
        offset = piece.offset
        for chunk in piece.chunks:
            data = memoryview(chunk)
            while data:
                whole = segment_span(segment_of(offset), total)
                part = data[: whole.stop - offset]
                self._checksum_part(whole, offset, part)
                offset += len(part)
                data = data[len(part) :]

    def _checksum_part(self, whole: Span, offset: int, part: memoryview) -> None:
        index = segment_of(offset)
        if index not in self._open:
            self._open[index] = SegmentSums(whole)
        sums = self._open[index].feed(offset, part)
        if sums is not None:
            del self._open[index]
            self.sums[index] = sums
            self._partial.record_segment(index, sums)
            self.recorded = True
