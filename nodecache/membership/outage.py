"""When most peers fail, none is asked: sharing is off, and costs nothing.

Failures in a row make it so: ``ENOUGH`` distinct peers, or more than half of
them where they are fewer (but three at least, or all), failed within
``WINDOW`` seconds, and nobody gave an answer in between. One success is enough
to end the row: peers that fail among others that do not are put aside each for
itself.

Off lasts until one of ``ONE_IN`` greetings is answered, and for
``Timeouts.peer_pause_first`` at least; that doubles up to ``peer_pause_last``
while it soon comes again without a real answer in between.
While in doubt, and while off, others are greeted than those that are due, so
that both are soon found out.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from nodecache.limits import Timeouts

#: Seconds.
WINDOW: Final = 10.0
#: Failures in a row, of distinct peers, that are enough however many peers there are.
ENOUGH: Final = 8
#: One of so many greetings must be answered before peers are asked again.
ONE_IN: Final = 4
#: Greetings that are looked at for that.
_LAST: Final = 8


def needed(peers: int) -> int:
    """How many of ``peers`` must fail in a row."""
    return min(peers, max(3, min(peers // 2 + 1, ENOUGH)))


class Outage:
    """The row of failures, and whether it was long enough. Times are monotonic seconds."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._row: dict[str, float] = {}
        self._greetings: deque[bool] = deque(maxlen=_LAST)
        self._pause = 0.0
        self._ended = self._greeted = float("-inf")
        self.since: float | None = None
        self.until = float("-inf")

    @property
    def off(self) -> bool:
        return self.since is not None

    def doubted_since(self, now: float) -> float | None:
        """The first failure of the row; None when all is well."""
        self._shorten(now)
        return min(self._row.values(), default=None)

    def failed(self, peer: str, peers: int, now: float) -> None:
        """``peer`` failed, one of ``peers`` of our wire version."""
        self._shorten(now)
        self._row.setdefault(peer, now)
        if not self.off and len(self._row) >= max(1, needed(peers)):
            self._begin(now)

    def _begin(self, now: float) -> None:
        timeouts = self._timeouts
        soon = now - self._ended < timeouts.peer_pause_last
        first = timeouts.peer_pause_first
        self._pause = min(max(self._pause * 2, first), timeouts.peer_pause_last) if soon else first
        self.since, self.until = now, now + self._pause
        self._greetings.clear()

    def succeeded(self) -> None:
        """Somebody gave a real answer."""
        self._row.clear()
        if not self.off:
            self._pause = 0.0

    def greeting(self, *, answered: bool, now: float) -> None:
        """How a greeting ended."""
        if answered:
            self._row.clear()
        if self.off:
            self._greetings.append(answered)
            self._greeted = now
            self.look(now)

    def look(self, now: float) -> bool:
        """Whether it is off now; True to False happens here."""
        good = sum(self._greetings)
        if self.off and now >= self.until and good and good * ONE_IN >= len(self._greetings):
            self._end(max(self.until, self._greeted))  # whenever it is that somebody looks
        return self.off

    def forgive(self, since: float) -> None:
        """What happened since then was our own fault."""
        self._row = {peer: at for peer, at in self._row.items() if at < since}
        if self.since is not None and self.since >= since:
            self._end(self.since)

    def _end(self, now: float) -> None:
        self.since = None
        self._ended = now
        self._row.clear()

    def _shorten(self, now: float) -> None:
        if not self.off:
            self._row = {peer: at for peer, at in self._row.items() if now - at <= WINDOW}
