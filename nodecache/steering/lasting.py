"""Work that is not broken off in the middle: whoever gives it up waits for a place where it can.

A disk job can not be called back, and what it works with must not be closed
under it. So work that is given up is told so, goes on to its next step, tidies
up and ends; and a node that stops waits for that.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from nodecache.diskpool import shielded
from nodecache.steering.verbs import Refused

T = TypeVar("T")


class Stop:
    """Whether the work is given up."""

    def __init__(self) -> None:
        self._given_up = False
        self._waits: set[Deferred[Any]] = set()

    def check(self) -> None:
        """Raises Refused once the work is given up."""
        if self._given_up:
            raise Refused("it was given up, and nothing of it is kept")

    async def wait(self, waited: Deferred[T]) -> T:
        """What ``waited`` brings. Raises Refused when the work is given up meanwhile."""
        if self._given_up:  # it has begun: a descriptor may be with the reactor
            waited.addErrback(lambda _: None)
            waited.cancel()
        self.check()
        self._waits.add(waited)
        try:
            return await waited
        except CancelledError:
            self.check()
            raise
        finally:
            self._waits.discard(waited)

    def give_up(self) -> None:
        """Idempotent."""
        self._given_up = True
        for waited in tuple(self._waits):
            waited.cancel()


class Lasting:
    """Works under way."""

    def __init__(self) -> None:
        self._running: set[Deferred[Any]] = set()

    async def run(self, work: Callable[[Stop], Coroutine[Any, Any, T]]) -> T:
        """Cancelled, it tells ``work`` so and ends at once; ``work`` ends by and by."""
        stop = Stop()
        running = Deferred.fromCoroutine(work(stop))
        self._running.add(running)

        def over(result: T) -> T:
            self._running.discard(running)
            return result

        running.addBoth(over)
        try:
            return await shielded(running, lambda _: None)
        except CancelledError:
            stop.give_up()
            raise

    async def idle(self) -> None:
        """Returns when no work is under way."""
        while self._running:
            await shielded(next(iter(self._running)).addErrback(lambda _: None), lambda _: None)
