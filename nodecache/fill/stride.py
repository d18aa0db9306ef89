"""How much one question asks for: a segment, or several in a row. Pure.

Where nothing but the processor limits a source, a segment comes in some 20 ms, and each question
costs a tenth of that, in which nothing comes. So a connection that is alone, and fast, asks for
several segments at a time: as many as come within ``SECONDS`` at the pace so far. Less would not
save much more, and more would keep a reader that has jumped ahead waiting.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from nodecache.byteranges import RangeSet
from nodecache.limits import SEGMENT
from nodecache.segments import segment_count, segment_span

#: What is asked for at a time comes within this many seconds.
SECONDS: Final = 0.25
#: Segments of one question.
MOST: Final = 8


def stride(size: int, seconds: float) -> int:
    """Segments to ask for at a time, 1 to ``MOST``, of who brought ``size`` bytes in ``seconds``.

    One, where no time has passed: that is no pace.
    """
    if seconds <= 0:
        return 1
    return max(1, min(MOST, int(size / seconds * SECONDS / SEGMENT)))


def row(
    index: int | None, count: int, total: int, present: RangeSet, taken: Collection[int]
) -> range:
    """At most ``count`` segments in a row from ``index`` on; none where that is None.

    Those behind ``index`` are neither ``taken`` nor here in part.
    """
    if index is None:
        return range(0)
    stop = index + 1
    while stop < min(index + count, segment_count(total)):
        span = segment_span(stop, total)
        if stop in taken or present.missing(span) != [span]:
            break
        stop += 1
    return range(index, stop)
