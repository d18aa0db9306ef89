"""How long to let bytes gather in the kernel before the next read. Pure.

A read costs about the same for a packet as for many of them. Where a link is
slow, or shared by many bodies, each packet wakes the reader on its own, and the
processor has as much to do as at ten times the speed. A rest is as long as
the bytes of a good read take to come, and never so long that anybody notices.
"""

from __future__ import annotations

from typing import Final

from nodecache.limits import KIB

#: Bytes of a read that is worth its price.
GOOD_READ: Final = 128 * KIB
#: Bytes at the beginning of a body that are read as they come: somebody waits for them.
EAGER: Final = 64 * KIB
#: Seconds; a shorter rest costs more than it saves, a longer one would be noticed.
SHORTEST: Final = 0.001
LONGEST: Final = 0.050


class Gathering:
    """The reads of one body, which begins at ``now`` (seconds)."""

    def __init__(self, now: float) -> None:
        self._at = now
        self._eager = EAGER
        self._before = 0, 0.0

    def read(self, size: int, now: float) -> float:
        """After a read of ``size`` bytes: seconds to rest before the next; 0.0 for none."""
        gap, self._at = now - self._at, now
        if self._eager > 0:
            self._eager -= size
            return 0.0
        # Of two reads, since the last bytes of a burst are few, however fast it came.
        came, during = self._before[0] + size, self._before[1] + gap
        self._before = size, gap
        if size >= GOOD_READ / 2:
            return 0.0
        rest = min(LONGEST, during * GOOD_READ / max(came, 1))
        return rest if rest >= SHORTEST else 0.0
