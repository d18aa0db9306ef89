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
    left = turns
    extensions = EXTENSIONS
    timer: Any = None
    due = clock.seconds() + seconds / turns

    def give_up() -> None:
        nonlocal over
        over = True
        if timer.active():
            timer.cancel()
        inner.cancel()

    def expire() -> None:
        nonlocal due, left, timer, extensions
        late = clock.seconds() - due > LATE
        left -= 1
        if not left and extensions and lives():
            left, extensions = turns, extensions - 1
        if left and not late:
            due = clock.seconds() + seconds / turns
            timer = clock.callLater(seconds / turns, expire)
            return
        give_up()
        outer.errback(TimedOut(late=late))

    def ended(result: T | Failure) -> None:
        if over:
            return
        timer.cancel()
        outer.callback(result)

    outer: Deferred[T] = Deferred(lambda _outer: give_up())
    timer = clock.callLater(max(0.0, seconds / turns), expire)
    inner.addBoth(ended)
    return outer
