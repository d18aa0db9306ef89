"""Does the reactor turn in time? A node that is slow itself says so, and is asked less.

A tick every tenth of a second, and how late each one came. When a good part
of the last ticks came late the node is *busy*, until hardly any does. A tick
that is later than a second tells of a process that was stopped as a whole
(SIGSTOP, a suspended machine): that is no slowness, but whatever was waited
for meanwhile is nobody's fault.

A process that does nothing is not woken ten times a second for that: while it
hardly uses the processor, and no tick was late of late, one a second is enough.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between two ticks.
TICK: Final = 0.1
#: The same in a process that rests, and the share of a processor that a resting one uses at most.
RESTING: Final = 1.0
REST: Final = 0.02
#: Seconds; a tick that is later came late.
LATE: Final = 0.15
#: Seconds; later than this, the process stood still.
FROZEN: Final = 1.0
#: Ticks that are looked at, and how many of them make a node busy, or no longer so.
WINDOW: Final = 50
MANY: Final = 15
FEW: Final = 3


class LoopLag:
    """``busy`` tells of each change, ``thawed`` how long the process stood still, in seconds.

    ``lagged`` is told how late each tick came, in seconds. ``used`` are the
    seconds of a processor that this process has used. ``stop`` is owed.
    """

    def __init__(
        self,
        clock: IReactorTime,
        busy: Callable[[bool], None],
        thawed: Callable[[float], None],
        lagged: Callable[[float], None] = lambda _: None,
        used: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock = clock
        self._tell_busy = busy
        self._tell_thawed = thawed
        self._tell_lag = lagged
        self._used = used
        self._used_before = 0.0
        self._late: deque[bool] = deque(maxlen=WINDOW)
        self._busy = False
        self._call: IDelayedCall | None = None
        self._due = self._pause = 0.0

    @property
    def busy(self) -> bool:
        return self._busy

    def start(self) -> None:
        """Begin to tick."""
        self._used_before = self._used()
        self._next(TICK)

    def stop(self) -> None:
        """Idempotent."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _next(self, pause: float) -> None:
        self._pause = pause
        self._due = self._clock.seconds() + pause
        self._call = self._clock.callLater(pause, self._tick)

    def _tick(self) -> None:
        lag = self._clock.seconds() - self._due
        rests = self._rests(self._pause + lag) and lag <= LATE
        self._next(RESTING if rests else TICK)
        self._tell_lag(lag)
        if lag > FROZEN:
            self._late.clear()
            self._tell_thawed(lag)
            return
        self._late.append(lag > LATE)
        late = sum(self._late)
        if self._busy != (late > FEW if self._busy else late >= MANY):
            self._busy = not self._busy
            self._tell_busy(self._busy)

    def _rests(self, seconds: float) -> bool:
        """Whether hardly anything was done in the last ``seconds``, and no tick came late."""
        before, self._used_before = self._used_before, self._used()
        return self._used_before - before <= REST * seconds and not any(self._late)
