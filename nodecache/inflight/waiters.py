"""Deferreds that wait for a condition."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nodecache.failures import Failure


@attrs.define(eq=False)
class _Waiter:
    ready: Callable[[], bool]
    deferred: Deferred[None]

    def settle(self) -> bool:
        """Fire if it is time; whether it was."""
        try:
            if not self.ready():
                return False
        except Failure as failure:
            self.deferred.errback(failure)
        else:
            self.deferred.callback(None)
        return True


class Waiters:
    """Woken at most once in a turn of the reactor, however often ``wake`` is called."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[_Waiter, None] = {}
        self._turn: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, ready: Callable[[], bool]) -> Deferred[None]:
        """Fires, perhaps at once, when ``ready`` says True; fails with the Failure that it raises.

        Each call has its own Deferred; cancelling removes it.
        """
        waiter = _Waiter(ready, Deferred(lambda _: self._waiting.pop(waiter, None)))
        if not waiter.settle():
            self._waiting[waiter] = None
        return waiter.deferred

    def wake(self) -> None:
        """Something changed: look at every waiter in the next turn."""
        if self._turn is None and self._waiting:
            self._turn = self._clock.callLater(0, self._look)

    def _look(self) -> None:
        self._turn = None
        for waiter in list(self._waiting):
            # One that was woken before it may have cancelled this one.
            if waiter not in self._waiting:
                continue
            del self._waiting[waiter]
            if not waiter.settle():
                self._waiting[waiter] = None
