"""Waiting for one event, each with a Deferred of one's own."""

from __future__ import annotations

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nodecache.failures import StoreFailure


class Waiters:
    """Those who wait. Cancelling one takes it out and leaves the others."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    async def wait(self) -> None:
        """Returns when ``fire`` is called."""
        waiter: Deferred[None] = Deferred(self._gone)
        self._waiting.append(waiter)
        await waiter

    async def wait_for(self, what: str, seconds: float, clock: IReactorTime) -> None:
        """As ``wait``; raises StoreFailure, which says ``what``, after so many seconds."""
        waiting = Deferred.fromCoroutine(self.wait())
        waiting.addTimeout(seconds, clock)
        try:
            await waiting
        except defer.TimeoutError as error:
            raise StoreFailure(what) from error

    def _gone(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def fire(self) -> None:
        """Let all go who wait now."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            # One that went may have cancelled another.
            if not each.called:
                each.callback(None)
