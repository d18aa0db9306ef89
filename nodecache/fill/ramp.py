"""When do more connections pay? Pure.

A fill begins with one. The total rate is measured over a window; then one is
added, and from its first byte on the rate is measured again. Where the rate
rose nearly as much as the connections did, what limits is each of them, and
their number is doubled; where it rose less, one is added at a time. Those that
did not raise it are the last. What limits the rate may also be on this side (the
disk, the processor): a window in which the disk made the sources wait proves
nothing and is begun anew.
"""

from __future__ import annotations

#: Connections paid if the total rate rose by this factor.
RISE = 1.1
#: Of what connections could bring more at most: where they brought so much, they are doubled.
NEARLY = 0.6


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
        self._awaited = 0
        self._had = self._have = 1
        self.closed = False

    def received(self, count: int, now: float) -> bool:
        """``count`` bytes came. True when connections should be added; ``due`` says how many."""
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

    def due(self, connections: int) -> int:
        """How many should be added to so many, over which the bytes came: say ``added`` of each."""
        self._have = connections
        if not self._best or connections <= self._had:
            return 1
        could = connections / self._had - 1
        return connections if self._rate / self._best - 1 >= could * NEARLY else 1

    def added(self) -> None:
        """One is being opened; nothing is measured until all of these bring bytes."""
        self._best, self._had = self._rate, self._have
        self._awaited += 1

    def joined(self) -> None:
        """One that was added brings bytes."""
        self._awaited = max(0, self._awaited - 1)

    def disturbed(self) -> None:
        """Somebody paused the sources: measure this window again."""
        self._began = None

    def left(self) -> None:
        """One connection fewer: what was measured with it is void."""
        self._best, self._began, self._awaited = 0.0, None, 0

    def close(self) -> None:
        """No more connections: they are refused, or bring nothing."""
        self.closed = True
