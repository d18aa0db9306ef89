"""Waiting with a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")

#: Seconds. A timer that fires this much too late tells of a process that was
#: frozen, and nothing about whomever it waited for.
LATE = 1.0


class TimedOut(Exception):
    """The time ran out. ``late``: the timer itself came late, so nobody is to blame."""

    def __init__(self, *, late: bool) -> None:
        super().__init__("timed out")
        self.late = late


#: For who waits for a near one, for a second or so: on a machine where many pods
#: start at once a turn of the reactor can take a good part of that, and what was
#: waited for lies in the socket, unread.
NEAR_TURNS = 8

#: A connection on which nothing comes may be one of many that share a link, and the
#: one that lost its packets. So often more its time is granted to who is heard elsewhere.
EXTENSIONS = 3


def bounded(
    clock: Any,
    inner: Deferred[T],
    seconds: float,
    turns: int = 1,
    lives: Callable[[], bool] = lambda: False,
) -> Deferred[T]:
    """``inner``'s result, or TimedOut after ``seconds`` on ``clock`` (an IReactorTime).

    The time is over only when the reactor has turned ``turns`` times as well,
    and so often looked at its sockets; and it begins anew, at most
    ``EXTENSIONS`` times, when the other side ``lives`` by other signs.

    Whichever way it ends before ``inner`` does, ``inner`` is cancelled and what
    becomes of it is dropped: some of Twisted's own Deferreds answer a cancel
    with an error of another kind, which would be read as the other side's fault.
    """
    over = False

    def give_up() -> None:
        nonlocal over
        over = True
        patience.stop()
        inner.cancel()

    def expired(late: bool) -> None:  # noqa: FBT001 - it is the whole message
        give_up()
        outer.errback(TimedOut(late=late))

    def ended(result: T | Failure) -> None:
        if over:
            return
        patience.stop()
        outer.callback(result)

    outer: Deferred[T] = Deferred(lambda _outer: give_up())
    patience = _Patience(clock, max(0.0, seconds), turns, lives, expired)
    inner.addBoth(ended)
    return outer


class _Patience:
    """Calls ``expired`` when it is over, with whether the process stood still meanwhile."""

    def __init__(
        self,
        clock: Any,
        seconds: float,
        turns: int,
        lives: Callable[[], bool],
        expired: Callable[[bool], None],
    ) -> None:
        self._clock = clock
        self._slice = seconds / turns
        self._turns = self._left = turns
        self._extensions = EXTENSIONS
        self._lives = lives
        self._expired = expired
        self._wait()

    def stop(self) -> None:
        """Idempotent."""
        if self._timer.active():
            self._timer.cancel()

    def _wait(self) -> None:
        self._due = self._clock.seconds() + self._slice
        self._timer = self._clock.callLater(self._slice, self._turned)

    def _turned(self) -> None:
        late = self._clock.seconds() - self._due > LATE
        self._left -= 1
        if not self._left and self._extensions and self._lives():
            self._left, self._extensions = self._turns, self._extensions - 1
        if self._left and not late:
            self._wait()
        else:
            self._expired(late)
