"""How much of what has come may wait for the disk, and the digest. Pure.

A source that is paused needs a while to be at speed again, so that it goes on while there is
still something to do: measured, with 12 MiB, resumed under a quarter, a cold GiB came at 630 MB/s,
and with 6 MiB, resumed under two thirds, at 660. The memory of all is bounded: many fills share
what the node has for them.
"""

from __future__ import annotations

import attrs


@attrs.define
class Pressure:
    """Bytes: ``one`` fill has this at most, ``node`` is what all have together.

    ``enter`` and ``leave`` belong together.
    """

    one: int
    node: int
    _fills: int = attrs.field(default=0, init=False)

    def enter(self) -> None:
        self._fills += 1

    def leave(self) -> None:
        self._fills -= 1

    @property
    def share(self) -> int:
        """Of each fill now."""
        return max(1, min(self.one, self.node // max(1, self._fills)))

    def reached(self, backlog: int, *, paused: bool) -> bool:
        """Whether the sources of a fill with so much in line are to pause, or stay ``paused``."""
        return backlog >= (self.share * 2 // 3 if paused else self.share)
