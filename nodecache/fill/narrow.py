"""A fill that ran out of room goes on through a window of the file.

The clients that are here were promised the blob, so it goes on: what lies
behind the slowest of them is given back to the disk, and nothing is written
that is further ahead of it than the window, so that a slow client does not
keep the disk full. Where the disk is full within the window, too, because
others fill it, we look again from time to time; if the slowest reader has
nothing left to read and there is still no room, the fill is at its end.

What is punched out must be wanted by nobody: no reader may go back behind
its floor, and the digest must have been taken.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nodecache.byteranges import Span
from nodecache.failures import NoRoom
from nodecache.fill.running import RunningDigest
from nodecache.fill.writer import Writer
from nodecache.inflight import Flight
from nodecache.limits import Limits, Timeouts

#: Only whole blocks of the disk can be given back, and only whole pages of what the kernel still
#: sends from must be touched; the largest of either that is in use.
_ALIGNED = 64 * 1024
#: Given back in steps of at least this part of the window, unless room is needed at once.
_STEPS = 32


class Narrow:
    """``give_up`` is called at most once. ``close`` is owed."""

    def __init__(
        self,
        flight: Flight,
        digest: RunningDigest,
        writer: Writer,
        clock: IReactorTime,
        limits: Limits,
        timeouts: Timeouts,
        give_up: Callable[[NoRoom], None],
    ) -> None:
        self._flight = flight
        self._digest = digest
        self._writer = writer
        self._clock = clock
        self._window = limits.narrow_window
        self._look_every = timeouts.full_retry
        self._patience = timeouts.stall_total
        self._give_up = give_up
        self._stuck_since: float | None = None
        self._look: IDelayedCall | None = None
        self._closed = False
        writer.gate = self.may_write
        # What is given back in steps of this size must take the next piece.
        writer.most = min(writer.most, _ALIGNED)
        flight.narrow(self.moved)

    def may_write(self, stop: int) -> bool:
        """Whether bytes up to ``stop`` are within the window."""
        slowest = self._flight.slowest()
        return slowest is not None and stop - slowest <= self._window

    def moved(self) -> None:
        """A reader went on or left, or the digest did."""
        if self._closed:
            return
        self._stuck_since = None
        if not self._flight.clients:
            self._end(NoRoom("no room to keep it, and nobody reads it any more"))
        elif self._punch(self._window // _STEPS):
            self._writer.go_on()
        else:
            self._writer.nudge()

    def full(self, failure: NoRoom) -> None:
        """The disk is full again, or still."""
        if self._closed:
            return
        now = self._clock.seconds()
        if self._stuck_since is None:
            self._stuck_since = now
        if self._punch(1):
            self._writer.go_on()
        elif now - self._stuck_since >= self._patience and self._starved():
            self._end(failure)
        elif self._look is None:
            self._look = self._clock.callLater(self._look_every, self._look_again)

    def close(self) -> None:
        self._closed = True
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _look_again(self) -> None:
        self._look = None
        self._punch(1)
        self._writer.go_on()

    def _punch(self, least: int) -> bool:
        """Give back what nobody wants, if it is as much as that."""
        floor = self._flight.progress.floor
        slowest = self._flight.slowest()
        target = min(self._digest.hashed, slowest or 0) // _ALIGNED * _ALIGNED
        if target - floor < least:
            return False
        self._flight.punch(target)
        self._writer.punch(Span(floor, target))
        return True

    def _starved(self) -> bool:
        """Whether the slowest reader has all that there is for it."""
        slowest = self._flight.slowest()
        if slowest is None:
            return True
        return not self._flight.progress.available(slowest, held_back=True)

    def _end(self, failure: NoRoom) -> None:
        self.close()
        self._give_up(failure)
