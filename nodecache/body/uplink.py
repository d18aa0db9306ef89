"""What all bodies to peers share of this node's uplink."""

from __future__ import annotations

import os
from typing import Protocol

from nodecache.admission import Pace

#: Bytes of one write, and so of one frame.
PIECE = 256 * 1024
#: Seconds for which the rate may be saved up.
BURST = 0.05


class Place(Protocol):
    """Of those that may send at a time."""

    def rests(self, *, begun: bool) -> None:
        """There is nothing to send for now; ``begun``: something was sent before."""
        ...

    def goes_on(self) -> None: ...


class Uplink:
    """What all bodies to peers share: ``rate`` in bytes a second, and a buffer of one piece."""

    def __init__(self, rate: float) -> None:
        self.pace = Pace(rate, max(4 * PIECE, rate * BURST))
        self.buffer = memoryview(bytearray(PIECE))

    def read_cached(self, fd: int, size: int, offset: int) -> memoryview | None:
        """As that of ``reading``; good until the next call."""
        try:
            count = os.preadv(fd, [self.buffer[:size]], offset, os.RWF_NOWAIT)
        except OSError:
            return None
        return self.buffer[:count]
