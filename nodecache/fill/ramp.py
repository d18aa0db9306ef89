"""When does one more connection pay? Pure.

A fill begins with one. The total rate is measured over a window; then a
connection is added, and from its first byte on the rate is measured again.
While each one raised the total, the next is added; the first that did not is
the last. What limits the rate may also be on this side (the disk, the
processor): a window in which the disk made the sources wait proves nothing and
is begun anew.
"""

from __future__ import annotations

#: A connection paid if the total rate rose by this factor.
RISE = 1.1


class Ramp:
    """A window has at least ``seconds`` and ``count`` bytes: both, so that one read is no rate.

    At ``enough`` bytes a second no connection is added: the processor is the limit.
    """

    def __init__(self, seconds: float, count: int, enough: float = float("inf")) -> None:
        self._seconds = seconds
        self._count = count
        self._enough = enough
        self._best = 0.0
        self._rate = 0.0
        self._began: float | None = None
        self._bytes = 0
        self._awaited = False
        self.closed = False

    def received(self, count: int, now: float) -> bool:
        """``count`` bytes came. True when a connection should be added: then say ``added``."""
        if self.closed or self._awaited:
            return False
        if self._began is None:
            # These bytes began to come before the window.
            self._began, self._bytes = now, 0
            return False
        self._bytes += count
        elapsed = now - self._began
        if elapsed < self._seconds or self._bytes < self._count:
            return False
        self._rate = self._bytes / elapsed
        self._began = None
        if self._rate < self._best * RISE or self._rate >= self._enough:
            self.closed = True
        return not self.closed

    def added(self) -> None:
        """A connection is being opened; nothing is measured until it brings bytes."""
        self._best, self._awaited = self._rate, True

    def joined(self) -> None:
        """The one that was added brings bytes."""
        self._awaited = False

    def disturbed(self) -> None:
        """Somebody paused the sources: measure this window again."""
        self._began = None

    def left(self) -> None:
        """One connection fewer: what was measured with it is void."""
        self._best, self._began, self._awaited = 0.0, None, False

    def close(self) -> None:
        """No more connections: they are refused, or bring nothing."""
        self.closed = True
