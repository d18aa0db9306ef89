"""Work that the store does on its own account, so that closing can wait for it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure as Reason

from nodecache.events import Unexpected
from nodecache.seams import Observe


class Owned:
    """Coroutines under way. A failure of one is told as a bug: they see to their own."""

    def __init__(self, observe: Observe) -> None:
        self._observe = observe
        self._running: set[Deferred[None]] = set()
        self._waiting: list[Deferred[None]] = []

    def start(self, work: Coroutine[Any, Any, None]) -> Deferred[None]:
        """Begin ``work``; the Deferred is for cancelling it."""
        running = Deferred.fromCoroutine(work)
        self._running.add(running)
        running.addErrback(self._failed)
        running.addCallback(lambda _: self._over(running))
        return running

    def _failed(self, reason: Reason) -> None:
        if reason.check(CancelledError) is None:
            error = f"{reason.type.__name__ if reason.type else ''}: {reason.getErrorMessage()}"
            self._observe(Unexpected(where="store", error=error, trace=reason.getTraceback()))

    def _over(self, running: Deferred[None]) -> None:
        self._running.discard(running)
        if not self._running:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    async def finished(self) -> None:
        """Returns when nothing is under way."""
        while self._running:
            waiter: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(waiter)
            await waiter
