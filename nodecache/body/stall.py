"""Notices a client that takes nothing."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Looks for each limit: a stall is noticed at most an eighth of it late.
LOOKS = 8
#: Seconds. A look that comes later than this past its time means that this
#: process stood still (a frozen machine), which is nobody's fault.
LATE = 1.0


class StallWatch:
    """Calls ``stalled`` once nothing has moved for ``limit`` seconds.

    ``sample`` is whatever changes when the client takes bytes, or None while
    the client has nothing to take. The position in the body alone is not
    enough: the kernel's buffer holds megabytes, so a slow but honest client
    leaves the position where it is for minutes, while the number of bytes that
    the buffer still holds goes down.
    """

    def __init__(
        self,
        clock: IReactorTime,
        limit: float,
        sample: Callable[[], object | None],
        stalled: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._sample = sample
        self._stalled = stalled
        self._since = 0.0
        self._due = 0.0
        self._last: object | None = None
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        self._since = self._clock.seconds()
        self._last = None
        self._schedule()

    def stop(self) -> None:
        """Idempotent."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _schedule(self) -> None:
        pause = self._limit / LOOKS
        self._due = self._clock.seconds() + pause
        self._call = self._clock.callLater(pause, self._look)

    def _look(self) -> None:
        self._call = None
        now = self._clock.seconds()
        current = self._sample()
        if current is None or current != self._last or now > self._due + LATE:
            self._last = current
            self._since = now
        elif now - self._since >= self._limit:
            self._stalled()
            return
        self._schedule()
