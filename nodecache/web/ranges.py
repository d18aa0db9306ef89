"""Which bytes of a blob a request gets, and with which status."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from nodecache.body import Part
from nodecache.byteranges import RangeRequest, parse_range_header
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.reference import Digest

#: The digest of no bytes.
EMPTY: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#: Blobs whose ranges are remembered.
REMEMBERED: Final = 4096


def wanted_range(header: str | None, if_range: str | None, etag: str) -> RangeRequest | None:
    """The range to honour. An ``If-Range`` that names another body asks for the whole one."""
    if if_range is not None and if_range.strip() != etag:
        return None
    return parse_range_header(header)


def is_empty_digest(digest: Digest) -> bool:
    """Whether the blob of this digest has no bytes."""
    return digest.hex == EMPTY


def frame_blob(wanted: RangeRequest | None, total: int | None, digest: Digest) -> tuple[int, Part]:
    """The status and the part to send of a blob of ``total`` bytes.

    While the total is unknown every range is ignored: the answer is a 200 of
    unknown length. A whole or open-ended answer is held back at its end until
    the digest matches, and so is a closed range that spans the whole blob.
    Raises RangeNotSatisfiable, and UpstreamFailure for an empty body under
    another digest: no byte of it could be held back.
    """
    empty = is_empty_digest(digest)
    if total is None:
        return 200, Part(0, None, None, held_back=True, may_be_empty=empty)
    if total == 0 and not empty:
        raise UpstreamFailure(UpstreamKind.WRONG, "upstream's blob is empty, its digest is not")
    if wanted is None or total == 0:
        return 200, Part(0, total, total, held_back=True, may_be_empty=empty)
    span = wanted.resolve(total)
    runs_on = wanted.first is not None and wanted.last is None
    held_back = runs_on or span.size == total
    return 206, Part(span.start, span.stop, total, held_back=held_back)


class RangesAnswered:
    """Blobs that were answered with 206, and their totals; the last few thousand.

    A client that fetches a blob in parallel ranges looks at the first status
    only. So a blob that has once been cut into ranges keeps being so.
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._totals: OrderedDict[Digest, int] = OrderedDict()

    def remember(self, digest: Digest, total: int) -> None:
        self._totals[digest] = total
        self._totals.move_to_end(digest)
        if len(self._totals) > self._limit:
            self._totals.popitem(last=False)

    def total(self, digest: Digest) -> int | None:
        return self._totals.get(digest)
