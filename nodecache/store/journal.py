"""What is known of a blob that is not whole: its total and the segments on disk. Pure.

A text file that only grows, a line for each thing learnt, each line with its
own checksum: a torn or garbled line is as if it had never been written. The
data behind the lines is not trusted either; it is read again and compared
with the checksums here before it is used.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence

import attrs

from nodecache.segments import block_spans, segment_count, segment_span

_TOTAL = re.compile(rb"T ([0-9]{1,15}) ([0-9a-f]{8})")
_SEGMENT = re.compile(rb"S ([0-9]{1,9})((?: [0-9a-f]{8})+) ([0-9a-f]{8})")


@attrs.frozen
class Known:
    """``segments`` maps the index of a segment to the CRC32 of each of its blocks."""

    total: int | None
    segments: Mapping[int, tuple[int, ...]]

    @property
    def is_whole(self) -> bool:
        return self.total is not None and len(self.segments) == segment_count(self.total)


def total_line(total: int) -> bytes:
    """The size of the blob is ``total`` bytes."""
    return _sealed(b"T %d" % total)


def segment_line(index: int, crcs: Sequence[int]) -> bytes:
    """Segment ``index`` is on disk; ``crcs`` has the CRC32 of each of its blocks."""
    return _sealed(b"S %d " % index + b" ".join(b"%08x" % crc for crc in crcs))


def _sealed(text: bytes) -> bytes:
    return b"%b %08x\n" % (text, zlib.crc32(text))


def read_journal(data: bytes) -> Known:
    """Never raises: what can not be understood is not known."""
    total: int | None = None
    segments: dict[int, tuple[int, ...]] = {}
    for line in data.split(b"\n"):
        text, _, seal = line.rpartition(b" ")
        if seal != b"%08x" % zlib.crc32(text):
            continue
        if found := _TOTAL.fullmatch(line):
            if int(found[1]) != total:
                segments.clear()
            total = int(found[1])
        elif found := _SEGMENT.fullmatch(line):
            segments[int(found[1])] = tuple(int(crc, 16) for crc in found[2].split())
    return Known(total, _possible(total, segments))


def _possible(
    total: int | None, segments: Mapping[int, tuple[int, ...]]
) -> dict[int, tuple[int, ...]]:
    """Those segments that a blob of ``total`` bytes has, with all of their checksums."""
    if total is None:
        return {}
    count = segment_count(total)
    return {
        index: crcs
        for index, crcs in segments.items()
        if index < count and len(crcs) == len(list(block_spans(segment_span(index, total))))
    }
